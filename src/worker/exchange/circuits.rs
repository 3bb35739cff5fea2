//! Circuit breakers of routes and pools: the check before an endpoint is selected, and its refusal.

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
