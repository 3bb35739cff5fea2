//! Findings: the mistakes of a request, with their places in its body.

use std::fmt::Write;

use ringway_model::limits;
use serde::Serialize;

/// One mistake of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Finding {
    /// Field with its parents, joined by dots.
    #[schema(examples("instance.target"))]
    pub(crate) field: String,
    /// Kind of the mistake: `missing`, `unknown`, `type`, `invalid`, `range`, `conflict` or `duplicate`.
    #[schema(examples("missing"))]
    pub(crate) code: &'static str,
    /// Remedy, for people.
    #[schema(examples("is required"))]
    pub(crate) message: String,
    /// JSON pointer into the body (RFC 6901); absent for values of the path and the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("/instance/target"))]
    pub(crate) pointer: Option<String>,
}

impl Finding {
    /// Creates a finding about a member of the body.
    pub(crate) fn at(pointer: &Pointer, code: &'static str, message: String) -> Self {
        Self { field: pointer.dotted(), code, message, pointer: Some(pointer.text()) }
    }
}

/// Path of a member in a body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pointer {
    names: Vec<String>,
}

impl Pointer {
    /// Descends to a member.
    pub(crate) fn push(&mut self, name: &str) {
        let mut end = name.len().min(limits::FINDING_NAME_BYTES_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        self.names.push(name[..end].to_owned());
    }

    /// Ascends.
    pub(crate) fn pop(&mut self) {
        self.names.pop();
    }

    /// The names, joined by dots.
    pub(crate) fn dotted(&self) -> String {
        self.names.join(".")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for name in &self.names {
            let _ = write!(text, "/{}", name.replace('~', "~0").replace('/', "~1"));
        }
        text
    }
}
