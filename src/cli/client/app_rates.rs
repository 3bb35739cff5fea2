//! Rates, errors and latency of apps, since the start or between two samples.

use std::cmp::Reverse;
use std::collections::HashMap;

use ringway_telemetry::quantile;
use serde::Deserialize;

use crate::cli::client::text::{Cell, Style, Table, Tone};

/// App in a response of the API.
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

/// Table of apps.
#[derive(Debug)]
pub(super) struct AppRates {
    apps: Vec<AppRate>,
    /// Describes the time that the numbers are from.
    span: &'static str,
}

#[derive(Debug)]
struct AppRate {
    view: AppView,
    /// Requests per second.
    rate: Option<f64>,
    /// Share of errors, 0 to 1.
    errors: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// Averages since the start of the process.
pub(super) fn since_start(apps: &[AppView], uptime_seconds: u64) -> AppRates {
    let seconds = uptime_seconds.max(1) as f64;
    let app = |view: &AppView| AppRate {
        rate: view.requests.map(|requests| requests as f64 / seconds),
        errors: share(view.errors, view.requests),
        p50_ms: view.p50_ms,
        p99_ms: view.p99_ms,
        view: view.clone(),
    };
    AppRates { apps: apps.iter().map(app).collect(), span: "averages since the start" }
}

/// Differences between two samples, `seconds` apart; unhealthy apps first, then the busiest.
pub(super) fn between(earlier: &[AppView], later: &[AppView], seconds: f64) -> AppRates {
    let before: HashMap<&str, &AppView> = earlier.iter().map(|view| (view.app_id.as_str(), view)).collect();
    let app = |view: &AppView| {
        // An app that is new, or whose counters were reset, has no earlier sample.
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
        AppRate {
            rate: requests.map(|requests| requests as f64 / seconds),
            errors: share(errors, requests),
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            view: view.clone(),
        }
    };
    let mut apps: Vec<AppRate> = later.iter().map(app).collect();
    apps.sort_by_key(|app| {
        let rate = app.rate.map_or(0, |rate| (rate * 1_000.0) as u64);
        (app.rank(), Reverse(rate))
    });
    AppRates { apps, span: "since the previous sample" }
}

/// Instances with an open or half-open breaker, by app and instance: `shop/shop-2`.
pub(super) fn breakers_open(apps: &[AppView]) -> Vec<String> {
    instances(apps, |view| &view.breakers_open)
}

/// Unhealthy instances, as `shop/shop-2`.
pub(super) fn unhealthy(apps: &[AppView]) -> Vec<String> {
    instances(apps, |view| &view.unhealthy)
}

fn instances(apps: &[AppView], ids: impl Fn(&AppView) -> &[String]) -> Vec<String> {
    let of_app = |view: &AppView| -> Vec<String> {
        ids(view).iter().map(|id| format!("{}/{id}", view.app_id)).collect()
    };
    apps.iter().flat_map(of_app).collect()
}

fn share(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let (part, whole) = (part?, whole.filter(|whole| *whole > 0)?);
    Some(part as f64 / whole as f64)
}

impl AppRate {
    /// 0 for an app that is down, 1 for one with unhealthy instances or open breakers, 2 for the others.
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
        let found = kinds.iter().filter(|(_, ids)| !ids.is_empty());
        found.map(|(what, ids)| format!("{what}: {}", ids.join(" "))).collect::<Vec<_>>().join("; ")
    }
}

