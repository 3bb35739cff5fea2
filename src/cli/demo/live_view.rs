//! Live view of the demo: requests per instance, health changes, and failovers.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::limits::DEMO_INSTANCES_MAX;
use ringway::telemetry::{Event, Observer};
use serde_json::Value;

use super::super::client::text::{Style, Tone, columns, escape, print, shorten};

/// Observer that counts exchanges per instance.
///
/// An observer must not block a core. This one takes a lock for some nanoseconds, which is fine for a demo;
/// one for production counts per core.
pub(super) struct Counter {
    counts: Mutex<BTreeMap<String, u64>>,
    failovers: SyncSender<Failover>,
}

/// Failed attempt of a request.
#[derive(Debug)]
pub(super) struct Failover {
    /// Instance that did not respond.
    instance: String,
    /// Code of the failure.
    failure: &'static str,
}

/// Name under which instances beyond [`DEMO_INSTANCES_MAX`] are counted.
const OTHERS: &str = "(others)";
/// Name under which local replies are counted.
const PROXY: &str = "(proxy)";

impl Counter {
    pub(super) fn new(failovers: SyncSender<Failover>) -> Self {
        Self { counts: Mutex::default(), failovers }
    }

    fn add(&self, instance: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(instance) {
            *count += 1;
            return;
        }
        let name = if counts.len() < DEMO_INSTANCES_MAX { instance } else { OTHERS };
        *counts.entry(name.to_owned()).or_default() += 1;
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Counter {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Exchange(exchange) => {
                // A local reply, such as 404 for an unknown domain, has no instance.
                let instance = if exchange.failure.is_some() { None } else { exchange.instance };
                self.add(instance.unwrap_or(PROXY));
            }
            Event::AttemptFailed(attempt) => {
                let instance = attempt.instance.to_owned();
                // Dropped while the queue is full.
                let _ = self.failovers.try_send(Failover { instance, failure: attempt.failure });
            }
            _ => {}
        }
    }
}

/// Last known health of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KnownHealth {
    health: String,
    reason: Option<String>,
}

/// One line that is redrawn on a terminal; in a pipe, a line after a change, at most every two seconds.
pub(super) struct LiveView {
    style: Style,
    counter: Arc<Counter>,
    failovers: Receiver<Failover>,
    known: BTreeMap<String, KnownHealth>,
    /// Instances whose failed attempts were reported since their health last changed.
    reported: Vec<String>,
    shown: String,
    shown_at: Option<Instant>,
}

/// Time between two lines in a pipe.
const PIPE_INTERVAL: Duration = Duration::from_secs(2);
/// Return to the first column and clear the line (ECMA-48 §8.3.41).
const REDRAW: &str = "\r\x1b[K";

impl LiveView {
    pub(super) fn new(style: Style, counter: Arc<Counter>, failovers: Receiver<Failover>) -> Self {
        let (known, reported) = Default::default();
        Self { style, counter, failovers, known, reported, shown: String::new(), shown_at: None }
    }

    /// Prints events, and the number of requests per instance.
    pub(super) fn show(&mut self, instances: &[Value]) -> io::Result<()> {
        let mut out = String::new();
        for line in self.events(instances) {
            if self.style.is_terminal() {
                out.push_str(REDRAW);
            }
            out.push_str(&format!("  {line}\n"));
        }
        let has_events = !out.is_empty();
        let line = self.line();
        if self.style.is_terminal() {
            if has_events || line != self.shown {
                out.push_str(&format!("{REDRAW}{line}"));
                self.shown = line;
            }
        } else {
            let is_due = self.shown_at.is_none_or(|at| at.elapsed() >= PIPE_INTERVAL);
            if line != self.shown && (is_due || has_events) {
                out.push_str(&format!("{line}\n"));
                self.shown = line;
                self.shown_at = Some(Instant::now());
            }
        }
        if out.is_empty() { Ok(()) } else { print(&out) }
    }

    /// Prints the last line.
    pub(super) fn finish(mut self, instances: &[Value]) -> io::Result<()> {
        self.shown_at = None;
        if !instances.is_empty() {
            self.show(instances)?;
        }
        if self.style.is_terminal() { print("\n") } else { Ok(()) }
    }

    /// Changes of health since the last update, and retried requests.
    fn events(&mut self, instances: &[Value]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut now = BTreeMap::new();
        for instance in instances {
            let text = |name: &str| instance[name].as_str().unwrap_or_default().to_owned();
            let reason = instance["health_reason"].as_str().map(str::to_owned);
            now.insert(text("instance_id"), KnownHealth { health: text("health"), reason });
        }
        for (id, after) in &now {
            let name = escape(id);
            let before = self.known.get(id).map(|seen| seen.health.as_str());
            let line = match (before, after.health.as_str()) {
                (Some("unhealthy"), "healthy") => {
                    format!("{name} is back in rotation: {}", self.style.paint(Tone::Good, "healthy"))
                }
                (Some("unhealthy"), _) | (None, "healthy" | "unknown") => continue,
                (Some(before), "unhealthy") if before != "unhealthy" => self.out_of_rotation(&name, after),
                (None, "unhealthy") => self.out_of_rotation(&name, after),
                _ => continue,
            };
            self.reported.retain(|reported| reported != id);
            lines.push(line);
        }
        // Failovers first: a request is retried before the health checks notice.
        let mut all = Vec::new();
        while let Ok(failover) = self.failovers.try_recv() {
            if !self.reported.contains(&failover.instance) && self.reported.len() < DEMO_INSTANCES_MAX {
                all.push(format!(
                    "{} failed a request ({}); it was retried on another instance",
                    escape(&failover.instance),
                    failover.failure
                ));
                self.reported.push(failover.instance);
            }
        }
        all.extend(lines);
        self.known = now;
        all
    }

