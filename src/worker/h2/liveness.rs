//! When an endpoint is sent a PING, and when its connection is over for want of an answer.
//!
//! Servers of gRPC count PINGs (grpc-core, grpc-go and grpc-java by the same rules): with requests under way one in five minutes
//! is allowed, a message of theirs (HEADERS or DATA) forgives all before it, and the third one too many ends the connection. So a
//! PING is sent only when an answer is due and nothing comes, and again only behind a message or after those minutes. Peers that
//! vanish are found by TCP: keepalive, and bytes that stay unacknowledged.

use crate::limits;
use ringway_model::Tick;

/// Signs of life of an endpoint on one connection.
pub(super) struct Liveness {
    /// When something came last.
    heard: Tick,
    /// When a request began last.
    asked: Tick,
    pinged: Option<Tick>,
    is_answered: bool,
    /// The endpoint has sent a message behind its answer to the last PING.
    is_forgiven: bool,
}

/// Result of a look at a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Fine,
    /// A sign of life is due, and a PING is allowed.
    Ping,
    /// The endpoint does not answer any more.
    Dead,
}

impl Liveness {
    pub(super) fn new(now: Tick) -> Self {
        Self { heard: now, asked: now, pinged: None, is_answered: true, is_forgiven: false }
    }

    /// Bytes came.
    pub(super) fn note_bytes(&mut self, now: Tick) {
        self.heard = now;
    }

    /// A request begins: the endpoint has its time to answer.
    pub(super) fn note_request(&mut self, now: Tick) {
        self.asked = now;
    }

    /// HEADERS or DATA came.
    pub(super) fn note_message(&mut self) {
        self.is_forgiven |= self.is_answered;
    }

    /// The answer to a PING came.
    pub(super) fn note_pong(&mut self) {
        self.is_answered = true;
    }

    /// A PING is sent, for whatever reason.
    pub(super) fn note_ping(&mut self, now: Tick) {
        self.pinged = Some(now);
        self.is_answered = false;
        self.is_forgiven = false;
    }

    /// Whether an endpoint would take no offence at a PING.
    pub(super) fn may_ping(&self, now: Tick) -> bool {
        let is_late_enough = |pinged: Tick| now >= pinged.after(limits::H2_UPSTREAM_PING_INTERVAL);
        self.is_forgiven || self.pinged.is_none_or(is_late_enough)
    }

    /// Decides the next step, with so many requests under way.
    pub(super) fn look(&self, now: Tick, active: usize) -> Look {
        if let Some(pinged) = self.pinged
            && !self.is_answered
            && self.heard <= pinged
            && now >= pinged.after(limits::H2_UPSTREAM_PING_TIMEOUT)
        {
            return Look::Dead;
        }
        let is_silent = now >= self.heard.max(self.asked).after(limits::H2_UPSTREAM_PING_SILENCE);
        if active > 0 && is_silent && self.may_ping(now) { Look::Ping } else { Look::Fine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1000)
    }

    /// The rules of a server of gRPC with its defaults.
    #[derive(Default)]
    struct Server {
        last: Option<u64>,
        strikes: u32,
    }

    impl Server {
        fn ping(&mut self, now: u64) {
            if self.last.replace(now).is_some_and(|last| now < last + 300) {
                self.strikes += 1;
            }
            assert!(self.strikes <= 2, "too many pings at {now} s");
        }

        fn message(&mut self) {
            *self = Self::default();
        }
    }

    /// A day on which a stream is open, looked at every five seconds; a message comes every so many seconds, or only at first.
    fn day(message_every: Option<u64>) -> u32 {
        let (mut liveness, mut server, mut pings) = (Liveness::new(at(0)), Server::default(), 0);
        for now in (0..24 * 3600).step_by(5) {
            if message_every.is_some_and(|every| now % every == 0) || now == 0 {
                server.message();
                liveness.note_bytes(at(now));
                liveness.note_message();
            }
            match liveness.look(at(now), 1) {
                Look::Fine => {}
                Look::Ping => {
                    server.ping(now);
                    liveness.note_ping(at(now));
                    liveness.note_bytes(at(now));
                    liveness.note_pong();
                    pings += 1;
                }
                Look::Dead => panic!("an endpoint that answers every PING is alive"),
            }
        }
        pings
    }

    #[test]
    fn no_server_of_grpc_takes_offence() {
        assert!(day(None) > 250, "a silent stream is asked now and then all the same");
        for every in [5, 10, 15, 60, 250, 305, 600] {
            day(Some(every));
        }
    }

    #[test]
    fn silence_with_requests_under_way_is_asked_about_once() {
        let mut liveness = Liveness::new(at(0));
        assert_eq!(liveness.look(at(100), 0), Look::Fine, "nothing is due");
        liveness.note_request(at(100));
        assert_eq!(liveness.look(at(109), 1), Look::Fine);
        assert_eq!(liveness.look(at(110), 1), Look::Ping);
        liveness.note_ping(at(110));
        liveness.note_bytes(at(111));
        liveness.note_pong();
        assert_eq!(liveness.look(at(419), 1), Look::Fine);
        assert_eq!(liveness.look(at(420), 1), Look::Ping);
    }

    #[test]
    fn a_message_behind_the_answer_allows_another() {
        let mut liveness = Liveness::new(at(0));
        liveness.note_ping(at(10));
        liveness.note_bytes(at(11));
        // It was sent before the PING arrived.
        liveness.note_message();
        assert!(!liveness.may_ping(at(30)));
        liveness.note_pong();
        assert!(!liveness.may_ping(at(30)));
        liveness.note_message();
        assert_eq!(liveness.look(at(30), 1), Look::Ping);
    }

    #[test]
    fn an_endpoint_that_answers_nothing_is_dead() {
        let mut liveness = Liveness::new(at(0));
        liveness.note_ping(at(10));
        assert_eq!(liveness.look(at(19), 1), Look::Fine);
        assert_eq!(liveness.look(at(20), 1), Look::Dead);
        liveness.note_bytes(at(20));
        assert_eq!(liveness.look(at(21), 1), Look::Fine, "any byte is a sign of life");
    }
}
