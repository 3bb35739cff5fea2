//! Responses about the configuration, as text.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use super::super::text::{Cell, Style, Table, Tone, escape};
use super::super::time;
use super::findings::{self, FindingView};
use crate::cli::client::pools::{OverriddenView, overridden_text};

/// Difference between two configurations.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DiffView {
    pub(super) plan: Option<String>,
    owner: String,
    from: Option<String>,
    to: String,
    pub(super) changes: Vec<ChangeView>,
    effects: EffectsView,
    findings: Vec<FindingView>,
    overridden: Vec<OverriddenView>,
}

/// One difference.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ChangeView {
    op: String,
    kind: String,
    id: String,
    path: String,
    from: Option<String>,
    to: Option<String>,
}

/// Effects of a change on traffic.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EffectsView {
    hosts_added: Vec<String>,
    hosts_removed: Vec<String>,
    hosts_changed: Vec<String>,
    endpoints_added: u64,
    endpoints_removed: u64,
    sampled: Option<SampledView>,
}

/// Recent requests, routed by both configurations.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SampledView {
    requests: u64,
    rerouted: u64,
}

/// Receipt of a change.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReceiptView {
    owner: String,
    version: String,
    previous: Option<String>,
    revision: Option<u64>,
    changes: ChangesView,
    findings: Vec<FindingView>,
    overridden: Vec<OverriddenView>,
    restart_needed: Vec<String>,
    pending: Vec<u64>,
    rollout: Option<RolloutView>,
    is_unchanged: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ChangesView {
    count: u64,
}

/// Trial of a configuration on one core.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RolloutView {
    state: String,
    owner: Option<String>,
    version: Option<String>,
    started_at: Option<String>,
    ends_at: Option<String>,
    core: Option<u64>,
    reason: Option<String>,
    is_judged: Option<bool>,
    requests: u64,
    errors: u64,
}

/// Kept version.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VersionView {
    owner: String,
    version: String,
    sequence: u64,
    at: String,
    by: String,
    reason: String,
    is_proven: bool,
    is_current: bool,
    config: Option<Value>,
}

/// Present sets of the owners.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CurrentView {
    sets: Vec<VersionView>,
}

/// Kept versions of the owners.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HistoryView {
    versions: Vec<VersionView>,
}

/// Recent requests that a proposed configuration would route otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SimulationView {
    requests: u64,
    rerouted: u64,
    examples: Vec<ReroutedView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReroutedView {
    method: String,
    host: String,
    path: String,
    count: Option<u64>,
    from: String,
    to: String,
}

impl DiffView {
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for change in &self.changes {
            text.push_str(&change.line(style));
        }
        if self.changes.is_empty() {
            let version = escape(&self.to);
            let _ = writeln!(text, "no differences: the {} is {version} already", set_of(&self.owner));
        } else {
            text.push('\n');
            text.push_str(&self.effects.text());
            let from = self.from.as_deref().unwrap_or("nothing");
            let owner = set_of(&self.owner);
            let _ = writeln!(text, "{owner}: {} -> {}", escape(from), escape(&self.to));
            if let Some(plan) = &self.plan {
                let plan = escape(plan);
                let _ = writeln!(text, "apply exactly this with: ringway config apply --plan {plan}");
            }
        }
        text + &overridden_text(&self.overridden) + &findings::render(&self.findings, &[], Style::PLAIN)
    }
}

impl ChangeView {
    /// `+ route api`, `~ pool p /balancer: a -> b`.
    fn line(&self, style: Style) -> String {
        let (mark, tone) = match &*self.op {
            "add" => ("+", Tone::Good),
            "remove" => ("-", Tone::Bad),
            _ => ("~", Tone::Warning),
        };
        let mut text = format!("{} {} {}", style.paint(tone, mark), escape(&self.kind), escape(&self.id));
        if !self.path.is_empty() {
            let _ = write!(text, " {}", escape(&self.path));
        }
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => {
                let _ = write!(text, ": {} -> {}", escape(from), escape(to));
            }
            (Some(value), None) | (None, Some(value)) => {
                let _ = write!(text, ": {}", escape(value));
            }
            (None, None) => {}
        }
        text + "\n"
    }
}

impl EffectsView {
    fn text(&self) -> String {
        let mut text = String::new();
        for (title, hosts) in [
            ("new hosts", &self.hosts_added),
            ("hosts no longer served", &self.hosts_removed),
            ("hosts with changes", &self.hosts_changed),
        ] {
            if hosts.is_empty() {
                continue;
            }
            let shown: Vec<String> = hosts.iter().take(HOSTS_SHOWN_MAX).map(|host| escape(host)).collect();
            let _ = write!(text, "{title}: {}", shown.join(", "));
            if hosts.len() > HOSTS_SHOWN_MAX {
                let _ = write!(text, " and {} more", hosts.len() - HOSTS_SHOWN_MAX);
            }
            text.push('\n');
        }
        if self.endpoints_added + self.endpoints_removed > 0 {
            let (added, removed) = (self.endpoints_added, self.endpoints_removed);
            let _ = writeln!(text, "endpoints: {added} added, {removed} removed");
        }
        if let Some(SampledView { requests, rerouted }) = self.sampled {
            let _ = writeln!(
                text,
                "sampled recent requests that would be routed otherwise: {rerouted} of {requests}"
            );
        }
        text
    }
}

