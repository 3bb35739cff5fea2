//! State of an instance, decided from its drain, its health and its circuit breaker; pure.

use ringway_health::CheckStatus;
use ringway_model::{Health, Hostname, Timestamp};
use ringway_traffic::breaker::BreakerView;

use super::InstanceState;
use crate::instances::{Lease, no_heartbeat};
use crate::time::Now;

/// Reason why an instance is or may soon be out of rotation: missing heartbeats, then its checks.
pub(super) fn health_reason(checked: Option<&CheckStatus>, lease: Option<Lease>, now: Now) -> Option<String> {
    let lapsed = lease.filter(Lease::is_lapsed).map(|lease| no_heartbeat(lease.silence(now.tick)));
    let reasons: Vec<String> = lapsed.into_iter().chain(checked.and_then(CheckStatus::reason)).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Inputs of the state of an instance.
pub(super) struct StateInputs<'a> {
    pub(super) draining_until: Option<Timestamp>,
    pub(super) health: Health,
    /// Failure of the last check, reason why it could not run, or missing heartbeats.
    pub(super) failure: Option<&'a str>,
    /// Consecutive failed checks; 0 if the last one could not run, and when heartbeats are missing.
    pub(super) failures: u32,
    /// Whether a check has ended since the start.
    pub(super) is_checked: bool,
    /// Name of the target, if it has no address.
    pub(super) unresolved: Option<&'a Hostname>,
    pub(super) breaker: BreakerView,
}

impl StateInputs<'_> {
    /// State, with the reason where there is one.
    pub(super) fn state(&self, now: Now) -> (InstanceState, Option<String>) {
        let failed = |failure: &str| match self.failures {
            0 => failure.to_owned(),
            1 => format!("the last probe failed: {failure}"),
            failures => format!("the last {failures} probes failed: {failure}"),
        };
        let failure = match self.unresolved {
            Some(name) => Some(format!("the name {name} has no address")),
            None => self.failure.map(failed),
        };
        if let Some(until) = self.draining_until {
            let until = until.to_rfc3339();
            return (
                InstanceState::Draining,
                Some(format!("removed with its last request, at {until} at the latest")),
            );
        }
        match (self.health, self.breaker) {
            (Health::Unhealthy, _) => (InstanceState::Unhealthy, failure),
            (Health::Joining, _) => {
                let waiting = || "waiting for the first successful probe".to_owned();
                (InstanceState::Joining, Some(failure.unwrap_or_else(waiting)))
            }
            (_, _) if self.unresolved.is_some() => (InstanceState::Unhealthy, failure),
            (_, BreakerView::Open { until }) => {
                let until = now.timestamp_of(until).to_rfc3339();
                (
                    InstanceState::Ejected,
                    Some(format!("requests failed; the circuit breaker is open until {until}")),
                )
            }
            (_, BreakerView::HalfOpen) => {
                (InstanceState::Ejected, Some("requests failed; the next one decides".to_owned()))
            }
            (Health::Unknown, BreakerView::Closed) if !self.is_checked => {
                (InstanceState::Serving, Some("not probed since the start".to_owned()))
            }
            (Health::Unknown | Health::Healthy, BreakerView::Closed) => (InstanceState::Serving, failure),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    const HEALTHY: StateInputs<'static> = StateInputs {
        draining_until: None,
        health: Health::Healthy,
        failure: None,
        failures: 3,
        is_checked: true,
        unresolved: None,
        breaker: BreakerView::Closed,
    };

    /// The whole table: a drain takes precedence over health, health over the breaker.
    #[test]
    fn instance_states_and_their_reasons() {
        use InstanceState::{Draining, Ejected, Joining, Serving, Unhealthy};
        let now = Now { tick: ringway_model::Tick(0), at: NOW, ..Now::default() };
        let open = BreakerView::Open { until: ringway_model::Tick(30_000) };
        let name = Hostname::parse("app.internal").unwrap();
        for (facts, state, part) in [
            (StateInputs { ..HEALTHY }, Serving, ""),
            (
                StateInputs { failure: Some("status 503"), failures: 1, ..HEALTHY },
                Serving,
                "the last probe failed: status 503",
            ),
            (
                StateInputs { health: Health::Unknown, is_checked: false, ..HEALTHY },
                Serving,
                "not probed since the start",
            ),
            (
                StateInputs { health: Health::Joining, ..HEALTHY },
                Joining,
                "waiting for the first successful probe",
            ),
            (
                StateInputs { health: Health::Joining, failure: Some("connection refused"), ..HEALTHY },
                Joining,
                "the last 3 probes failed: connection refused",
            ),
            (
                StateInputs {
                    health: Health::Unhealthy,
                    failure: Some("status 503"),
                    breaker: open,
                    ..HEALTHY
                },
                Unhealthy,
                "the last 3 probes failed: status 503",
            ),
            (
                StateInputs { unresolved: Some(&name), ..HEALTHY },
                Unhealthy,
                "the name app.internal has no address",
            ),
            (
                StateInputs { health: Health::Joining, unresolved: Some(&name), ..HEALTHY },
                Joining,
                "the name app.internal has no address",
            ),
            (
                StateInputs { breaker: open, ..HEALTHY },
                Ejected,
                "the circuit breaker is open until 2027-01-15T08:00:30Z",
            ),
            (StateInputs { breaker: BreakerView::HalfOpen, ..HEALTHY }, Ejected, "the next one decides"),
            (
                StateInputs {
                    draining_until: Some(NOW),
                    health: Health::Unhealthy,
                    breaker: open,
                    ..HEALTHY
                },
                Draining,
                "removed with its last request, at 2027-01-15T08:00:00Z at the latest",
            ),
        ] {
            let (found, reason) = facts.state(now);
            let reason = reason.unwrap_or_default();
            assert_eq!(found, state, "{part}: {reason}");
            assert!(reason.contains(part) && reason.is_empty() == part.is_empty(), "{reason}");
        }
        for state in InstanceState::ALL {
            assert_eq!(InstanceState::parse(state.as_str()), Some(state));
            assert_eq!(InstanceState::ALL[state as usize], state);
        }
    }
}
