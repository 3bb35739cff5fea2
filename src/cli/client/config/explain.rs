//! Explanation of a route, as text: the rule that serves a request, and why the others do not.

use std::fmt::Write;

use serde::Deserialize;

use super::super::auth::{FieldChangesView, MethodView};
use super::super::cache::ExplainedCacheView;
use super::super::text::{Style, Tone, escape};

/// Explanation of the API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExplainView {
    host: String,
    tier: Option<String>,
    pattern: Option<String>,
    route: Option<RouteView>,
    status: Option<u64>,
    reason: String,
    candidates: Vec<CandidateView>,
    candidates_total: usize,
    stripped: Vec<String>,
    stages: Vec<StageView>,
    rewritten: Option<String>,
    cache: Option<ExplainedCacheView>,
}

/// Stage that the request meets.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StageView {
    stage: String,
    verdict: String,
    detail: String,
    methods: Vec<MethodView>,
    request: FieldChangesView,
    response: FieldChangesView,
}

/// Route that serves the request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RouteView {
    id: String,
    owner: String,
    pool: Option<String>,
    variant: Option<String>,
    variant_reason: Option<String>,
    action: Option<String>,
    tenant: Option<String>,
    timeout: Option<String>,
    requires_tls: bool,
    body_bytes_max: Option<u64>,
    #[serde(default = "is_true")]
    is_logged: bool,
    place: Option<String>,
}

/// Route of the host.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CandidateView {
    id: String,
    is_match: bool,
    why: Option<String>,
}

impl ExplainView {
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        match &self.route {
            Some(route) => {
                let (id, owner) = (escape(&route.id), escape(&route.owner));
                let _ = write!(text, "{} of {owner}", style.paint(Tone::Good, &format!("route {id}")));
                if let Some(pool) = &route.pool {
                    let _ = write!(text, ", pool {}", escape(pool));
                } else if let Some(action) = &route.action {
                    let _ = write!(text, ", {}", escape(action));
                }
                if let Some(place) = &route.place {
                    let _ = write!(text, " ({})", escape(place));
                }
                if let Some(status) = self.status {
                    let _ = write!(text, "{}", style.paint(Tone::Warning, &format!(": {status}")));
                }
            }
            None => {
                let status = self.status.unwrap_or(404).to_string();
                let _ = write!(text, "{}", style.paint(Tone::Bad, &format!("no route: {status}")));
            }
        }
        if !self.reason.is_empty() {
            let _ = write!(text, ", {}", escape(&self.reason));
        }
        text.push('\n');
        let host = escape(&self.host);
        let _ = match (&self.pattern, &self.tier) {
            (Some(pattern), Some(tier)) => {
                writeln!(text, "host {host}: {} ({})", escape(pattern), escape(tier))
            }
            (None, Some(tier)) => writeln!(text, "host {host}: {}", escape(tier)),
            (_, None) => writeln!(text, "host {host} has no routes"),
        };
        for candidate in &self.candidates {
            let (mark, tone) = if candidate.is_match { ("✓", Tone::Good) } else { ("✗", Tone::Faint) };
            let _ = write!(text, "  {} {}", style.paint(tone, mark), escape(&candidate.id));
            if let Some(why) = &candidate.why {
                let _ = write!(text, ": {}", escape(why));
            }
            text.push('\n');
        }
        let more = self.candidates_total.saturating_sub(self.candidates.len());
        if more > 0 {
            let _ = writeln!(text, "  and {more} more");
        }
        self.push_stages(&mut text, style);
        if let Some(cache) = &self.cache {
            let _ = writeln!(text, "cache: {}", cache.verdict(style));
        }
        if let Some(route) = &self.route {
            let variant = match (&route.variant, &route.variant_reason) {
                (Some(variant), Some(reason)) => Some(format!("{}: {}", escape(variant), escape(reason))),
                (None, Some(reason)) => Some(escape(reason)),
                (_, None) => None,
            };
            let facts = [
                variant,
                route.timeout.as_deref().map(|timeout| format!("timeout {}", escape(timeout))),
                route.requires_tls.then(|| "TLS required".to_owned()),
                route.body_bytes_max.map(|bytes| format!("request bodies up to {bytes} bytes")),
                (!route.is_logged).then(|| "not in the access log".to_owned()),
                route.tenant.as_deref().map(|tenant| format!("tenant {}", escape(tenant))),
            ];
            let facts: Vec<String> = facts.into_iter().flatten().collect();
            if !facts.is_empty() {
                let _ = writeln!(text, "{}", facts.join(", "));
            }
        }
        text
    }

    /// One line for each stage, and below it what it changes.
    fn push_stages(&self, text: &mut String, style: Style) {
        if self.stages.is_empty() && self.rewritten.is_none() {
            return;
        }
        text.push_str("stages:\n");
        if !self.stripped.is_empty() {
            let names: Vec<_> = self.stripped.iter().map(|name| escape(name)).collect();
            let _ = writeln!(text, "  - {} of the client removed: only stages may set it", names.join(", "));
        }
        let width = self.stages.iter().map(|stage| stage.stage.chars().count()).max().unwrap_or(0);
        for stage in &self.stages {
            let (mark, tone) = match stage.verdict.as_str() {
                "passes" => ("✓", Tone::Good),
                "limits" => ("~", Tone::Plain),
                "replies" => ("✗", Tone::Bad),
                "undecided" => ("?", Tone::Warning),
                _ => ("-", Tone::Faint),
            };
            let name = format!("{:<width$}", escape(&stage.stage));
            let _ = write!(text, "  {} {name}", style.paint(tone, mark));
            let words = match (stage.verdict.as_str(), stage.detail.as_str()) {
                ("replies", detail) => style.paint(Tone::Bad, &format!("replies {}", escape(detail))),
                ("not_reached", _) => style.paint(Tone::Faint, "not reached"),
                (_, detail) => escape(detail),
            };
            let _ = writeln!(text, "  {words}");
            // A line of an empty verdict ends with its name.
            while text.ends_with(" \n") {
                text.truncate(text.len() - 2);
                text.push('\n');
            }
            let mut below = String::new();
            for method in &stage.methods {
                let _ = writeln!(below, "{}", method.text());
            }
            below.push_str(&stage.request.text("request: sets ", "request: removes "));
            below.push_str(&stage.response.text("response: sets ", "response: removes "));
            for line in below.lines() {
                let _ = writeln!(text, "      {line}");
            }
        }
        if let Some(rewritten) = &self.rewritten {
            let _ = writeln!(text, "  > endpoint gets the path {}", escape(rewritten));
        }
    }
}

fn is_true() -> bool {
    true
}
