//! PING policy of connections to endpoints, and detection of dead ones.
//!
//! gRPC servers count PINGs (grpc-core, grpc-go and grpc-java by the same rules): with requests in progress,
//! one in five minutes is allowed, a message of the server (HEADERS or DATA) resets the count, and the third
//! PING too many ends the connection. Hence a PING is sent only when a response is due and nothing comes, and
//! another only after a message or after those minutes. Peers that vanish are detected by TCP: keepalive, and
//! bytes that stay unacknowledged.

use crate::limits;
use ringway_model::Tick;

/// Liveness of an endpoint on one connection.
pub(super) struct Liveness {
    /// Time of the last byte received.
    received_at: Tick,
    /// Start of the last request.
    requested_at: Tick,
    pinged_at: Option<Tick>,
    is_acknowledged: bool,
    /// The endpoint has sent a message after its ACK of the last PING.
    is_count_reset: bool,
}

/// Result of a check of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing to do.
    Fine,
    /// The endpoint is silent, and a PING is allowed.
    Ping,
    /// The last PING was not acknowledged in time.
    Dead,
}

impl Liveness {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            received_at: now,
            requested_at: now,
            pinged_at: None,
            is_acknowledged: true,
            is_count_reset: false,
        }
    }

    /// Records received bytes.
    pub(super) fn note_bytes(&mut self, now: Tick) {
        self.received_at = now;
    }

    /// Records the start of a request, from which the endpoint has time to respond.
    pub(super) fn note_request(&mut self, now: Tick) {
        self.requested_at = now;
    }

    /// Records HEADERS or DATA of the endpoint.
    pub(super) fn note_message(&mut self) {
        self.is_count_reset |= self.is_acknowledged;
    }

    /// Records the ACK of a PING.
    pub(super) fn note_pong(&mut self) {
        self.is_acknowledged = true;
    }

    /// Records a PING, sent for any reason.
    pub(super) fn note_ping(&mut self, now: Tick) {
        self.pinged_at = Some(now);
        self.is_acknowledged = false;
        self.is_count_reset = false;
    }

    /// Whether a gRPC server allows a PING.
    pub(super) fn may_ping(&self, now: Tick) -> bool {
        let is_late_enough = |pinged: Tick| now >= pinged.after(limits::H2_UPSTREAM_PING_INTERVAL);
        self.is_count_reset || self.pinged_at.is_none_or(is_late_enough)
    }

    /// Decides the next step, with `active` requests in progress.
    pub(super) fn look(&self, now: Tick, active: usize) -> Look {
        if let Some(pinged) = self.pinged_at
            && !self.is_acknowledged
            && self.received_at <= pinged
            && now >= pinged.after(limits::H2_UPSTREAM_PING_TIMEOUT)
        {
            return Look::Dead;
        }
        let is_silent =
            now >= self.received_at.max(self.requested_at).after(limits::H2_UPSTREAM_PING_SILENCE);
        if active > 0 && is_silent && self.may_ping(now) { Look::Ping } else { Look::Fine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1000)
    }

    /// PING rules of a gRPC server with its defaults.
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

    /// Simulates a day with an open stream, checked every five seconds; a message comes every `message_every`
    /// seconds, or only at first.
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
                Look::Dead => panic!("an endpoint that acknowledges every PING is alive"),
            }
        }
        pings
    }

    #[test]
    fn never_exceeds_the_ping_limit_of_a_grpc_server() {
        assert!(day(None) > 250, "a silent stream still gets PINGs");
        for every in [5, 10, 15, 60, 250, 305, 600] {
            day(Some(every));
        }
    }

    #[test]
    fn one_ping_while_requests_wait_in_silence() {
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
    fn a_message_after_the_ack_allows_another_ping() {
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
    fn an_endpoint_without_an_ack_is_dead() {
        let mut liveness = Liveness::new(at(0));
        liveness.note_ping(at(10));
        assert_eq!(liveness.look(at(19), 1), Look::Fine);
        assert_eq!(liveness.look(at(20), 1), Look::Dead);
        liveness.note_bytes(at(20));
        assert_eq!(liveness.look(at(21), 1), Look::Fine, "any byte proves liveness");
    }
}
