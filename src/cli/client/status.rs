//! `ringway status`

use std::time::{Duration, Instant};

use ringway_wire::message::Method;
use serde::Deserialize;

use super::app_rates as apps;
use super::pools::{OverriddenView, overridden_text};
use super::text::{self, Cell, Style, Table, Tone, escape};
use super::{Api, ApiArgs, Failure, Output, parse, pause, print};

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Repeat every second; one line each where standard output is not a terminal
    #[arg(long, short)]
    watch: bool,
    /// List all apps, not only the unhealthy and the busiest
    #[arg(long)]
    all: bool,
    /// With --watch: stop after this many samples
    #[arg(long, value_name = "COUNT", requires = "watch")]
    count: Option<u64>,
}

/// Time between two samples of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

impl StatusArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        let path = match self.all {
            true => &format!("{PATH}?limit={}", ringway_model::limits::PAGE_ITEMS_MAX),
            false => PATH,
        };
        match self.watch {
            true => watch(&api, path, self.count.unwrap_or(u64::MAX)),
            false => api.show(Method::Get, path, None, |status: StatusView, style| {
                page(&status, None, &apps::since_start(&status.app_overview, status.uptime_seconds), style)
            }),
        }
    }
}

const PATH: &str = "/api/status";

/// Prints a sample each second. Continues while the API is unreachable, because it may be restarting.
fn watch(api: &Api, path: &str, count: u64) -> Result<(), Failure> {
    let mut before: Option<(Instant, StatusView)> = None;
    for sample in 0..count {
        if sample > 0 {
            pause(WATCH_INTERVAL);
        }
        let response = match api.call(Method::Get, path, None) {
            Ok(response) => response,
            Err(failure @ Failure::Unreachable { .. }) if sample > 0 => {
                before = None;
                let clear = if api.style.is_terminal() { CLEAR } else { "" };
                eprintln!("{clear}ringway: {failure}");
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if api.output == Output::Json {
            api.print_json(&response.body)?;
            continue;
        }
        let status: StatusView = parse(&response)?;
        let now = Instant::now();
        // A restart resets the counters; the next sample is the first one to compare with.
        let interval = before
            .as_ref()
            .filter(|(_, earlier)| earlier.exchanges() <= status.exchanges())
            .map(|(then, earlier)| (now.duration_since(*then).as_secs_f64(), earlier))
            .filter(|(seconds, _)| *seconds > 0.0);
        let rate =
            interval.map(|(seconds, earlier)| (status.exchanges() - earlier.exchanges()) as f64 / seconds);
        let apps = match interval {
            Some((seconds, earlier)) => apps::between(&earlier.app_overview, &status.app_overview, seconds),
            None => apps::since_start(&status.app_overview, status.uptime_seconds),
        };
        match api.style.is_terminal() {
            true => print(&format!("{CLEAR}{}", page(&status, rate, &apps, api.style)))?,
            false => print(&line(&status, rate))?,
        }
        before = Some((now, status));
    }
    Ok(())
}

/// Cursor home, clear to the end of the screen (ECMA-48 §8.3.21, §8.3.39).
const CLEAR: &str = "\x1b[H\x1b[J";

/// The parts of the status that are shown; a field that a version lacks has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusView {
    status: String,
    version: String,
    revision: u64,
    uptime_seconds: u64,
    warnings: Vec<String>,
    apps: u64,
    app_overview: Vec<apps::AppView>,
    instances: InstanceCounts,
    domains: u64,
    changes: ChangeCounts,
    overridden: Vec<OverriddenView>,
    store: StoreView,
    certificates: Option<CertificatesView>,
    workers: Vec<WorkerView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CertificatesView {
    states: std::collections::BTreeMap<String, u64>,
    queue: QueueView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QueueView {
    waiting: u64,
}

impl CertificatesView {
    /// `3 active, 1 failed, 2 waiting`; `None` without domains that have certificates.
    fn summary(&self, style: Style) -> Option<String> {
        let mut parts: Vec<String> = self
            .states
            .iter()
            .filter(|(state, count)| **count > 0 && *state != "none")
            .map(|(state, count)| style.paint(Tone::of_state(state), &format!("{count} {}", escape(state))))
            .collect();
        if self.queue.waiting > 0 {
            parts.push(format!("{} waiting", self.queue.waiting));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InstanceCounts {
    total: u64,
    unhealthy: u64,
    breakers_open: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ChangeCounts {
    waiting: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StoreView {
    kind: String,
    path: Option<String>,
    bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WorkerView {
    core: u64,
    driver: Option<String>,
    state: String,
    connections: u64,
    upgrades: u64,
    exchanges: u64,
    panics: u64,
    last_ack_micros: Option<u64>,
}

impl StatusView {
    fn exchanges(&self) -> u64 {
        self.workers.iter().map(|worker| worker.exchanges).sum()
    }

    fn connections(&self) -> u64 {
        self.workers.iter().map(|worker| worker.connections).sum()
    }

    fn uptime(&self) -> String {
        humantime::format_duration(Duration::from_secs(self.uptime_seconds)).to_string()
    }
}

fn page(status: &StatusView, rate: Option<f64>, apps: &apps::AppRates, style: Style) -> String {
    let mut out = format!(
        "ringway {}  {}  revision {}  up {}\n",
        escape(&status.version),
        style.paint(Tone::of_state(&status.status), &escape(&status.status)),
        status.revision,
        status.uptime(),
    );
    let mut store = escape(&status.store.kind);
    if let Some(path) = &status.store.path {
        store.push_str(&format!(" at {}", escape(path)));
    }
    if status.store.bytes > 0 {
        store.push_str(&format!(", {}", bytes(status.store.bytes)));
    }
    out.push_str(&format!("store      {store}\n"));
    out.push_str(&format!("apps       {}\ndomains    {}\n", status.apps, status.domains));
    if let Some(certificates) = status.certificates.as_ref().and_then(|known| known.summary(style)) {
        out.push_str(&format!("certs      {certificates}\n"));
    }
    let instances = &status.instances;
    let mut health = vec![instances.total.to_string()];
    for (count, what) in
        [(instances.unhealthy, "unhealthy"), (instances.breakers_open, "with an open breaker")]
    {
        if count > 0 {
            health.push(style.paint(Tone::Bad, &format!("{count} {what}")));
        }
    }
    out.push_str(&format!("instances  {}\n", health.join(", ")));
    let mut requests = status.exchanges().to_string();
    if let Some(rate) = rate {
        requests.push_str(&format!(", {rate:.0} a second"));
    }
    out.push_str(&format!("requests   {requests}\n"));
    if status.changes.waiting > 0 {
        out.push_str(&format!("changes    {} waiting\n", status.changes.waiting));
    }
    out.push_str(&apps.render(status.apps, style));
    if !status.workers.is_empty() {
        out.push('\n');
        out.push_str(&workers(&status.workers).render(style));
    }
    if !status.overridden.is_empty() {
        out.push('\n');
        out.push_str(&overridden_text(&status.overridden));
    }
    if !status.warnings.is_empty() {
        out.push('\n');
        for warning in &status.warnings {
            out.push_str(&style.paint(Tone::Warning, &format!("warning: {}", escape(warning))));
            out.push('\n');
        }
    }
    out
}

fn workers(workers: &[WorkerView]) -> Table {
    let mut table = Table::new(&[
        ">CORE",
        "DRIVER",
        "STATE",
        ">CONNECTIONS",
        ">TUNNELS",
        ">REQUESTS",
        ">PANICS",
        ">LAST CHANGE",
    ]);
    for worker in workers {
        let state = match worker.state.as_str() {
            "following" => Cell::new("following").tone(Tone::Good),
            "dead" => Cell::new("dead").tone(Tone::Bad),
            other => Cell::new(other).tone(Tone::Warning),
        };
        let panics = Cell::number(worker.panics);
        table.row(vec![
            Cell::number(worker.core),
            Cell::or_dash(worker.driver.as_deref()),
            state,
            Cell::number(worker.connections),
            Cell::number(worker.upgrades),
            Cell::number(worker.exchanges),
            if worker.panics > 0 { panics.tone(Tone::Bad) } else { panics },
            Cell::or_dash(worker.last_ack_micros.map(|micros| format!("{micros} µs")).as_deref()),
        ]);
    }
    table
}

/// One line of a sample for a file or pipe, in the form `name=value`.
fn line(status: &StatusView, rate: Option<f64>) -> String {
    let mut out = format!(
        "{} revision={} apps={} domains={} instances={} unhealthy={} connections={} requests={}",
        text::escape(&status.status),
        status.revision,
        status.apps,
        status.domains,
        status.instances.total,
        status.instances.unhealthy,
        status.connections(),
        status.exchanges(),
    );
    if let Some(rate) = rate {
        out.push_str(&format!(" per_second={rate:.0}"));
    }
    let (breakers, unhealthy) =
        (apps::breakers_open(&status.app_overview), apps::unhealthy(&status.app_overview));
    for (name, ids) in [("breakers_open", breakers), ("unhealthy_instances", unhealthy)] {
        if !ids.is_empty() {
            out.push_str(&format!(" {name}={}", text::escape(&ids.join(","))));
        }
    }
    if !status.overridden.is_empty() {
        out.push_str(&format!(" overridden={}", status.overridden.len()));
    }
    if !status.warnings.is_empty() {
        out.push_str(&format!(" warnings={}", status.warnings.len()));
    }
    out + "\n"
}

/// Bytes as people read them.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status() -> StatusView {
        serde_json::from_value(serde_json::json!({
            "status": "degraded", "version": "1.2.3", "revision": 7, "uptime_seconds": 61,
            "warnings": ["the store\u{1b}[2J was damaged"],
            "app_overview": [
                { "app_id": "shop", "status": "degraded", "healthy_instances": 1, "total_instances": 2, "requests": 610, "errors": 61,
                  "breakers_open": ["shop-2"], "unhealthy": ["shop-2"], "p50_ms": 4.2, "p99_ms": 812.0 },
                { "app_id": "many", "status": "healthy", "healthy_instances": 3, "total_instances": 3, "requests": null },
            ],
            "overridden": [
                { "pool": "web", "endpoint": "web@10.0.0.1:80", "configured_weight": 100, "weight": 0,
                  "override": { "weight": null, "drain": true, "at": "2026-01-15T12:00:00.000Z", "by": "token ops", "reason": "disk" } },
            ],
            "apps": 3, "domains": 3, "instances": { "total": 4, "unhealthy": 1, "breakers_open": 0 },
            "store": { "kind": "fjall", "path": "/var/lib/ringway/routes.db", "bytes": 2048 },
            "workers": [
                { "core": 0, "driver": "io_uring", "state": "following", "connections": 5, "exchanges": 10, "last_ack_micros": 42 },
                { "core": 1, "driver": null, "state": "dead", "connections": 1, "exchanges": 20 },
            ],
            "certificates": { "states": { "active": 2, "failed": 0, "none": 1 }, "queue": { "waiting": 1 } },
            "something_newer": {},
        }))
        .unwrap()
    }

    #[test]
    fn a_page_shows_status_counts_apps_and_workers() {
        let status = status();
        let page = page(
            &status,
            Some(12.4),
            &apps::since_start(&status.app_overview, status.uptime_seconds),
            Style::PLAIN,
        );
        assert_eq!(
            page,
            "ringway 1.2.3  degraded  revision 7  up 1m 1s\n\
             store      fjall at /var/lib/ringway/routes.db, 2.0 KiB\n\
             apps       3\n\
             domains    3\n\
             certs      2 active, 1 waiting\n\
             instances  4, 1 unhealthy\n\
             requests   30, 12 a second\n\
             \n\
             APP   HEALTHY  REQ/S  ERRORS     P50     P99  TROUBLE\n\
             shop      1/2     10   10.0%  4.2 ms  812 ms  breaker open: shop-2; unhealthy: shop-2\n\
             many      3/3      -       -       -       -\n\
             averages since the start; 2 of 3 apps, more with --all\n\
             \n\
             CORE  DRIVER    STATE      CONNECTIONS  TUNNELS  REQUESTS  PANICS  LAST CHANGE\n   \
             0  io_uring  following            5        0        10       0        42 µs\n   \
             1  -         dead                 1        0        20       0            -\n\
             \n\
             note: web@10.0.0.1:80 has weight 0, not the configured 100: drained by token ops since 2026-01-15 12:00:00Z: disk\n\
             note: `ringway pools reset POOL ENDPOINT` ends an override\n\
             \n\
             warning: the store\\u{1b}[2J was damaged\n"
        );
    }

    #[test]
    fn a_pipe_gets_one_line_per_sample() {
        assert_eq!(
            line(&status(), None),
            "degraded revision=7 apps=3 domains=3 instances=4 unhealthy=1 connections=6 requests=30 breakers_open=shop/shop-2 unhealthy_instances=shop/shop-2 overridden=1 warnings=1\n"
        );
    }

    #[test]
    fn an_empty_response_is_still_shown() {
        let nothing = StatusView::default();
        let page = page(&nothing, None, &apps::since_start(&[], 0), Style::PLAIN);
        assert!(page.contains("revision 0") && !page.contains("APP"), "{page}");
    }
}
