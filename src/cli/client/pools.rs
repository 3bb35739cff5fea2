//! `ringway pools`: lists and shows pools, drains their endpoints and weights them at run time.

use std::time::{Duration, Instant};

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::List;
use super::text::{Cell, Style, Table, Tone, escape};
use super::{Api, ApiArgs, Failure, Output, parse, pause, positive, print, push_encoded, time};

#[derive(Debug, clap::Args)]
pub(crate) struct PoolsArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    list: ListArgs,
    #[command(subcommand)]
    command: Option<PoolsCommand>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// List those of this owner only: api, file or admin
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// List at most this many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Debug, clap::Subcommand)]
enum PoolsCommand {
    /// List pools and apps, by ID (the default)
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show a pool or app with its endpoints
    Show {
        /// ID of the pool or app
        pool: String,
    },
    /// Drain an endpoint: it gets no new requests, and those in flight finish
    ///
    /// Outlives reloads and restarts; `ringway pools reset` ends it. Idle connections to the endpoint are
    /// closed at once.
    Drain {
        #[command(flatten)]
        endpoint: EndpointArgs,
        /// Wait until no request is in flight
        #[arg(long)]
        wait: bool,
        /// With --wait: longest time to wait
        #[arg(long, value_name = "TIME", value_parser = positive, default_value = "5m", requires = "wait")]
        within: Duration,
        /// Reason, for those who find it later
        #[arg(long, value_name = "TEXT", value_parser = super::reason)]
        reason: Option<String>,
    },
    /// Set the weight of an endpoint in place of the configured one
    ///
    /// Ends a drain of it. Outlives reloads and restarts; `ringway pools reset` ends it.
    Weight {
        #[command(flatten)]
        endpoint: EndpointArgs,
        /// Share of the requests, relative to the other endpoints; 0 takes no new ones
        weight: u16,
        /// Reason, for those who find it later
        #[arg(long, value_name = "TEXT", value_parser = super::reason)]
        reason: Option<String>,
    },
    /// Give endpoints their configured weights again
    Reset {
        /// ID of the pool or app
        pool: String,
        /// Address or ID of the endpoint; all of the pool when absent
        #[arg(conflicts_with = "all")]
        endpoint: Option<String>,
        /// All endpoints of the pool, as without an endpoint
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
struct EndpointArgs {
    /// ID of the pool or app
    pool: String,
    /// Address or ID of the endpoint
    endpoint: String,
}

const PATH: &str = "/api/v2/pools";
/// Time between two looks at a drain.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

impl PoolsArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        match self.command {
            Some(PoolsCommand::Show { pool }) => {
                api.show(Method::Get, &pool_path(&pool), None, |view, style| details(&view, style))
            }
            Some(PoolsCommand::Drain { endpoint, wait, within, reason }) => {
                let body = json!({ "drain": true, "reason": reason.unwrap_or_default() });
                match wait {
                    true => drain(&api, &endpoint, &body, within)?,
                    false => endpoint.put(&api, &body)?,
                }
                endpoint.warn_of_last(&api);
                Ok(())
            }
            Some(PoolsCommand::Weight { endpoint, weight, reason }) => {
                endpoint.put(&api, &json!({ "weight": weight, "reason": reason.unwrap_or_default() }))?;
                if weight == 0 {
                    endpoint.warn_of_last(&api);
                }
                Ok(())
            }
            Some(PoolsCommand::Reset { pool, endpoint: Some(endpoint), .. }) => {
                reset(&api, &EndpointArgs { pool, endpoint })
            }
            Some(PoolsCommand::Reset { pool, endpoint: None, .. }) => reset_all(&api, &pool),
            Some(PoolsCommand::List(list)) => list.run(&api),
            None => self.list.run(&api),
        }
    }
}

impl ListArgs {
    fn run(self, api: &Api) -> Result<(), Failure> {
        let headings =
            ["POOL", "OWNER", "BALANCER", "ENDPOINTS", "AVAILABLE", "EJECTED", "IN FLIGHT", "OVERRIDES"];
        let list =
            List { path: PATH, items: "pools", filters: vec![("owner", self.owner)], limit: self.limit };
        api.list(&list, Table::new(&headings), |table, pool: PoolView| table.row(pool.cells()))
    }
}

