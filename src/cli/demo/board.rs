//! The live line of the demo: requests per instance, and who is in rotation.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::limits::DEMO_INSTANCES_MAX;
use ringway::telemetry::{AttemptFailed, Exchange, Observer};
use serde_json::Value;

use super::super::client::text::{Look, Tone, columns, escape, print, shorten};

/// Counts exchanges per instance, on the cores.
///
/// An observer must not block a core. This one takes a lock for some nanoseconds, which a demo may; one that is meant
/// for load counts per core.
pub(super) struct Counter {
    counts: Mutex<BTreeMap<String, u64>>,
    news: SyncSender<News>,
}

/// What happened to a request and is worth telling.
#[derive(Debug)]
pub(super) struct News {
    /// The instance that did not answer.
    instance: String,
    /// The word for why.
    failure: &'static str,
}

/// What instances beyond [`DEMO_INSTANCES_MAX`] are counted as.
const OTHERS: &str = "(others)";
/// What no instance answered.
const PROXY: &str = "(proxy)";

impl Counter {
    pub(super) fn new(news: SyncSender<News>) -> Self {
        Self { counts: Mutex::default(), news }
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
    fn exchange(&self, event: &Exchange<'_>) {
        // An answer of our own, such as 404 for an unknown domain, is no instance's.
        let instance = if event.failure.is_some() { None } else { event.instance };
        self.add(instance.unwrap_or(PROXY));
    }

    fn attempt_failed(&self, event: &AttemptFailed<'_>) {
        // When nobody has read the news for so long, more of them help nobody.
        let _ = self.news.try_send(News { instance: event.instance.to_owned(), failure: event.failure });
    }
}

/// What was last seen of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    health: String,
    reason: Option<String>,
}

/// Shows one line that is redrawn on a terminal; in a pipe, a line now and then when something changed.
pub(super) struct Board {
    look: Look,
    counter: Arc<Counter>,
    news: Receiver<News>,
    seen: BTreeMap<String, Seen>,
    /// Whose failed attempts were told since their health last changed.
    told: Vec<String>,
    shown: String,
    shown_at: Option<Instant>,
}

/// Between two lines in a pipe.
const PIPE_INTERVAL: Duration = Duration::from_secs(2);
/// Back to the first column, and clear the line (ECMA-48 §8.3.41).
const REDRAW: &str = "\r\x1b[K";

impl Board {
    pub(super) fn new(look: Look, counter: Arc<Counter>, news: Receiver<News>) -> Self {
        let (seen, told) = Default::default();
        Self { look, counter, news, seen, told, shown: String::new(), shown_at: None }
    }

    /// Tells what is new, and where the requests went.
    pub(super) fn show(&mut self, instances: &[Value]) -> io::Result<()> {
        let mut out = String::new();
        for line in self.events(instances) {
            if self.look.is_terminal() {
                out.push_str(REDRAW);
            }
            out.push_str(&format!("  {line}\n"));
        }
        let is_told = !out.is_empty();
        let line = self.line();
        if self.look.is_terminal() {
            if is_told || line != self.shown {
                out.push_str(&format!("{REDRAW}{line}"));
                self.shown = line;
            }
        } else {
            let is_due = self.shown_at.is_none_or(|at| at.elapsed() >= PIPE_INTERVAL);
            if line != self.shown && (is_due || is_told) {
                out.push_str(&format!("{line}\n"));
                self.shown = line;
                self.shown_at = Some(Instant::now());
            }
        }
        if out.is_empty() { Ok(()) } else { print(&out) }
    }

    /// The last line.
    pub(super) fn finish(mut self, instances: &[Value]) -> io::Result<()> {
        self.shown_at = None;
        if !instances.is_empty() {
            self.show(instances)?;
        }
        if self.look.is_terminal() { print("\n") } else { Ok(()) }
    }

    /// Changes of health since the last look, and requests that were tried again.
    fn events(&mut self, instances: &[Value]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut now = BTreeMap::new();
        for instance in instances {
            let text = |name: &str| instance[name].as_str().unwrap_or_default().to_owned();
            let reason = instance["health_reason"].as_str().map(str::to_owned);
            now.insert(text("instance_id"), Seen { health: text("health"), reason });
        }
        for (id, after) in &now {
            let name = escape(id);
            let before = self.seen.get(id).map(|seen| seen.health.as_str());
            let line = match (before, after.health.as_str()) {
                (Some("unhealthy"), "healthy") => {
                    format!(
                        "{name} is well again and gets requests: {}",
                        self.look.paint(Tone::Good, "healthy")
                    )
                }
                (Some("unhealthy"), _) | (None, "healthy" | "unknown") => continue,
                (Some(before), "unhealthy") if before != "unhealthy" => self.out_of_rotation(&name, after),
                (None, "unhealthy") => self.out_of_rotation(&name, after),
                _ => continue,
            };
            self.told.retain(|told| told != id);
            lines.push(line);
        }
        // The news first: a request that was tried again comes before the verdict of the health checks.
        let mut all = Vec::new();
        while let Ok(news) = self.news.try_recv() {
            if !self.told.contains(&news.instance) && self.told.len() < DEMO_INSTANCES_MAX {
                all.push(format!(
                    "{} did not answer a request ({}); another instance got it",
                    escape(&news.instance),
                    news.failure
                ));
                self.told.push(news.instance);
            }
        }
        all.extend(lines);
        self.seen = now;
        all
    }

