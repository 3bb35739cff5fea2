//! Claims of a verified token: found by their names, and as text for header fields.

use std::sync::Arc;

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

/// A claim as text: lists have commas between their items. `None` for objects, and for what is too long.
pub(crate) fn text(claim: &Value) -> Option<String> {
    let text = match claim {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => claim.to_string(),
        Value::Array(claims) => {
            let items: Option<Vec<String>> = claims
                .iter()
                .map(|claim| match claim {
                    Value::Array(_) | Value::Object(_) | Value::Null => None,
                    claim => text(claim),
                })
                .collect();
            items?.join(",")
        }
        Value::Null | Value::Object(_) => return None,
    };
    (text.len() <= limits::CLAIM_BYTES_MAX).then_some(text)
}

/// The identity of a token: its subject, and its claims as text.
pub(crate) fn identity(claims: &Value) -> Identity {
    let user = claims.get("sub").and_then(text).unwrap_or_default().into();
    let mut known = Vec::new();
    collect(claims, &mut String::new(), &mut known);
    Identity { user, claims: known }
}

fn collect(claims: &Value, path: &mut String, known: &mut Vec<(Box<str>, Box<str>)>) {
    let Value::Object(members) = claims else { return };
    for (name, claim) in members {
        if known.len() >= limits::CLAIMS_MAX {
            return;
        }
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        match claim {
            Value::Object(_) => collect(claim, path, known),
            claim => known.extend(text(claim).map(|text| (path.as_str().into(), text.into()))),
        }
        path.truncate(length);
    }
}
