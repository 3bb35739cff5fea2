//! A body of the admin API, read by every shape: what is taken is JSON to another parser too, with no name
//! twice, and what is refused is refused for something that is there.

use ringway_api::fuzzing::{Refusal, SHAPES, read};
use ringway_model::limits;
use serde_json::Value;

pub(crate) fn check(bytes: &[u8]) {
    let Some((&choice, body)) = bytes.split_first() else { return };
    let key = (choice & 0x80 != 0).then(|| "shop.example".to_owned());
    let other = serde_json::from_slice::<Value>(body);
    match read(usize::from(choice & 0x7f) % SHAPES, key, &mut body.to_vec()) {
        Ok(()) => {
            let Ok(document @ Value::Object(_)) = other else { panic!("taken, and {other:?}") };
            has_no_duplicates(body, &document);
        }
        Err(Refusal::Document(duplicates)) if duplicates.is_empty() => {
            let is_good = other.is_ok_and(|value| value.is_object() && is_within_bounds(&value, 0));
            assert!(!is_good, "refused for nothing");
        }
        Err(Refusal::Document(duplicates)) => {
            let document = other.expect("JSON, but for its duplicates");
            // Their pointers do not count through arrays.
            let is_known =
                |pointer: &String| is_cut(pointer) || has_arrays(&document) || is_there(&document, pointer);
            assert!(duplicates.iter().all(is_known));
        }
        Err(Refusal::Findings(findings)) => {
            let document = other.expect("JSON");
            assert!(document.is_object() && !findings.is_empty());
            has_no_duplicates(body, &document);
            for (code, pointer) in findings {
                let Some(pointer) = pointer else { continue };
                match code {
                    "missing" => {
                        let given = document.pointer(&pointer);
                        assert!(given.is_none_or(Value::is_null), "{pointer} is there");
                    }
                    "unknown" | "type" | "invalid" | "range" | "conflict" => {
                        assert!(
                            is_cut(&pointer) || is_there(&document, &pointer),
                            "{pointer}: {code}, and absent"
                        );
                    }
                    other => panic!("{other} is no code"),
                }
            }
        }
    }
}

/// Checks for duplicate members: the other parser keeps the last one of a name, so its document would have
/// fewer members than the text.
fn has_no_duplicates(text: &[u8], document: &Value) {
    assert_eq!(colons(text), members(document), "a name occurs twice");
}

/// Number of members in the text of a document: one per colon outside of strings.
fn colons(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (0, false, false);
    for &byte in text {
        count += usize::from(!in_string && byte == b':');
        in_string ^= byte == b'"' && !is_escaped;
        is_escaped = in_string && byte == b'\\' && !is_escaped;
    }
    count
}

/// Number of members of a document.
fn members(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(members).sum(),
        Value::Object(inner) => inner.values().map(|value| 1 + members(value)).sum(),
        _ => 0,
    }
}

fn is_there(document: &Value, pointer: &str) -> bool {
    document.pointer(pointer).is_some()
}

/// Whether the pointer may lack the end of a name, because names are shortened.
fn is_cut(pointer: &str) -> bool {
    pointer.len() > limits::FINDING_NAME_BYTES_MAX
}

fn has_arrays(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::Object(members) => members.values().any(has_arrays),
        _ => false,
    }
}

/// Whether our parser should take what the other took: it bounds nesting, and takes no integer beyond 64
/// bits.
fn is_within_bounds(value: &Value, depth: usize) -> bool {
    match value {
        _ if depth > limits::API_BODY_DEPTH_MAX => false,
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => !number.is_f64(),
        Value::Array(values) => values.iter().all(|value| is_within_bounds(value, depth + 1)),
        Value::Object(members) => members.values().all(|value| is_within_bounds(value, depth + 1)),
    }
}