    fn out_of_rotation(&self, name: &str, seen: &Seen) -> String {
        let reason =
            seen.reason.as_deref().map(|reason| format!(" ({})", escape(reason))).unwrap_or_default();
        format!("{name} is out of rotation: {}{reason}", self.look.paint(Tone::Bad, "unhealthy"))
    }

    /// `shop-1 12   shop-2 8 (out)   blog-1 3   23 requests`
    fn line(&self) -> String {
        let counts = self.counter.counts();
        let total: u64 = counts.values().sum();
        let mut names: Vec<&String> = self.seen.keys().collect();
        // Those that were counted and are not registered any more.
        names.extend(counts.keys().filter(|name| !self.seen.contains_key(*name)));
        let mut plain = Vec::new();
        let mut painted = Vec::new();
        for name in names {
            let (tone, word) = match self.seen.get(name).map(|seen| seen.health.as_str()) {
                Some("unhealthy") => (Tone::Bad, " (out)"),
                Some("healthy") => (Tone::Good, ""),
                Some(_) => (Tone::Warning, ""),
                None => (Tone::Faint, ""),
            };
            let (name, count) = (escape(name), counts.get(name).copied().unwrap_or(0));
            plain.push(format!("{name} {count}{word}"));
            painted.push(format!(
                "{} {count}{}",
                self.look.paint(tone, &name),
                self.look.paint(Tone::Bad, word)
            ));
        }
        let requests = if total == 1 { "1 request".to_owned() } else { format!("{total} requests") };
        let plain = format!("{}   {requests}", plain.join("   "));
        match self.look.width {
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

    fn board(look: Look) -> (Board, Arc<Counter>, SyncSender<News>) {
        let (news, receiver) = sync_channel(4);
        let counter = Arc::new(Counter::new(news.clone()));
        (Board::new(look, Arc::clone(&counter), receiver), counter, news)
    }

    fn instance(name: &str, health: &str, reason: Option<&str>) -> Value {
        json!({ "instance_id": name, "health": health, "health_reason": reason })
    }

    #[test]
    fn the_line_counts_requests_per_instance() {
        let (mut board, counter, _news) = board(Look::PLAIN);
        for name in ["a-1", "a-2", "a-2", PROXY] {
            counter.add(name);
        }
        board.events(&[
            instance("a-1", "healthy", None),
            instance("a-2", "unhealthy", None),
            instance("b-1", "unknown", None),
        ]);
        assert_eq!(board.line(), "a-1 1   a-2 2 (out)   b-1 0   (proxy) 1   4 requests");
    }

    #[test]
    fn a_failover_is_told_in_its_order_and_once() {
        let (mut board, _counter, news) = board(Look::PLAIN);
        let out = instance("a-1", "unhealthy", Some("refused"));
        assert!(board.events(&[instance("a-1", "healthy", None)]).is_empty());
        for _ in 0..2 {
            news.send(News { instance: "a-1".into(), failure: "connect_refused" }).unwrap();
        }
        assert_eq!(
            board.events(std::slice::from_ref(&out)),
            [
                "a-1 did not answer a request (connect_refused); another instance got it",
                "a-1 is out of rotation: unhealthy (refused)"
            ]
        );
        assert!(board.events(&[out]).is_empty());
        assert_eq!(
            board.events(&[instance("a-1", "healthy", None)]),
            ["a-1 is well again and gets requests: healthy"]
        );
    }

    #[test]
    fn a_line_never_wraps() {
        let (mut board, counter, _news) = board(Look { width: Some(20), colour: true });
        counter.add("an-instance-with-a-long-name");
        board.events(&[instance("an-instance-with-a-long-name", "healthy", None)]);
        assert!(columns(&board.line()) < 20, "{:?}", board.line());
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let (_board, counter, _news) = board(Look::PLAIN);
        for number in 0..DEMO_INSTANCES_MAX * 2 {
            counter.add(&format!("i-{number}"));
        }
        let counts = counter.counts();
        assert!(counts.len() <= DEMO_INSTANCES_MAX + 1);
        assert_eq!(counts[OTHERS], DEMO_INSTANCES_MAX as u64);
    }
}
