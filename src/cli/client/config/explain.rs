//! Explanation of a route, as text: the rule that serves a request, and why the others do not.

use std::fmt::Write;

use serde::Deserialize;

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
                route.tenant.as_deref().map(|tenant| format!("tenant {}", escape(tenant))),
            ];
            let facts: Vec<String> = facts.into_iter().flatten().collect();
            if !facts.is_empty() {
                let _ = writeln!(text, "{}", facts.join(", "));
            }
        }
        text
    }
}
