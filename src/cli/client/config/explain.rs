//! Explanation of a route, as text: the rule that serves a request, and why the others do not.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

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
    candidates: Vec<CandidateView>,
    policy: Value,
    place: Option<String>,
}

/// Route that serves the request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RouteView {
    id: String,
    owner: String,
    pool: Option<String>,
    action: Option<String>,
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
                if let Some(place) = &self.place {
                    let _ = write!(text, " ({})", escape(place));
                }
            }
            None => {
                let status = self.status.unwrap_or(404).to_string();
                let _ = write!(text, "{}", style.paint(Tone::Bad, &format!("no route: {status}")));
            }
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
        if let Some(policy) = self.policy.as_object().filter(|policy| !policy.is_empty()) {
            text.push_str("policy:");
            for (name, value) in policy {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let _ = write!(text, " {}={}", escape(name), escape(&value));
            }
            text.push('\n');
        }
        text
    }
}
