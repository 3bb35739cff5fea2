//! The apps of a status: rates, errors and latency, since the start or between two readings.

use std::cmp::Reverse;
use std::collections::HashMap;

use ringway_telemetry::quantile;
use serde::Deserialize;

use super::status::StatusView;
use crate::cli::client::text::{Cell, Look, Table, Tone};

/// An app as the API tells of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AppView {
    app_id: String,
    status: String,
    healthy_instances: u64,
    total_instances: u64,
    unhealthy: Vec<String>,
    breakers_open: Vec<String>,
    requests: Option<u64>,
    errors: Option<u64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    durations: Vec<Bucket>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Bucket {
    le_ms: Option<f64>,
    count: u64,
}

/// The apps as they are shown.
#[derive(Debug)]
pub(super) struct Readings {
    apps: Vec<Reading>,
    /// What the numbers are averages of.
    span: &'static str,
}

#[derive(Debug)]
struct Reading {
    view: AppView,
    /// Requests a second.
    rate: Option<f64>,
    /// Share of errors, 0 to 1.
    errors: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// Averages since the start of the process.
pub(super) fn since_start(status: &StatusView) -> Readings {
    let seconds = status.uptime_seconds.max(1) as f64;
    let reading = |view: &AppView| Reading {
        rate: view.requests.map(|requests| requests as f64 / seconds),
        errors: share(view.errors, view.requests),
        p50_ms: view.p50_ms,
        p99_ms: view.p99_ms,
        view: view.clone(),
    };
    Readings { apps: status.app_overview.iter().map(reading).collect(), span: "averages since the start" }
}

/// Differences between two readings so many seconds apart; the apps with trouble first, then the busiest.
pub(super) fn between(earlier: &StatusView, later: &StatusView, seconds: f64) -> Readings {
    let before: HashMap<&str, &AppView> =
        earlier.app_overview.iter().map(|view| (view.app_id.as_str(), view)).collect();
    let reading = |view: &AppView| {
        // One that was not named before, or counts anew, has nothing to be compared with.
        let before = before.get(view.app_id.as_str()).filter(|before| before.requests <= view.requests);
        let more = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        let requests = before.and_then(|before| more(view.requests, before.requests));
        let errors = before.and_then(|before| more(view.errors, before.errors));
        let counts: Vec<u64> = before.map_or_else(Vec::new, |before| {
            let pairs = view.durations.iter().zip(&before.durations);
            pairs.map(|(now, then)| now.count.saturating_sub(then.count)).collect()
        });
        let limits: Vec<u64> =
            view.durations.iter().filter_map(|bucket| bucket.le_ms).map(|ms| (ms * 1_000.0) as u64).collect();
        let percentile = |q| quantile(&limits, &counts, q).map(|us| us / 1_000.0);
        Reading {
            rate: requests.map(|requests| requests as f64 / seconds),
            errors: share(errors, requests),
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            view: view.clone(),
        }
    };
    let mut apps: Vec<Reading> = later.app_overview.iter().map(reading).collect();
    apps.sort_by_key(|reading| {
        let rate = reading.rate.map_or(0, |rate| (rate * 1_000.0) as u64);
        (reading.rank(), Reverse(rate))
    });
    Readings { apps, span: "since the reading before" }
}

/// Instances with an open or half-open breaker, by app and instance: `shop/shop-2`.
pub(super) fn breakers_open(status: &StatusView) -> Vec<String> {
    named(status, |view| &view.breakers_open)
}

/// Unhealthy instances, in the same way.
pub(super) fn unhealthy(status: &StatusView) -> Vec<String> {
    named(status, |view| &view.unhealthy)
}

fn named(status: &StatusView, ids: impl Fn(&AppView) -> &[String]) -> Vec<String> {
    let of_app = |view: &AppView| -> Vec<String> {
        ids(view).iter().map(|id| format!("{}/{id}", view.app_id)).collect()
    };
    status.app_overview.iter().flat_map(of_app).collect()
}

fn share(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let (part, whole) = (part?, whole.filter(|whole| *whole > 0)?);
    Some(part as f64 / whole as f64)
}

impl Reading {
    /// 0 for an app that is down, 1 for one with trouble, 2 for the others.
    fn rank(&self) -> u8 {
        let view = &self.view;
        match (view.healthy_instances, view.unhealthy.is_empty() && view.breakers_open.is_empty()) {
            (0, _) if view.total_instances > 0 => 0,
            (_, false) => 1,
            (_, true) => 2,
        }
    }

    fn trouble(&self) -> String {
        let kinds = [("breaker open", &self.view.breakers_open), ("unhealthy", &self.view.unhealthy)];
        let told = kinds.iter().filter(|(_, ids)| !ids.is_empty());
        told.map(|(what, ids)| format!("{what}: {}", ids.join(" "))).collect::<Vec<_>>().join("; ")
    }
}

impl Readings {
    /// A table with a line about what it shows; nothing without apps. `total` is how many apps there are.
    pub(super) fn render(&self, total: u64, look: Look) -> String {
        if self.apps.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["APP", ">HEALTHY", ">REQ/S", ">ERRORS", ">P50", ">P99", "TROUBLE"]);
        for reading in &self.apps {
            let view = &reading.view;
            let text = |text: Option<String>| Cell::or_dash(text.as_deref());
            let errors = text(reading.errors.map(percent));
            table.row(vec![
                Cell::new(&view.app_id),
                Cell::new(&format!("{}/{}", view.healthy_instances, view.total_instances))
                    .tone(Tone::of_state(&view.status)),
                text(reading.rate.map(rate)),
                if reading.errors.is_some_and(|share| share > 0.0) { errors.tone(Tone::Bad) } else { errors },
                text(reading.p50_ms.map(duration)),
                text(reading.p99_ms.map(duration)),
                Cell::new(&reading.trouble()).tone(Tone::Bad),
            ]);
        }
        let shown = self.apps.len() as u64;
        let mut out = format!("\n{}", table.render(look));
        let rest =
            if shown < total { format!("; {shown} of {total} apps, more with --all") } else { String::new() };
        out.push_str(&look.paint(Tone::Faint, &format!("{}{rest}", self.span)));
        out.push('\n');
        out
    }
}

