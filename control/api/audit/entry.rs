//! One line of the audit log, before it is chained.

use serde::Serialize;

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

/// Cuts the braces of an object.
fn members(object: &str) -> String {
    object.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().to_owned()
}

/// Line about a decision of ringway itself.
#[derive(Debug, Serialize)]
pub(super) struct OwnEntry<'a> {
    pub(super) at: String,
    pub(super) who: &'static str,
    pub(super) action: &'static str,
    pub(super) objects: [Object; 1],
    pub(super) reason: &'a str,
    pub(super) result: &'static str,
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