impl EndpointArgs {
    fn path(&self) -> String {
        let mut path = pool_path(&self.pool);
        path.push_str("/endpoints/");
        push_encoded(&mut path, &self.endpoint);
        path
    }

    /// Sets the override, and prints what is in force.
    fn put(&self, api: &Api, body: &Value) -> Result<(), Failure> {
        api.show(Method::Put, &self.path(), Some(body), |view: EndpointView, style| view.changed(style))
    }

    /// Warns where no endpoint of the pool has a weight: a drain is not refused, for a pool may be meant to
    /// end. The change is made: a pool that cannot be read then is no failure of it.
    fn warn_of_last(&self, api: &Api) {
        let body = api.call(Method::Get, &pool_path(&self.pool), None);
        let Ok(view) = body.and_then(|body| parse::<PoolDetails>(&body)) else { return };
        if !view.endpoints.is_empty() && view.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            let pool = escape(&self.pool);
            eprintln!(
                "warning: no endpoint of {pool} takes requests now, and its routes answer with an error; \
                 `ringway pools reset {pool}` gives all their weights again"
            );
        }
    }

    /// The endpoint as it is now, as the API shows it.
    fn read(&self, api: &Api, id: &str) -> Result<Value, Failure> {
        let mut pool: Value = parse(&api.call(Method::Get, &pool_path(&self.pool), None)?)?;
        let endpoints = pool["endpoints"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let gone = || Failure::NotFound(format!("endpoint {id} of pool {} was removed meanwhile", self.pool));
        endpoints.into_iter().find(|endpoint| endpoint["endpoint"] == id).ok_or_else(gone)
    }
}

fn pool_path(pool: &str) -> String {
    let mut path = format!("{PATH}/");
    push_encoded(&mut path, pool);
    path
}

/// Drains an endpoint and waits for its last request; progress goes to standard error.
fn drain(api: &Api, endpoint: &EndpointArgs, body: &Value, within: Duration) -> Result<(), Failure> {
    let EndpointView { endpoint: id, .. } = parse(&api.call(Method::Put, &endpoint.path(), Some(body))?)?;
    let deadline = Instant::now() + within;
    let mut reported = None;
    let (view, shown) = loop {
        // The response of the change may be older than its last core.
        let shown = endpoint.read(api, &id)?;
        let view =
            EndpointView::deserialize(&shown).map_err(|error| Failure::Unexpected { status: 200, error })?;
        let in_flight = view.requests_in_flight;
        match &view.of_run_time {
            Some(of) if of.drain => {}
            _ => return Err(Failure::Conflict(format!("{id}: its drain was ended by another command"))),
        }
        if in_flight == 0 {
            break (view, shown);
        }
        if Instant::now() >= deadline {
            let within = humantime::format_duration(within);
            return Err(Failure::TimedOut(format!(
                "{id}: {in_flight} in flight after {within}; it stays drained: wait again with the same command, \
                 or give it its weight with `ringway pools reset`"
            )));
        }
        if reported != Some(in_flight) {
            eprintln!("{}: draining, {in_flight} in flight", escape(&id));
            reported = Some(in_flight);
        }
        pause(POLL_INTERVAL);
    };
    match api.output {
        Output::Json => api.print_json(shown.to_string().as_bytes()),
        Output::Text => print(&view.changed(api.style)),
    }
}

fn reset(api: &Api, endpoint: &EndpointArgs) -> Result<(), Failure> {
    api.show(Method::Delete, &endpoint.path(), None, |view: EndpointView, style| view.changed(style))
}

