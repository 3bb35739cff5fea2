//! One line of the audit log, before it is chained.

use ringway_control::AuthChange;
use ringway_model::RouteId;
use serde::Serialize;

use crate::limits::AUDIT_ROUTES_MAX;

/// Action and its result.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// RFC 3339, with milliseconds.
    pub(crate) at: String,
    /// `token:NAME`, `certificate:SUBJECT`, `uid:NUMBER`, `loopback` or `unknown`.
    pub(crate) who: String,
    /// Address of the client, or `unix`.
    pub(crate) remote: String,
    /// Operation, by its name in the OpenAPI document.
    pub(crate) action: &'static str,
    /// Owner of the changed objects; absent when the request was refused by its head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// Changed objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) objects: Vec<Object>,
    /// Revision, or version of an owner's configuration, before the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
    /// The same after the action; absent when it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
    /// Reason that the client gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Changes of routes' authentication; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authentication: Option<AuthChanges>,
    /// Outcome, or the code of the problem.
    pub(crate) result: &'static str,
    /// Status of the response.
    pub(crate) status: u16,
    /// Id of the request.
    pub(crate) request_id: String,
    /// Refusals of unidentified clients before this line that have none of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) suppressed: u64,
}

/// Changed object.
#[derive(Debug, Serialize)]
pub(crate) struct Object {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
}

/// Routes whose authentication a change of the configuration altered.
#[derive(Debug, Default, Serialize)]
pub(crate) struct AuthChanges {
    /// Routes that had authentication and have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gained: Vec<String>,
    /// Number of those that are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    others: u64,
}

impl AuthChanges {
    /// Lists the first changes; `None` where there are none.
    pub(crate) fn of(changes: &[(AuthChange, RouteId)]) -> Option<Self> {
        if changes.is_empty() {
            return None;
        }
        let (listed, others) = changes.split_at(changes.len().min(AUDIT_ROUTES_MAX));
        let mut lists = Self { others: others.len() as u64, ..Self::default() };
        for (change, route) in listed {
            let list = match change {
                AuthChange::Lost => &mut lists.lost,
                AuthChange::Changed => &mut lists.changed,
                AuthChange::Gained => &mut lists.gained,
            };
            list.push(route.to_string());
        }
        Some(lists)
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Entry {
    /// Members of the JSON object, without its braces.
    pub(super) fn members(&self) -> String {
        // No member has a key other than a string, and writing to memory cannot fail.
        members(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// Cuts the braces of an object. Characters that JSON admits and terminals interpret are escaped: a line is
/// shown by whatever shows files.
fn members(object: &str) -> String {
    let members = object.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
    let mut out = String::with_capacity(members.len());
    for c in members.chars() {
        match is_interpreted(c) {
            // All of them are below U+10000: one escape each (RFC 8259 §7).
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

/// Control characters, and marks that reorder text (Unicode TR 36 §2.7).
fn is_interpreted(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Line about a decision or an observation of ringway itself.
#[derive(Debug, Serialize)]
pub(super) struct OwnEntry<'a> {
    pub(super) at: String,
    pub(super) who: &'static str,
    /// Client of the first observation, if a client caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remote: Option<String>,
    pub(super) action: &'static str,
    /// Empty for a line about several that have none of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) objects: Vec<Object>,
    pub(super) reason: &'a str,
    pub(super) result: &'static str,
    /// Observations since the last line about the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
}

impl OwnEntry<'_> {
    /// As [`Entry::members`].
    pub(super) fn members(&self) -> String {
        members(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// Entry of the writer itself.
#[derive(Serialize)]
pub(super) struct Notice<'a> {
    pub(super) at: String,
    pub(super) who: &'a str,
    pub(super) action: &'a str,
    /// Lines, or bytes, that were lost.
    pub(super) lost: u64,
}

impl Notice<'_> {
    /// As [`Entry::members`].
    pub(super) fn members(&self) -> String {
        members(&serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn characters_that_terminals_interpret_are_escaped() {
        let name = "a\u{1b}[2J\u{7f}\u{9b}\u{202e}\"\\é\n";
        let object = serde_json::json!({ "who": name }).to_string();
        let text = members(&object);
        assert!(
            !text.contains(|c: char| c.is_control() || c == '\u{202e}') && text.contains('é'),
            "{text:?}"
        );
        let back: serde_json::Value = serde_json::from_str(&format!("{{{text}}}")).unwrap_or_default();
        assert_eq!(back["who"], name);
    }
}
