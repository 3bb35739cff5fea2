//! Metrics of traffic policies that are read from their state: circuit breakers, ejections, overload
//! protection, retry budgets, the trickle, the table of rate limits.
//!
//! Series are bounded: only pools and routes with a metric slot have one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ringway_traffic::overload::LoadGauges;
use ringway_traffic::retry_budget::BudgetSize;
use ringway_traffic::snapshot::Snapshot;

use super::circuits::{circuits, ejections};
use super::{BreakerState, CircuitStatus};
use crate::engine::Engine;
use crate::time::Now;

/// Appends the metrics.
pub(super) fn render(engine: &Engine, now: Now, out: &mut String) {
    let view = engine.view(now);
    let circuits: Vec<CircuitStatus> =
        circuits(view.snapshot, now).into_iter().filter(|circuit| circuit.has_slot).collect();
    render_circuits(&circuits, out);
    family(
        out,
        "proxy_ejections_total",
        "counter",
        "Ejections of endpoints, by reason. Prevented ones had no place, or were a dry run.",
    );
    for status in ejections(view.snapshot).iter().filter(|status| status.has_slot) {
        for (mode, count) in [("enforced", status.ejections), ("prevented", status.prevented)] {
            let (pool, reason) = (&status.pool, status.reason);
            let labels = format!("pool=\"{pool}\",reason=\"{reason}\",mode=\"{mode}\"");
            sample(out, "proxy_ejections_total", &labels, count);
        }
    }
    render_loads(view.snapshot, out);
    render_retry_budgets(view.snapshot, now, out);
    let trickle = engine.publisher().compiler().trickles().get();
    let name = "proxy_trickle_requests_total";
    family(out, name, "counter", "Requests let through to pools without an available endpoint.");
    let _ = writeln!(out, "{name} {trickle}");
    let evictions = engine.publisher().compiler().rate_limits().evictions();
    family(
        out,
        "ringway_rate_limit_evictions_total",
        "counter",
        "Keys of rate limits that began again because too many others were in debt.",
    );
    let _ = writeln!(out, "ringway_rate_limit_evictions_total {evictions}");
}

fn render_circuits(circuits: &[CircuitStatus], out: &mut String) {
    family(out, "proxy_circuit_breaker_state", "gauge", "State of the circuit breakers of pools and routes.");
    for circuit in circuits {
        for state in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
            let labels = format!("{},state=\"{}\"", labels(circuit), state.as_str());
            sample(out, "proxy_circuit_breaker_state", &labels, (circuit.breaker.state == state).into());
        }
    }
    let name = "proxy_circuit_breaker_trips_total";
    family(
        out,
        name,
        "counter",
        "Openings of the circuit breakers of pools and routes. Those of a dry run refused nothing.",
    );
    for circuit in circuits {
        for (mode, count) in [("enforced", circuit.trips), ("dry_run", circuit.would_trip)] {
            sample(out, name, &format!("{},mode=\"{mode}\"", labels(circuit)), count);
        }
    }
}

fn labels(circuit: &CircuitStatus) -> String {
    format!("scope=\"{}\",name=\"{}\"", circuit.scope.as_str(), circuit.name)
}

/// Overload protection of routes.
fn render_loads(snapshot: &Snapshot, out: &mut String) {
    let loads: BTreeMap<&str, LoadGauges> = rules(snapshot)
        .filter_map(|rule| Some((&*rule.name, rule.traffic.as_deref()?.overload.as_deref()?.gauges())))
        .collect();
    type Value = fn(&LoadGauges) -> u64;
    let families: [(&str, &str, &str, Value); 5] = [
        (
            "proxy_overload_limit",
            "gauge",
            "Limit of concurrent requests of a route, adaptive or fixed.",
            |load| load.limit.into(),
        ),
        ("proxy_overload_in_flight", "gauge", "Requests that hold a permit of their route.", |load| {
            load.in_flight.into()
        }),
        ("proxy_overload_queued", "gauge", "Requests that wait for a permit of their route.", |load| {
            load.queued.into()
        }),
        (
            "proxy_overload_would_queue_total",
            "counter",
            "Requests that a dry run would have queued.",
            |load| load.would_queue,
        ),
        (
            "proxy_overload_would_refuse_total",
            "counter",
            "Requests that a dry run would have refused.",
            |load| load.would_refuse,
        ),
    ];
    for (name, kind, help, value) in families {
        family(out, name, kind, help);
        for (route, load) in &loads {
            sample(out, name, &format!("route=\"{route}\""), value(load));
        }
    }
}

/// Rest of the retry budget of each route's pool.
fn render_retry_budgets(snapshot: &Snapshot, now: Now, out: &mut String) {
    let tokens = |rule: &ringway_traffic::virtual_host::Rule| {
        let retries = rule.traffic.as_deref()?.retries.as_deref()?;
        let size = BudgetSize { share: retries.budget, floor: retries.budget_floor };
        Some(snapshot.pool_of(rule)?.retry_budget.tokens(size, now.micros.0))
    };
    let budgets: BTreeMap<&str, u64> =
        rules(snapshot).filter_map(|rule| Some((&*rule.name, tokens(rule)?))).collect();
    let name = "proxy_retry_budget_tokens";
    family(out, name, "gauge", "Retries that the budget of the route's pool has left.");
    for (route, tokens) in budgets {
        sample(out, name, &format!("route=\"{route}\""), tokens);
    }
}

/// Rules with a metric slot and traffic policies.
fn rules(snapshot: &Snapshot) -> impl Iterator<Item = &ringway_traffic::virtual_host::Rule> {
    let rules = snapshot.virtual_hosts().flat_map(|host| host.rules.iter());
    rules.map(|rule| &**rule).filter(|rule| rule.metric.0 != 0 && rule.traffic.is_some())
}

// Writing to a string cannot fail; ids and domains need no escaping.
fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "{name}{{{labels}}} {value}");
}