/// Ends all overrides of a pool, one by one.
fn reset_all(api: &Api, pool: &str) -> Result<(), Failure> {
    let view: PoolDetails = parse(&api.call(Method::Get, &pool_path(pool), None)?)?;
    let overridden: Vec<EndpointView> =
        view.endpoints.into_iter().filter(|endpoint| endpoint.of_run_time.is_some()).collect();
    if overridden.is_empty() {
        // With --json there is one object for each endpoint: none.
        return match api.output {
            Output::Json => Ok(()),
            Output::Text => print(&format!("no endpoint of {} is overridden\n", escape(pool))),
        };
    }
    for endpoint in overridden {
        reset(api, &EndpointArgs { pool: pool.to_owned(), endpoint: endpoint.endpoint })?;
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolView {
    id: String,
    owner: String,
    status: String,
    balancer: String,
    endpoints: u64,
    available: u64,
    ejected: u64,
    in_flight: u64,
    overrides: u64,
}

impl PoolView {
    fn cells(&self) -> Vec<Cell> {
        let marked = |number: u64| match number {
            0 => Cell::number(0),
            number => Cell::number(number).tone(Tone::Warning),
        };
        let available = match self.available {
            0 => Tone::Bad,
            some if some < self.endpoints => Tone::Warning,
            _ => Tone::Good,
        };
        vec![
            Cell::new(&self.id),
            Cell::new(&self.owner),
            Cell::new(&self.balancer),
            Cell::number(self.endpoints),
            Cell::number(self.available).tone(available),
            marked(self.ejected),
            Cell::number(self.in_flight),
            marked(self.overrides),
        ]
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolDetails {
    pool: PoolView,
    endpoints: Vec<EndpointView>,
    outage: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EndpointView {
    endpoint: String,
    url: String,
    weight: u64,
    configured_weight: u64,
    #[serde(rename = "override")]
    of_run_time: Option<OverrideView>,
    state: String,
    state_reason: Option<String>,
    slow_start_share: Option<f64>,
    circuit_breaker: String,
    failures_in_a_row: Option<u64>,
    requests_in_flight: u64,
    /// Cores that do not serve a change yet.
    pending: Vec<u64>,
}

/// Override of an endpoint at run time.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OverrideView {
    drain: bool,
    at: String,
    by: String,
    reason: String,
}

impl OverrideView {
    /// Its author, time and reason.
    fn origin(&self) -> String {
        let reason = match self.reason.is_empty() {
            true => String::new(),
            false => format!(": {}", escape(&self.reason)),
        };
        format!("by {} since {}{reason}", escape(&self.by), escape(&time(&self.at)))
    }
}

/// Configured weight that is overridden at run time.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OverriddenView {
    endpoint: String,
    configured_weight: u64,
    weight: u64,
    #[serde(rename = "override")]
    of_run_time: OverrideView,
}

/// A line for each endpoint whose configured weight is not in force.
pub(super) fn overridden_text(overridden: &[OverriddenView]) -> String {
    let mut text = String::new();
    for OverriddenView { endpoint, configured_weight, weight, of_run_time } in overridden {
        let what = if of_run_time.drain { "drained" } else { "weighted" };
        let (endpoint, origin) = (escape(endpoint), of_run_time.origin());
        text.push_str(&format!(
            "note: {endpoint} has weight {weight}, not the configured {configured_weight}: {what} {origin}\n"
        ));
    }
    if !overridden.is_empty() {
        text.push_str("note: `ringway pools reset POOL ENDPOINT` ends an override\n");
    }
    text
}

impl EndpointView {
    /// The weight in force, and the configured one where that is another.
    fn weights(&self) -> String {
        match self.weight == self.configured_weight {
            true => self.weight.to_string(),
            false => format!("{} (configured {})", self.weight, self.configured_weight),
        }
    }

    fn state(&self) -> String {
        match self.slow_start_share {
            Some(share) => format!("{} ({share} %)", self.state),
            None => self.state.clone(),
        }
    }

    /// State of the breaker, and the failures that it has counted.
    fn breaker(&self) -> String {
        match self.failures_in_a_row {
            Some(failures) if failures > 0 => format!("{} ({failures} failed)", self.circuit_breaker),
            _ => self.circuit_breaker.clone(),
        }
    }

    fn tone(&self) -> Tone {
        match self.state.as_str() {
            "draining" | "drained" | "slow_start" => Tone::Warning,
            state => Tone::of_state(state),
        }
    }

    /// Line about the endpoint after a change.
    fn changed(&self, style: Style) -> String {
        let state = style.paint(self.tone(), &escape(&self.state()));
        let mut text = format!("{}: {state}, weight {}", escape(&self.endpoint), self.weights());
        if self.requests_in_flight > 0 {
            text.push_str(&format!(", {} in flight", self.requests_in_flight));
        }
        if !self.pending.is_empty() {
            let cores: Vec<String> = self.pending.iter().map(u64::to_string).collect();
            text.push_str(&format!("; stored, but these cores do not serve it yet: {}", cores.join(", ")));
        }
        text + "\n"
    }
}

fn details(view: &PoolDetails, style: Style) -> String {
    let PoolView { id, owner, status, balancer, endpoints, available, .. } = &view.pool;
    let mut text = format!("{}\n", style.paint(Tone::Heading, &escape(id)));
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<10} {value}\n"));
    line("owner", &escape(owner));
    line("balancer", &escape(balancer));
    let status = style.paint(Tone::of_state(status), &escape(status));
    line("status", &format!("{status}, {available} of {endpoints} endpoints available"));
    if let Some(outage) = &view.outage {
        line("outage", &escape(outage));
    }
    if view.endpoints.is_empty() {
        return text + "no endpoints\n";
    }
    text.push('\n');
    let mut table = Table::new(&["ENDPOINT", "URL", "WEIGHT", "STATE", "BREAKER", ">IN FLIGHT"]);
    for endpoint in &view.endpoints {
        table.row(vec![
            Cell::new(&endpoint.endpoint),
            Cell::new(&endpoint.url),
            Cell::new(&endpoint.weights()),
            Cell::new(&endpoint.state()).tone(endpoint.tone()),
            Cell::new(&endpoint.breaker()),
            Cell::number(endpoint.requests_in_flight),
        ]);
    }
    text.push_str(&table.render(style));
    for endpoint in &view.endpoints {
        let id = escape(&endpoint.endpoint);
        if let Some(reason) = &endpoint.state_reason {
            text.push_str(&format!("{id}: {}\n", escape(reason)));
        }
        if let Some(of) = &endpoint.of_run_time {
            let what = if of.drain { "drained" } else { "weighted" };
            text.push_str(&format!("{id}: {what} {}\n", of.origin()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pool() -> PoolDetails {
        serde_json::from_value(json!({
            "pool": { "id": "web", "owner": "file", "status": "degraded", "balancer": "weighted_round_robin",
                "endpoints": 2, "available": 1, "ejected": 0, "in_flight": 3, "overrides": 1 },
            "endpoints": [
                { "endpoint": "web@10.0.0.1:80", "url": "http://10.0.0.1:80", "weight": 0, "configured_weight": 100,
                  "override": { "weight": null, "drain": true, "at": "2026-01-15T12:00:00.000Z",
                      "by": "token ops", "reason": "a new\u{1b}[2J disk" },
                  "state": "draining", "state_reason": null, "slow_start_share": null,
                  "circuit_breaker": "closed", "requests_in_flight": 3 },
                { "endpoint": "web@10.0.0.2:80", "url": "http://10.0.0.2:80", "weight": 50, "configured_weight": 50,
                  "override": null, "state": "slow_start", "state_reason": "not probed since the start",
                  "slow_start_share": 12.5, "circuit_breaker": "closed", "failures_in_a_row": 2, "requests_in_flight": 0 }
            ],
            "outage": null, "revision": 7
        }))
        .expect("a response of the API")
    }

    #[test]
    fn a_pool_shows_what_is_in_force_and_why() {
        let text = details(&pool(), Style::PLAIN);
        for part in [
            "degraded, 1 of 2 endpoints available",
            "0 (configured 100)",
            "slow_start (12.5 %)",
            "closed (2 failed)",
            "web@10.0.0.1:80: drained by token ops since 2026-01-15 12:00:00Z: a new",
            "web@10.0.0.2:80: not probed since the start",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_change_names_both_weights_and_cores_that_lag() {
        let [drained, _] = <[EndpointView; 2]>::try_from(pool().endpoints).expect("two");
        assert_eq!(
            drained.changed(Style::PLAIN),
            "web@10.0.0.1:80: draining, weight 0 (configured 100), 3 in flight\n"
        );
        let lagging = EndpointView { pending: vec![1], ..drained };
        assert!(lagging.changed(Style::PLAIN).contains("do not serve it yet: 1"));
    }

    /// A response about the pool `web`, with one endpoint in this state.
    fn response(in_flight: u64, is_drained: bool) -> String {
        let of_run_time = is_drained.then(|| json!({ "drain": true, "at": "", "by": "ops", "reason": "" }));
        let endpoint = json!({ "endpoint": "web@a:80", "weight": 0, "configured_weight": 1,
            "override": of_run_time, "state": "drained", "requests_in_flight": in_flight });
        json!({ "pool": { "id": "web" }, "endpoints": [endpoint] }).to_string()
    }

    fn drained(line: &str, pools: &[&str]) -> (usize, Result<(), Failure>) {
        let changed = json!({ "endpoint": "web@a:80" }).to_string();
        let mut responses = vec![(200, changed.as_str())];
        responses.extend(pools.iter().map(|body| (200, *body)));
        let (requests, result) = crate::cli::client::tests::run(line, &responses);
        assert_eq!(requests[0], r#"PUT /api/v2/pools/web/endpoints/a%3A80 {"drain":true,"reason":""}"#);
        assert!(requests[1..].iter().all(|request| request == "GET /api/v2/pools/web"), "{requests:?}");
        (requests.len(), result)
    }

    #[test]
    fn a_wait_ends_with_the_last_request() {
        let (busy, idle) = (response(2, true), response(0, true));
        let (requests, result) = drained("pools drain web a:80 --wait", &[&busy, &idle]);
        assert!(requests == 3 && result.is_ok(), "{result:?}");
    }

    #[test]
    fn a_wait_ends_with_its_time_and_with_the_drain() {
        let (busy, idle) = (response(2, true), response(0, true));
        let (_, result) = drained("pools drain web a:80 --wait --within 1ns", &[&busy]);
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with("web@a:80: 2 in flight after 1ns; it stays drained"), "{message}");
        let (_, result) = drained("pools drain web a:80 --wait", &[&response(2, false)]);
        assert!(matches!(result, Err(Failure::Conflict(_))), "{result:?}");
        let (_, result) = drained("pools drain web a:80 --wait", &[&idle.replace("web@a:80", "web@b:80")]);
        assert!(matches!(result, Err(Failure::NotFound(_))), "{result:?}");
    }

    #[test]
    fn all_overrides_of_a_pool_end_one_by_one() {
        let changed = json!({ "endpoint": "web@a:80" }).to_string();
        let run = crate::cli::client::tests::run;
        for line in ["pools reset web --all", "pools reset web"] {
            let (requests, result) = run(line, &[(200, &response(0, true)), (200, &changed)]);
            assert_eq!(requests[1], "DELETE /api/v2/pools/web/endpoints/web%40a%3A80", "{line}");
            result.unwrap();
        }
        let (requests, result) = run("pools reset web --all", &[(200, &response(0, false))]);
        assert_eq!(requests.len(), 1);
        result.unwrap();
    }

    #[test]
    fn arguments_that_say_nothing_are_refused() {
        let parse_line = crate::cli::client::tests::parse_line;
        for line in ["pools reset", "pools reset web a --all", "pools drain web", "pools weight web a -1"] {
            assert!(parse_line(line).is_err(), "{line}");
        }
        assert!(super::super::reason(" ").is_err() && super::super::reason("two\nlines").is_err());
        assert_eq!(super::super::reason("new disk"), Ok("new disk".into()));
    }

    #[test]
    fn addresses_are_one_segment_of_the_path() {
        let endpoint = EndpointArgs { pool: "web".into(), endpoint: "a/../b:80".into() };
        assert_eq!(endpoint.path(), "/api/v2/pools/web/endpoints/a%2F..%2Fb%3A80");
    }
}
