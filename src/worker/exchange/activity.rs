//! Idle time of one exchange: progress in either direction counts for both.
//!
//! ```text
//! request ──► waiting for the response head ──► open ──► over
//!             silence and least rate: the client's   silence of both directions; no least rate
//! ```
//! A call of gRPC is open from its first byte, for its response head may come with the last message of its
//! client.

use std::cell::Cell;
use std::time::Duration;

use crate::accept::listener::ListenerLimits;
use crate::limits;
use ringway_model::Tick;
use ringway_net::Rate;
use ringway_traffic::policy::Policy;
use ringway_wire::h1::ResponseHead;
use ringway_wire::headers::FieldKind;

use crate::exchange::deadlines::Deadlines;
use crate::exchange::grpc;

/// Time of the last progress of an exchange, and its idle timeouts.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    last: Cell<Tick>,
    idle_max: Cell<Duration>,
    rate: Cell<Option<Rate>>,
    is_open: Cell<bool>,
    /// Longest wait for a client that takes nothing of its response.
    client_stall: Cell<Duration>,
    /// Longest time from the end of the request to the whole head of its response.
    head_timeout: Cell<Duration>,
    /// Longest wait of a read before the limits are checked again: they may have changed meanwhile.
    look: Cell<Duration>,
    /// Deadlines whatever moves.
    pub(crate) deadlines: Deadlines,
}

/// Kinds of exchanges by how long they may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Moves until it is complete.
    Transfer,
    /// Silent for as long as nothing happens: events, messages, frames.
    Stream,
    /// A call of gRPC: a stream whose messages both sides hold back as they like, by its windows.
    Call,
}

impl Kind {
    /// Kind of an exchange by the media type of its response.
    pub(crate) fn of_response(response: &ResponseHead, upstream_in: &[u8]) -> Self {
        let Some(value) = response.values(upstream_in, FieldKind::ContentType).next() else {
            return Self::Transfer;
        };
        let media_type = grpc::media_type(value);
        if grpc::is_grpc(media_type) {
            return Self::Call;
        }
        match STREAMS.iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
            true => Self::Stream,
            false => Self::Transfer,
        }
    }

    /// Longest silence of an exchange of this kind; `Duration::MAX` is for ever.
    fn idle_max(self, policy: &Policy) -> Duration {
        match self {
            Self::Transfer => policy.body_progress_timeout,
            Self::Stream | Self::Call => policy.stream_idle_timeout,
        }
    }

    /// Longest time from the request to the head of its response. Servers of gRPC send the head with the
    /// first message, which may be an event of tomorrow; a timeout of the rule's own counts all the same.
    fn head_timeout(self, policy: &Policy) -> Duration {
        let timeout = match self {
            Self::Call if policy.timeout.is_none() => {
                policy.response_head_timeout.max(policy.stream_idle_timeout)
            }
            Self::Transfer | Self::Stream | Self::Call => policy.head_timeout(),
        };
        policy.per_try_timeout.map_or(timeout, |per_try| timeout.min(per_try))
    }

    /// Longest time in which a client takes nothing of its response.
    fn client_stall(self, policy: &Policy, limits: &ListenerLimits) -> Duration {
        match self {
            Self::Transfer | Self::Stream => limits.write_stall(policy),
            Self::Call => limits.write_stall(policy).max(policy.stream_idle_timeout),
        }
    }
}

impl Activity {
    /// Begins an exchange of this kind, whose request is about to be sent.
    pub(crate) fn begin(&self, kind: Kind, policy: &Policy, limits: &ListenerLimits, now: Tick) {
        let rate = match (kind, policy.body_rate_min) {
            (Kind::Call, _) | (_, 0) => None,
            (Kind::Transfer | Kind::Stream, bytes_per_second) => {
                Some(Rate { bytes_per_second, window: limits::BODY_RATE_WINDOW })
            }
        };
        self.last.set(now);
        // Only the client can be silent until the response begins.
        self.idle_max.set(match kind {
            Kind::Transfer => limits.read_stall(policy),
            Kind::Stream | Kind::Call => kind.idle_max(policy),
        });
        self.rate.set(rate);
        self.is_open.set(false);
        self.client_stall.set(limits.write_stall(policy));
        self.head_timeout.set(kind.head_timeout(policy));
        self.look.set(policy.body_progress_timeout);
    }