/// `0`, `0.3`, `12`, `1234`.
fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..0.1 => "<0.1".to_owned(),
        ..10.0 => format!("{rate:.1}").trim_end_matches(".0").to_owned(),
        _ => format!("{rate:.0}"),
    }
}

/// `0`, `<0.1%`, `2.5%`.
fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0".to_owned(),
        ..0.1 => "<0.1%".to_owned(),
        percent => format!("{percent:.1}%"),
    }
}

/// `0.4 ms`, `85 ms`, `2.5 s`; 10 s is the last that the histogram tells apart.
fn duration(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        ..1_000.0 => format!("{ms:.0} ms"),
        ..10_000.0 => format!("{:.1} s", ms / 1_000.0),
        _ => ">10 s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn status(apps: Value, uptime: u64) -> StatusView {
        serde_json::from_value(json!({ "uptime_seconds": uptime, "app_overview": apps })).unwrap()
    }

    fn app(id: &str, requests: u64, errors: u64, fast: u64, slow: u64) -> Value {
        json!({
            "app_id": id, "status": "healthy", "healthy_instances": 1, "total_instances": 1, "requests": requests, "errors": errors,
            "p50_ms": 0.5, "p99_ms": 0.9,
            "durations": [{ "le_ms": 1.0, "count": fast }, { "le_ms": 2.5, "count": 0 }, { "le_ms": null, "count": slow }],
        })
    }

    #[test]
    fn a_watch_shows_the_time_between_two_readings() {
        let earlier = status(json!([app("idle", 9_000, 9, 9_000, 0), app("busy", 100, 50, 0, 100)]), 100);
        let later = status(json!([app("idle", 9_000, 9, 9_000, 0), app("busy", 140, 51, 40, 100)]), 102);
        let shown = between(&earlier, &later, 2.0).render(2, Look::PLAIN);
        assert_eq!(
            shown,
            "\nAPP   HEALTHY  REQ/S  ERRORS     P50     P99  TROUBLE\n\
             busy      1/1     20    2.5%  0.5 ms  1.0 ms\n\
             idle      1/1      0       -       -       -\n\
             since the reading before\n"
        );
    }

    #[test]
    fn an_app_that_counts_anew_or_was_not_named_has_no_rate() {
        let earlier = status(json!([app("a", 100, 0, 100, 0)]), 100);
        let later = status(json!([app("a", 5, 0, 5, 0), app("b", 7, 0, 7, 0)]), 101);
        for reading in between(&earlier, &later, 1.0).apps {
            assert_eq!(
                (reading.rate, reading.errors, reading.p50_ms),
                (None, None, None),
                "{}",
                reading.view.app_id
            );
        }
    }

    #[test]
    fn trouble_comes_before_traffic_and_names_instances() {
        let trouble = |id: &str, healthy: u64| {
            json!({ "app_id": id, "status": "down", "healthy_instances": healthy, "total_instances": 2, "requests": 0, "errors": 0,
                    "breakers_open": [format!("{id}-1")], "unhealthy": [format!("{id}-2")] })
        };
        let apps = json!([app("busy", 100, 0, 100, 0), trouble("limps", 1), trouble("down", 0)]);
        let readings = between(&status(apps.clone(), 1), &status(apps, 2), 1.0);
        let order: Vec<&str> = readings.apps.iter().map(|reading| reading.view.app_id.as_str()).collect();
        assert_eq!(order, ["down", "limps", "busy"]);
        assert_eq!(readings.apps[0].trouble(), "breaker open: down-1; unhealthy: down-2");
    }

    #[test]
    fn a_narrow_terminal_keeps_the_numbers() {
        let apps = json!([app(&"an-app-with-a-long-name".repeat(3), 12_345, 123, 12_345, 0)]);
        let shown = since_start(&status(apps, 10)).render(1, Look { width: Some(60), colour: false });
        assert!(shown.lines().all(|line| crate::cli::client::text::columns(line) <= 60), "{shown}");
        assert!(shown.contains("1234") && shown.contains("1.0%") && shown.contains("0.9 ms"), "{shown}");
    }

    #[test]
    fn numbers_are_short() {
        for (given, shown) in
            [(0.0, "0"), (0.01, "<0.1"), (0.34, "0.3"), (5.0, "5"), (9.96, "10.0"), (1234.4, "1234")]
        {
            assert_eq!(rate(given), shown.trim_end_matches(".0"), "{given}");
        }
        for (given, shown) in [(0.0, "0"), (0.0001, "<0.1%"), (0.025, "2.5%"), (1.0, "100.0%")] {
            assert_eq!(percent(given), shown);
        }
        for (given, shown) in [(0.42, "0.4 ms"), (85.2, "85 ms"), (2_500.0, "2.5 s"), (10_000.0, ">10 s")] {
            assert_eq!(duration(given), shown);
        }
    }
}
