//! Findings: the mistakes of a request, with their places in its body.

use ringway_config::{Origin, Pointer, Report};
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
        Self { field: pointer.dotted(), code, message, pointer: Some(pointer.to_string()) }
    }
}

impl From<Report> for Finding {
    fn from(report: Report) -> Self {
        let pointer = match report.origin {
            Origin::Body => Some(report.field.to_string()),
            Origin::Address => None,
        };
        Self { field: report.field.dotted(), code: report.code, message: report.message, pointer }
    }
}