    /// Notes the head of a response of this kind.
    pub(crate) fn open(&self, kind: Kind, policy: &Policy, limits: &ListenerLimits, now: Tick) {
        self.idle_max.set(kind.idle_max(policy));
        self.client_stall.set(kind.client_stall(policy, limits));
        self.rate.set(None);
        self.is_open.set(true);
        self.note(now);
    }

    /// Notes the end of the response: what is left of the request has to move.
    pub(crate) fn close(&self) {
        self.idle_max.set(self.idle_max.get().min(self.look.get()));
    }

    /// Notes progress.
    pub(crate) fn note(&self, now: Tick) {
        self.last.set(now);
    }

    /// Whether the head of the response has come.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Time of the last progress, for a splice to set.
    pub(crate) fn progress(&self) -> &Cell<Tick> {
        &self.last
    }

    /// Deadline of a read, after which the limits are checked again.
    pub(crate) fn look_again(&self, now: Tick) -> Tick {
        let look = self.last.get().after(self.idle_max.get()).min(now.after(self.look.get()));
        look.min(self.deadlines.end())
    }

    /// Whether neither direction has moved for too long.
    pub(crate) fn is_idle(&self, now: Tick) -> bool {
        now >= self.last.get().after(self.idle_max.get())
    }

    /// Longest silence of the exchange.
    pub(crate) fn idle_max(&self) -> Duration {
        self.idle_max.get()
    }

    /// Longest time in which the client takes nothing of its response.
    pub(crate) fn client_stall(&self) -> Duration {
        self.client_stall.get()
    }

    /// Longest time from the end of the request to the whole head of its response.
    pub(crate) fn head_timeout(&self) -> Duration {
        self.head_timeout.get()
    }

    /// Least rate of the request's body: until the response head has come.
    pub(crate) fn least_rate(&self) -> Option<Rate> {
        self.rate.get()
    }
}

