//! Claims of a verified token: found by their names, and as text for header fields.

use std::sync::Arc;

use ringway_model::ClaimField;
use serde_json::Value;

use crate::identity::Identity;
use crate::limits;

/// The claim of a name. A name with dots leads into objects, unless the token has it as it is: claims of
/// identity providers may be URLs.
pub(crate) fn find<'c>(claims: &'c Value, name: &str) -> Option<&'c Value> {
    if let Some(claim) = claims.get(name) {
        return Some(claim);
    }
    name.split('.').try_fold(claims, |claims, part| claims.get(part))
}

/// Whether a claim has one of these values: it is one, a list has one, or one of its words is one (RFC 6749
/// §3.3: scopes are words).
pub(crate) fn has(claim: &Value, values: &[Arc<str>]) -> bool {
    let is_one = |text: &str| values.iter().any(|value| **value == *text);
    match claim {
        Value::String(text) => is_one(text) || text.split(' ').any(is_one),
        Value::Bool(_) | Value::Number(_) => is_one(&claim.to_string()),
        Value::Array(claims) => claims.iter().any(|claim| match claim {
            Value::String(text) => is_one(text),
            Value::Bool(_) | Value::Number(_) => is_one(&claim.to_string()),
            _ => false,
        }),
        Value::Null | Value::Object(_) => false,
    }
}

/// A claim as text: lists have commas between their items. `None` for objects, for what is too long, and for
/// a list whose item has a comma: the endpoint would read it as two.
pub(crate) fn text(claim: &Value) -> Option<String> {
    let text = match claim {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => claim.to_string(),
        Value::Array(claims) => {
            let items: Option<Vec<String>> = claims
                .iter()
                .map(|claim| match claim {
                    Value::Array(_) | Value::Object(_) | Value::Null => None,
                    claim => text(claim).filter(|text| !text.contains(',')),
                })
                .collect();
            items?.join(",")
        }
        Value::Null | Value::Object(_) => return None,
    };
    (text.len() <= limits::CLAIM_BYTES_MAX).then_some(text)
}

/// The identity of a token: its subject, and its claims as text; those that `fields` need come first.
pub(crate) fn identity(claims: &Value, fields: &[ClaimField]) -> Identity {
    let user = claims.get("sub").and_then(text).unwrap_or_default().into();
    let mut known = Known::new();
    for field in fields {
        note(&field.claim, find(claims, &field.claim), &mut known);
    }
    if let Value::Object(members) = claims {
        // Claims by their own names before parts of others, as `find` has it.
        members.iter().for_each(|(name, claim)| note(name, Some(claim), &mut known));
        members.iter().for_each(|(name, claim)| collect(name, claim, &mut known));
    }
    Identity { user, claims: known }
}

type Known = Vec<(Box<str>, Box<str>)>;

/// Adds a claim, unless there is one of its name.
fn note(name: &str, claim: Option<&Value>, known: &mut Known) {
    if known.len() < limits::CLAIMS_MAX
        && known.iter().all(|(known, _)| **known != *name)
        && let Some(text) = claim.and_then(text)
    {
        known.push((name.into(), text.into()));
    }
}

/// Adds the members of an object, and of those in it. Depth is bounded by the parser.
fn collect(path: &str, claim: &Value, known: &mut Known) {
    let Value::Object(members) = claim else { return };
    // A name with a dot is no path that `find` follows.
    for (name, claim) in members.iter().filter(|(name, _)| !name.contains('.') && !path.is_empty()) {
        let path = format!("{path}.{name}");
        note(&path, Some(claim), known);
        collect(&path, claim, known);
    }
}
