//! Circuit breakers of routes and pools: the check before an endpoint is selected, and its refusal.

use ringway_model::Tick;
use ringway_traffic::pool_breaker::{Circuit, CircuitOpen, Circuits, PoolBreaker};

use crate::exchange::failure::seconds;
use crate::exchange::local_reply::{LimitedBy, LocalReply};
use crate::exchange::{Exchange, Interrupt, Target};
use crate::runtime::Runtime;

impl<'a> Target<'a> {
    /// The breakers of an attempt. A rule's counts the requests to its own pool, not those of a canary or a
    /// cohort.
    #[inline]
    pub(crate) fn circuits(&self) -> Circuits<'a> {
        let (rule, pool) = (self.matched.rule, self.pool);
        let of_rule = rule.traffic.as_ref().and_then(|traffic| traffic.breaker.as_deref());
        Circuits {
            route: of_rule.filter(|_| rule.pool() == Some(pool.id)),
            pool: pool.traffic.as_ref().and_then(|traffic| traffic.breaker.as_deref()),
        }
    }
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Notes the state of the breaker that an attempt meets, before it may become its probe: that of the pool
    /// or, where that is closed, of the route.
    #[inline]
    pub(super) fn note_circuits(&mut self, circuits: Circuits<'a>, now: Tick) {
        let states = [circuits.pool, circuits.route].into_iter().flatten();
        let mut names = states.map(|breaker| breaker.state_name(now));
        if let Some(first) = names.next() {
            self.info.breaker = Some(if first == "closed" { names.next().unwrap_or(first) } else { first });
        }
    }

    /// Returns the reply to a request that an open breaker refuses.
    #[cold]
    pub(super) fn refuse_circuit(&mut self, target: &Target<'a>, open: CircuitOpen) -> Interrupt<'a> {
        let circuits = target.circuits();
        let (policy, breaker, message) = match open.circuit {
            Circuit::Route => {
                (&*target.matched.rule.name, circuits.route, "the circuit breaker of this route is open")
            }
            Circuit::Pool => {
                (target.pool.app.as_str(), circuits.pool, "the circuit breaker of this route's pool is open")
            }
        };
        let by = LimitedBy { policy, limit: breaker.map_or("", PoolBreaker::description) };
        self.info.limited_by = Some(by);
        LocalReply::error(503, "circuit_open", message)
            .with_field("Retry-After", seconds(open.retry_after).to_string().as_bytes())
            .with_field("X-Proxy-Circuit-Open", b"true")
            .with_limit(by)
            .into()
    }
}