impl ReceiptView {
    pub(super) fn text(&self, style: Style) -> String {
        let (owner, version) = (set_of(&self.owner), escape(&self.version));
        let mut text = match self.is_unchanged {
            true => format!("{owner}: {version} is in force already\n"),
            false => {
                let mut facts = vec![match self.changes.count {
                    1 => "1 change".to_owned(),
                    count => format!("{count} changes"),
                }];
                facts
                    .extend(self.previous.as_deref().map(|previous| format!("before: {}", escape(previous))));
                facts.extend(self.revision.map(|revision| format!("revision {revision}")));
                let done = if self.rollout.is_some() { "is on trial" } else { "is in force" };
                format!("{owner}: {version} {done} ({})\n", facts.join(", "))
            }
        };
        if let Some(rollout) = &self.rollout {
            text.push_str(&rollout.text(style));
        }
        if !self.pending.is_empty() {
            let cores: Vec<String> = self.pending.iter().map(u64::to_string).collect();
            let _ = writeln!(text, "stored, but these cores do not serve it yet: {}", cores.join(", "));
        }
        if !self.restart_needed.is_empty() {
            let paths: Vec<String> = self.restart_needed.iter().map(|path| escape(path)).collect();
            let _ = writeln!(text, "a restart is needed for: {}", paths.join(", "));
        }
        text + &overridden_text(&self.overridden) + &findings::render(&self.findings, &[], Style::PLAIN)
    }
}

impl RolloutView {
    pub(super) fn text(&self, style: Style) -> String {
        let owner = set_of(self.owner.as_deref().unwrap_or_default());
        let version = escape(self.version.as_deref().unwrap_or_default());
        let mut text = match &*self.state {
            "" | "none" => return "no configuration is on trial\n".to_owned(),
            "running" => {
                let core = self.core.map(|core| format!(" on core {core}")).unwrap_or_default();
                format!("{owner}: {version} is on trial{core}")
            }
            state => format!("{owner}: {version} was {}", style.paint(Tone::of_state(state), &escape(state))),
        };
        let mut facts = Vec::new();
        facts.extend(self.started_at.as_deref().map(|at| format!("since {}", time(at))));
        facts.extend(self.ends_at.as_deref().map(|at| format!("until {}", time(at))));
        if self.is_judged == Some(false) {
            facts.push("too little traffic to judge it".to_owned());
        }
        facts.push(format!("{} requests there, {} failed", self.requests, self.errors));
        facts.extend(self.reason.as_deref().map(escape));
        if !facts.is_empty() {
            let _ = write!(text, " ({})", facts.join("; "));
        }
        text + "\n"
    }
}

impl VersionView {
    /// Heading, and the document.
    pub(super) fn text(&self, _style: Style) -> String {
        let (owner, version) = (set_of(&self.owner), escape(&self.version));
        let mut text = format!("# {owner} {version}, number {}, {}", self.sequence, time(&self.at));
        if !self.by.is_empty() {
            let _ = write!(text, ", by {}", escape(&self.by));
        }
        if !self.reason.is_empty() {
            let _ = write!(text, ": {}", escape(&self.reason));
        }
        text.push('\n');
        if let Some(config) = &self.config {
            let _ = writeln!(text, "{}", super::super::text::escape_json(&format!("{config:#}")));
        }
        text
    }
}

impl CurrentView {
    pub(super) fn text(&self, style: Style) -> String {
        match self.sets.is_empty() {
            true => "no configuration is in force beside the registrations\n".to_owned(),
            false => self.sets.iter().map(|set| set.text(style)).collect::<Vec<_>>().join("\n"),
        }
    }
}

impl HistoryView {
    pub(super) fn text(&self, style: Style) -> String {
        if self.versions.is_empty() {
            return "no configuration was applied yet\n".to_owned();
        }
        let mut table = Table::new(&["VERSION", "OWNER", ">NUMBER", "TIME", "STATE", "BY", "REASON"]);
        for version in &self.versions {
            let state = match (version.is_current, version.is_proven) {
                (true, true) => "current",
                (true, false) => "current, unproven",
                (false, true) => "",
                (false, false) => "unproven",
            };
            table.row(vec![
                Cell::new(&version.version),
                Cell::new(&version.owner),
                Cell::number(version.sequence),
                Cell::new(&time(&version.at)),
                Cell::or_dash(Some(state)),
                Cell::or_dash(Some(&version.by)),
                Cell::or_dash(Some(&version.reason)),
            ]);
        }
        table.render(style)
    }
}

impl SimulationView {
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = format!(
            "{} of {} sampled recent requests would be routed otherwise\n",
            self.rerouted, self.requests
        );
        if !self.examples.is_empty() {
            let mut table = Table::new(&["METHOD", "HOST", "PATH", ">COUNT", "NOW", "THEN"]);
            for one in &self.examples {
                table.row(vec![
                    Cell::new(&one.method),
                    Cell::new(&one.host),
                    Cell::new(&one.path),
                    Cell::number(one.count.unwrap_or(1)),
                    Cell::new(&one.from),
                    Cell::new(&one.to),
                ]);
            }
            text.push_str(&table.render(style));
        }
        text
    }
}

/// Name of an owner's set.
fn set_of(owner: &str) -> String {
    match owner {
        "" => "configuration".to_owned(),
        owner => format!("configuration of {}", escape(owner)),
    }
}

/// Hosts that are listed in full.
const HOSTS_SHOWN_MAX: usize = 10;
