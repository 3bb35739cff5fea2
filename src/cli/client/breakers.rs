//! `ringway breakers`: lists circuit breakers and ejections, with their reasons.

use ringway_wire::message::Method;
use serde::Deserialize;

use super::text::{Cell, Style, Table, Tone};
use super::{ApiArgs, Failure, target, time};

/// Lists the circuit breakers of pools, routes and endpoints.
#[derive(Debug, clap::Args)]
pub(crate) struct BreakersArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Show those of this pool or app only
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Show closed ones of endpoints, too
    #[arg(long)]
    all: bool,
    /// Read at most this many of endpoints
    #[arg(long, value_name = "COUNT", default_value_t = ringway_model::limits::PAGE_ITEMS_MAX)]
    limit: usize,
}

/// Response of the API.
#[derive(Debug, Deserialize)]
struct BreakersView {
    breakers: Vec<BreakerView>,
    circuits: Vec<CircuitView>,
    ejections: Vec<EjectionView>,
    total: usize,
}

#[derive(Debug, Deserialize)]
struct BreakerView {
    endpoint: String,
    pool: String,
    state: String,
    since: Option<String>,
    until: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CircuitView {
    scope: String,
    name: String,
    pool: Option<String>,
    state: String,
    since: Option<String>,
    until: Option<String>,
    dry_run: bool,
    successes: u64,
    failures: u64,
    trips: u64,
    would_trip: u64,
}

#[derive(Debug, Deserialize)]
struct EjectionView {
    pool: String,
    reason: String,
    ejections: u64,
    prevented: u64,
}

impl BreakersArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        let limit = self.limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(self.pool.as_deref().map(|pool| ("app_id", pool)));
        let show = |view: BreakersView, style| text(&view, self.all, style);
        api.show(Method::Get, &target("/api/v2/breakers", &query), None, show)
    }
}

/// Table of all that is worth a look.
fn text(view: &BreakersView, shows_all: bool, style: Style) -> String {
    let mut table = Table::new(&["SCOPE", "NAME", "POOL", "STATE", "SINCE", "NEXT PROBE", "REASON"]);
    for circuit in &view.circuits {
        let state =
            if circuit.dry_run { format!("{} (dry run)", circuit.state) } else { circuit.state.clone() };
        table.row(vec![
            Cell::new(&circuit.scope),
            Cell::new(&circuit.name),
            Cell::new(circuit.pool.as_deref().unwrap_or("-")),
            Cell::new(&state).tone(tone(&circuit.state)),
            Cell::new(&moment(circuit.since.as_deref())),
            Cell::new(&moment(circuit.until.as_deref())),
            Cell::new(&reason(circuit)),
        ]);
    }
    let shown = view.breakers.iter().filter(|breaker| shows_all || breaker.state != "closed");
    for breaker in shown {
        table.row(vec![
            Cell::new("endpoint"),
            Cell::new(&breaker.endpoint),
            Cell::new(&breaker.pool),
            Cell::new(&breaker.state).tone(tone(&breaker.state)),
            Cell::new(&moment(breaker.since.as_deref())),
            Cell::new(&moment(breaker.until.as_deref())),
            Cell::new(if breaker.state == "closed" { "-" } else { "its requests failed" }),
        ]);
    }
    let mut out = table.render(style);
    for status in &view.ejections {
        let EjectionView { pool, reason, ejections, prevented } = status;
        out.push_str(&format!("{pool}: {ejections} ejections by {reason}, {prevented} prevented\n"));
    }
    if !shows_all {
        let closed = view.breakers.iter().filter(|breaker| breaker.state == "closed").count();
        out.push_str(&format!("{closed} of {} endpoints are closed; --all shows them\n", view.total));
    }
    out
}

/// Attempts of the last seconds, and openings so far.
fn reason(circuit: &CircuitView) -> String {
    let attempts = circuit.successes + circuit.failures;
    let mut reason =
        format!("{} of {attempts} failed in 10 s, opened {} times", circuit.failures, circuit.trips);
    if circuit.would_trip > 0 {
        reason.push_str(&format!(", {} times in a dry run", circuit.would_trip));
    }
    reason
}

fn moment(at: Option<&str>) -> String {
    at.map_or_else(|| "-".to_owned(), time)
}

fn tone(state: &str) -> Tone {
    match state {
        "closed" => Tone::Good,
        "open" => Tone::Bad,
        _ => Tone::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn open_breakers_are_shown_with_their_reasons_and_closed_ones_on_request() {
        let view: BreakersView = serde_json::from_value(json!({
            "breakers": [
                { "endpoint": "web@10.0.0.1:80", "pool": "web", "state": "closed", "since": null, "until": null },
                { "endpoint": "web@10.0.0.2:80", "pool": "web", "state": "open",
                  "since": "2026-01-15T11:59:30.000Z", "until": "2026-01-15T12:00:00.000Z" }
            ],
            "circuits": [{
                "scope": "route", "name": "api", "pool": "web", "state": "half_open", "since": "2026-01-15T11:00:00.000Z",
                "until": null, "dry_run": true,
                "successes": 10, "failures": 30, "trips": 0, "would_trip": 2
            }],
            "ejections": [{ "pool": "web", "reason": "error_rate", "ejections": 3, "prevented": 1 }],
            "total": 2, "next": null, "revision": 7
        }))
        .expect("a response of the API");
        let short = text(&view, false, Style::PLAIN);
        for part in [
            "half_open (dry run)",
            "30 of 40 failed in 10 s, opened 0 times, 2 times in a dry run",
            "2026-01-15 12:00:00Z",
            "2026-01-15 11:59:30Z",
            "2026-01-15 11:00:00Z",
            "web: 3 ejections by error_rate, 1 prevented",
            "1 of 2 endpoints are closed; --all shows them",
        ] {
            assert!(short.contains(part), "{part}: {short}");
        }
        assert!(!short.contains("web@10.0.0.1:80"), "{short}");
        assert!(text(&view, true, Style::PLAIN).contains("web@10.0.0.1:80"));
    }
}