impl AppRates {
    /// Renders the table and a line about it; empty without apps. `total` is the number of all apps.
    pub(super) fn render(&self, total: u64, style: Style) -> String {
        if self.apps.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["APP", ">HEALTHY", ">REQ/S", ">ERRORS", ">P50", ">P99", "TROUBLE"]);
        for app in &self.apps {
            let view = &app.view;
            let text = |text: Option<String>| Cell::or_dash(text.as_deref());
            let errors = text(app.errors.map(percent));
            table.row(vec![
                Cell::new(&view.app_id),
                Cell::new(&format!("{}/{}", view.healthy_instances, view.total_instances))
                    .tone(Tone::of_state(&view.status)),
                text(app.rate.map(rate)),
                if app.errors.is_some_and(|share| share > 0.0) { errors.tone(Tone::Bad) } else { errors },
                text(app.p50_ms.map(duration)),
                text(app.p99_ms.map(duration)),
                Cell::new(&app.trouble()).tone(Tone::Bad),
            ]);
        }
        let shown = self.apps.len() as u64;
        let mut out = format!("\n{}", table.render(style));
        let rest =
            if shown < total { format!("; {shown} of {total} apps, more with --all") } else { String::new() };
        out.push_str(&style.paint(Tone::Faint, &format!("{}{rest}", self.span)));
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

/// `0.4 ms`, `85 ms`, `2.5 s`; 10 s is the highest bucket of the histogram.
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

    fn views(apps: Value) -> Vec<AppView> {
        serde_json::from_value(apps).unwrap()
    }

    fn app(id: &str, requests: u64, errors: u64, fast: u64, slow: u64) -> Value {
        json!({
            "app_id": id, "status": "healthy", "healthy_instances": 1, "total_instances": 1, "requests": requests, "errors": errors,
            "p50_ms": 0.5, "p99_ms": 0.9,
            "durations": [{ "le_ms": 1.0, "count": fast }, { "le_ms": 2.5, "count": 0 }, { "le_ms": null, "count": slow }],
        })
    }

    #[test]
    fn rates_are_of_the_time_between_two_samples() {
        let earlier = views(json!([app("idle", 9_000, 9, 9_000, 0), app("busy", 100, 50, 0, 100)]));
        let later = views(json!([app("idle", 9_000, 9, 9_000, 0), app("busy", 140, 51, 40, 100)]));
        let shown = between(&earlier, &later, 2.0).render(2, Style::PLAIN);
        assert_eq!(
            shown,
            "\nAPP   HEALTHY  REQ/S  ERRORS     P50     P99  TROUBLE\n\
             busy      1/1     20    2.5%  0.5 ms  1.0 ms\n\
             idle      1/1      0       -       -       -\n\
             since the previous sample\n"
        );
    }

    #[test]
    fn a_new_app_or_one_with_reset_counters_has_no_rate() {
        let earlier = views(json!([app("a", 100, 0, 100, 0)]));
        let later = views(json!([app("a", 5, 0, 5, 0), app("b", 7, 0, 7, 0)]));
        for app in between(&earlier, &later, 1.0).apps {
            assert_eq!((app.rate, app.errors, app.p50_ms), (None, None, None), "{}", app.view.app_id);
        }
    }

    #[test]
    fn unhealthy_apps_come_first_and_name_their_instances() {
        let trouble = |id: &str, healthy: u64| {
            json!({ "app_id": id, "status": "down", "healthy_instances": healthy, "total_instances": 2, "requests": 0, "errors": 0,
                    "breakers_open": [format!("{id}-1")], "unhealthy": [format!("{id}-2")] })
        };
        let apps = json!([app("busy", 100, 0, 100, 0), trouble("limps", 1), trouble("down", 0)]);
        let rates = between(&views(apps.clone()), &views(apps), 1.0);
        let order: Vec<&str> = rates.apps.iter().map(|app| app.view.app_id.as_str()).collect();
        assert_eq!(order, ["down", "limps", "busy"]);
        assert_eq!(rates.apps[0].trouble(), "breaker open: down-1; unhealthy: down-2");
    }

    #[test]
    fn a_narrow_terminal_keeps_the_numbers() {
        let apps = json!([app(&"an-app-with-a-long-name".repeat(3), 12_345, 123, 12_345, 0)]);
        let shown = since_start(&views(apps), 10).render(1, Style { width: Some(60), colour: false });
        assert!(shown.lines().all(|line| crate::cli::client::text::columns(line) <= 60), "{shown}");
        assert!(shown.contains("1234") && shown.contains("1.0%") && shown.contains("0.9 ms"), "{shown}");
    }

    #[test]
    fn numbers_are_shortened() {
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