    fn out_of_rotation(&self, name: &str, seen: &KnownHealth) -> String {
        let reason =
            seen.reason.as_deref().map(|reason| format!(" ({})", escape(reason))).unwrap_or_default();
        format!("{name} is out of rotation: {}{reason}", self.style.paint(Tone::Bad, "unhealthy"))
    }

    /// `shop-1 12   shop-2 8 (out)   blog-1 3   23 requests`
    fn line(&self) -> String {
        let counts = self.counter.counts();
        let total: u64 = counts.values().sum();
        let mut names: Vec<&String> = self.known.keys().collect();
        // Instances that were counted and are no longer registered.
        names.extend(counts.keys().filter(|name| !self.known.contains_key(*name)));
        let mut plain = Vec::new();
        let mut painted = Vec::new();
        for name in names {
            let (tone, word) = match self.known.get(name).map(|seen| seen.health.as_str()) {
                Some("unhealthy") => (Tone::Bad, " (out)"),
                Some("healthy") => (Tone::Good, ""),
                Some(_) => (Tone::Warning, ""),
                None => (Tone::Faint, ""),
            };
            let (name, count) = (escape(name), counts.get(name).copied().unwrap_or(0));
            plain.push(format!("{name} {count}{word}"));
            painted.push(format!(
                "{} {count}{}",
                self.style.paint(tone, &name),
                self.style.paint(Tone::Bad, word)
            ));
        }
        let requests = if total == 1 { "1 request".to_owned() } else { format!("{total} requests") };
        let plain = format!("{}   {requests}", plain.join("   "));
        match self.style.width {
            // A line that wraps cannot be redrawn.
            Some(width) if columns(&plain) >= width => shorten(&plain, width - 1),
            _ => format!("{}   {requests}", painted.join("   ")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use std::sync::mpsc::sync_channel;

    fn view(style: Style) -> (LiveView, Arc<Counter>, SyncSender<Failover>) {
        let (failovers, receiver) = sync_channel(4);
        let counter = Arc::new(Counter::new(failovers.clone()));
        (LiveView::new(style, Arc::clone(&counter), receiver), counter, failovers)
    }

    fn instance(name: &str, health: &str, reason: Option<&str>) -> Value {
        json!({ "instance_id": name, "health": health, "health_reason": reason })
    }

    #[test]
    fn the_line_counts_requests_per_instance() {
        let (mut view, counter, _news) = view(Style::PLAIN);
        for name in ["a-1", "a-2", "a-2", PROXY] {
            counter.add(name);
        }
        view.events(&[
            instance("a-1", "healthy", None),
            instance("a-2", "unhealthy", None),
            instance("b-1", "unknown", None),
        ]);
        assert_eq!(view.line(), "a-1 1   a-2 2 (out)   b-1 0   (proxy) 1   4 requests");
    }

    #[test]
    fn a_failover_is_reported_in_order_and_once() {
        let (mut view, _counter, failovers) = view(Style::PLAIN);
        let out = instance("a-1", "unhealthy", Some("refused"));
        assert!(view.events(&[instance("a-1", "healthy", None)]).is_empty());
        for _ in 0..2 {
            failovers.send(Failover { instance: "a-1".into(), failure: "connect_refused" }).unwrap();
        }
        assert_eq!(
            view.events(std::slice::from_ref(&out)),
            [
                "a-1 failed a request (connect_refused); it was retried on another instance",
                "a-1 is out of rotation: unhealthy (refused)"
            ]
        );
        assert!(view.events(&[out]).is_empty());
        assert_eq!(view.events(&[instance("a-1", "healthy", None)]), ["a-1 is back in rotation: healthy"]);
    }

    #[test]
    fn a_line_is_never_wrapped() {
        let (mut view, counter, _news) = view(Style { width: Some(20), colour: true });
        counter.add("an-instance-with-a-long-name");
        view.events(&[instance("an-instance-with-a-long-name", "healthy", None)]);
        assert!(columns(&view.line()) < 20, "{:?}", view.line());
    }

    #[test]
    fn counts_have_a_bound() {
        let (_board, counter, _news) = view(Style::PLAIN);
        for number in 0..DEMO_INSTANCES_MAX * 2 {
            counter.add(&format!("i-{number}"));
        }
        let counts = counter.counts();
        assert!(counts.len() <= DEMO_INSTANCES_MAX + 1);
        assert_eq!(counts[OTHERS], DEMO_INSTANCES_MAX as u64);
    }
}
