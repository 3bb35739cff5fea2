//! Verdict about a credential.

use std::collections::BTreeMap;

use ringway_control::{AuthChecked, FieldChanges, MethodExplanation, Outcome};
use serde::Serialize;
use utoipa::ToSchema;

/// Verdict of a route's authentication about a credential.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuthCheckView {
    /// Verdict; `undecided` where an external service decides.
    #[schema(examples("admitted", "refused", "undecided"))]
    pub(crate) verdict: &'static str,
    /// Status of the response to a request with it; null unless it is refused.
    pub(crate) status: Option<u16>,
    /// Reason of the refusal, by name.
    #[schema(examples("expired", "wrong_audience", "unknown_key"))]
    pub(crate) reason: Option<&'static str>,
    /// The reason in words.
    pub(crate) message: Option<&'static str>,
    /// Kind of the credential.
    #[schema(examples("token", "api_key", "password"))]
    pub(crate) kind: &'static str,
    /// Place of a request in which it was judged.
    #[schema(examples("Authorization: Bearer"))]
    pub(crate) place: String,
    /// The user; null unless it is admitted.
    pub(crate) user: Option<String>,
    /// Claims as the values of header fields, by name.
    pub(crate) claims: BTreeMap<String, String>,
    /// Whether the claims were verified.
    pub(crate) is_verified: bool,
    /// Methods of the route, in order.
    pub(crate) methods: Vec<AuthMethodView>,
    /// Changes of the request's fields.
    pub(crate) request: FieldChangesView,
    /// Sources that the route's methods compare with.
    pub(crate) sources: Vec<AuthSourceView>,
}

/// Method of authentication.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuthMethodView {
    #[schema(examples("jwt", "basic", "api_key", "client_certificate", "forward"))]
    pub(crate) method: &'static str,
    /// Place in which it looks for credentials.
    pub(crate) place: String,
    #[schema(examples("not_asked", "absent", "admits", "refuses", "foreign", "undecided"))]
    pub(crate) outcome: &'static str,
    /// Reason of a refusal, by name.
    pub(crate) reason: Option<&'static str>,
}

/// Changes of header fields.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldChangesView {
    /// Names of removed fields.
    pub(crate) removed: Vec<String>,
    /// Added lines. A credential in one stands as `<credential>`.
    pub(crate) added: Vec<FieldView>,
}

/// Line of a head.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldView {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Source of credentials.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuthSourceView {
    #[schema(examples("keys of issuer https://auth.example.com"))]
    pub(crate) name: String,
    /// Number of its keys or users; null while it was never loaded.
    pub(crate) entries: Option<usize>,
}

impl From<&AuthChecked> for AuthCheckView {
    fn from(checked: &AuthChecked) -> Self {
        let AuthChecked { check, sources } = checked;
        Self {
            verdict: match check.is_admitted {
                Some(true) => "admitted",
                Some(false) => "refused",
                None => "undecided",
            },
            status: check.reply.as_ref().map(|reply| reply.status()),
            reason: check.reason.map(|reason| reason.name()),
            message: check.reason.map(|reason| reason.text()),
            kind: check.kind.as_str(),
            place: check.place.clone(),
            user: check.user.clone(),
            claims: check.claims.iter().cloned().collect(),
            is_verified: check.is_verified,
            methods: check.methods.iter().map(AuthMethodView::from).collect(),
            request: FieldChangesView::from(&check.request),
            sources: sources
                .iter()
                .map(|source| AuthSourceView { name: source.name.clone(), entries: source.entries })
                .collect(),
        }
    }
}

impl From<&MethodExplanation> for AuthMethodView {
    fn from(method: &MethodExplanation) -> Self {
        let reason = match method.outcome {
            Outcome::Refuses(reason) => Some(reason.name()),
            _ => None,
        };
        Self { method: method.method, place: method.place.clone(), outcome: method.outcome.as_str(), reason }
    }
}

impl From<&FieldChanges> for FieldChangesView {
    fn from(changes: &FieldChanges) -> Self {
        let added =
            changes.added.iter().map(|(name, value)| FieldView { name: name.clone(), value: value.clone() });
        Self { removed: changes.removed.clone(), added: added.collect() }
    }
}