/// Media types of responses that are silent for as long as nothing happens.
const STREAMS: &[&[u8]] = &[
    b"text/event-stream",
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/jsonl",
    b"application/stream+json",
    b"application/json-seq",
    b"multipart/x-mixed-replace",
    b"application/grpc-web",
    b"application/grpc-web+proto",
    b"application/grpc-web-text",
    b"application/grpc-web-text+proto",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use ringway_wire::h1::Limits;
    use ringway_wire::message::Method;

    #[test]
    fn streams_are_known_by_their_media_types() {
        let kind = |content_type: &str| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n").into_bytes();
            let mut response = ResponseHead::default();
            response.parse(&head, Method::Get, &Limits::default()).unwrap();
            Kind::of_response(&response, &head)
        };
        for stream in [
            "text/event-stream",
            "Text/Event-Stream; charset=utf-8",
            "application/grpc-web+proto",
            "multipart/x-mixed-replace; boundary=x",
            "application/x-ndjson",
        ] {
            assert_eq!(kind(stream), Kind::Stream, "{stream}");
        }
        assert_eq!((kind("application/grpc"), kind("Application/gRPC+proto")), (Kind::Call, Kind::Call));
        for transfer in ["text/html", "text/event-streams", "application/grpcs", "application/json", "x"] {
            assert_eq!(kind(transfer), Kind::Transfer, "{transfer}");
        }
    }

    fn begun(kind: Kind, policy: &Policy, now: Tick) -> Activity {
        let activity = Activity::default();
        activity.begin(kind, policy, &limits(), now);
        activity
    }

    fn limits() -> ListenerLimits {
        ListenerLimits::of(&Settings::default())
    }

    fn policy(stream_idle_timeout: Duration) -> Policy {
        Policy { body_progress_timeout: secs(60), stream_idle_timeout, ..Policy::default() }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1000)
    }

    #[test]
    fn progress_in_either_direction_counts_for_both() {
        let activity = begun(Kind::Transfer, &policy(Duration::MAX), at(0));
        assert!(!activity.is_idle(at(59)) && activity.is_idle(at(60)));
        assert_eq!(activity.look_again(at(10)), at(60));
        // The other direction, or a splice of either.
        activity.note(at(50));
        assert!(!activity.is_idle(at(109)) && activity.is_idle(at(110)));
        activity.progress().set(at(100));
        assert!(!activity.is_idle(at(159)) && activity.is_idle(at(160)));
    }

    #[test]
    fn the_least_rate_holds_until_the_response_head_has_come() {
        let activity = begun(Kind::Transfer, &policy(Duration::MAX), at(0));
        let rate =
            Rate { bytes_per_second: ringway_model::limits::BODY_RATE_MIN, window: limits::BODY_RATE_WINDOW };
        assert_eq!(activity.least_rate(), Some(rate));
        activity.open(Kind::Transfer, &policy(Duration::MAX), &limits(), at(10));
        assert_eq!(activity.least_rate(), None);
        assert!(!activity.is_idle(at(69)) && activity.is_idle(at(70)));
        let off = Policy { body_rate_min: 0, ..Policy::default() };
        assert_eq!(begun(Kind::Transfer, &off, at(0)).least_rate(), None);
    }

    #[test]
    fn a_stream_has_the_idle_timeout_of_the_operator() {
        let activity = begun(Kind::Call, &policy(Duration::MAX), at(0));
        assert!(!activity.is_idle(at(1_000_000_000)) && activity.least_rate().is_none());
        // A read checks now and then all the same, for the limit may change.
        assert_eq!(activity.look_again(at(1_000)), at(1_060));
        activity.close();
        assert!(
            activity.is_idle(at(60)),
            "what is left of a request when its response is complete has to move"
        );
        let limited = begun(Kind::Transfer, &policy(secs(600)), at(0));
        limited.open(Kind::Stream, &policy(secs(600)), &limits(), at(0));
        assert!(!limited.is_idle(at(599)) && limited.is_idle(at(600)));
    }

    #[test]
    fn the_head_of_a_call_may_come_with_its_first_message() {
        let timeout = |kind, idle| begun(kind, &policy(idle), at(0)).head_timeout();
        let usual = Policy::default().response_head_timeout;
        assert_eq!(timeout(Kind::Transfer, Duration::MAX), usual);
        assert_eq!(timeout(Kind::Call, Duration::MAX), Duration::MAX);
        assert_eq!(timeout(Kind::Call, usual * 2), usual * 2);
        assert_eq!(timeout(Kind::Call, usual / 2), usual);
    }

    #[test]
    fn only_a_call_may_leave_its_response_unread_longer_than_a_body() {
        let activity = begun(Kind::Call, &policy(Duration::MAX), at(0));
        assert_eq!(activity.client_stall(), secs(60), "the request alone is not enough");
        activity.open(Kind::Stream, &policy(Duration::MAX), &limits(), at(0));
        assert_eq!(activity.client_stall(), secs(60));
        activity.open(Kind::Call, &policy(Duration::MAX), &limits(), at(0));
        assert_eq!(activity.client_stall(), Duration::MAX);
    }

    #[test]
    fn a_listener_limits_the_silence_of_its_clients() {
        let own = ListenerLimits { read_timeout: Some(secs(5)), write_timeout: Some(secs(7)), ..limits() };
        let activity = Activity::default();
        activity.begin(Kind::Transfer, &policy(Duration::MAX), &own, at(0));
        assert!(!activity.is_idle(at(4)) && activity.is_idle(at(5)), "the request's body");
        assert_eq!(activity.client_stall(), secs(7));
        activity.open(Kind::Transfer, &policy(Duration::MAX), &own, at(0));
        assert!(!activity.is_idle(at(59)), "the instance has the time of the policy");
        assert_eq!(activity.client_stall(), secs(7));
        // A call may be silent for as long as a stream may.
        activity.begin(Kind::Call, &policy(Duration::MAX), &own, at(0));
        assert!(!activity.is_idle(at(1_000_000)));
    }
}
