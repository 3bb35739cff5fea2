//! Error responses: `application/problem+json` (RFC 9457).
//!
//! The `code` is for programs and stable; `title` is its description for people, and `detail` concerns the
//! request. The request id is in `instance`, in the header `X-Request-ID`, and in the log.

use ringway_certs::UploadError;
use ringway_control::{ConfigError, Refusal, Step};
use ringway_model::{Rejection, Revision};
use serde::Serialize;

use crate::request::finding::Finding;
use crate::views::{ConfigFinding, config_findings};
use ringway_config::json::DocumentError;

/// An error response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
    pub(crate) errors: Vec<Finding>,
    /// Mistakes and warnings about a configuration.
    pub(crate) findings: Vec<ConfigFinding>,
    /// The present version of an owner's configuration, where that is the problem.
    pub(crate) version: Option<String>,
    /// The present revision, where that is the problem.
    pub(crate) revision: Option<Revision>,
    /// Time until a retry, where a retry helps.
    pub(crate) retry_after_seconds: Option<u64>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal $title:literal,)*) => {
        /// Kind of a problem, with status, code and title.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The status code.
            pub(crate) fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The code for programs.
            pub(crate) fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The title.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

kinds! {
    /// Not an HTTP request.
    BadRequest = 400 "bad_request" "The request is malformed",
    /// The body is not JSON, or not one object with unique names.
    BadDocument = 400 "malformed_body" "The body is not a JSON object",
    /// A value was given twice, with a difference.
    Conflicting = 400 "conflicting_values" "Values contradict each other",
    /// A header field has an invalid value.
    BadHeader = 400 "malformed_header" "A header field is malformed",
    /// No token, or a wrong one.
    Unauthorized = 401 "unauthorized" "A token is needed",
    /// The token does not permit the operation.
    MissingScope = 403 "missing_scope" "The token lacks a scope",
    /// The token is one of another tenant.
    ForeignTenant = 403 "foreign_tenant" "The token is one of another tenant",
    /// A browser sent it on behalf of another site.
    CrossSite = 403 "cross_site" "Requests of other sites are refused",
    /// No such path.
    NoSuchPath = 404 "no_such_path" "There is nothing at this path",
    /// The app is not registered.
    UnknownApp = 404 "unknown_app" "The app is not registered",
    /// There is no such pool or app.
    UnknownPool = 404 "unknown_pool" "There is no such pool",
    /// The instance is not registered.
    UnknownInstance = 404 "unknown_instance" "The instance is not registered",
    /// The domain is not registered.
    UnknownDomain = 404 "unknown_domain" "The domain is not registered",
    /// The app has no webhook.
    UnknownWebhook = 404 "unknown_webhook" "The app has no webhook",
    /// The version is not kept.
    UnknownVersion = 404 "unknown_version" "The version is not kept",
    /// No operator's route has the id.
    UnknownRoute = 404 "unknown_route" "There is no route of this id",
    /// The path has other methods.
    WrongMethod = 405 "method_not_allowed" "The method is not allowed here",
    /// The request did not arrive in time.
    Timeout = 408 "request_timeout" "The request took too long to arrive",
    /// The id belongs to another app.
    InstanceOfOtherApp = 409 "instance_of_other_app" "The instance belongs to another app",
    /// The domain is registered with other values.
    DomainTaken = 409 "domain_taken" "The domain is registered differently",
    /// A newer registration has replaced this one.
    StaleGeneration = 409 "stale_generation" "A newer registration exists",
    /// Domains refer to the app.
    AppHasDomains = 409 "app_has_domains" "The app still has domains",
    /// The domain's certificate was not uploaded.
    NotProvided = 409 "certificate_not_provided" "The certificate is not an uploaded one",
    /// The process was started without certificates.
    NoCertificates = 409 "certificates_off" "Certificates are not managed here",
    /// The process was started without a cache.
    CacheOff = 409 "cache_off" "There is no cache here",
    /// The configuration of another owner is on trial.
    OnTrial = 409 "configuration_on_trial" "A configuration is on trial",
    /// The resource belongs to another owner.
    NotOwned = 409 "not_owned" "The resource belongs to another owner",
    /// A host or an id belongs to another owner.
    Claimed = 409 "claimed" "A host or an id belongs to another owner",
    /// There is no such policy.
    UnknownPolicy = 404 "unknown_policy" "There is no policy of this id",
    /// A limit is reached.
    LimitReached = 409 "limit_reached" "A limit is reached",
    /// Hosts, ids or references of a configuration belong to another owner.
    ConfigClaims = 409 "config_claims" "The configuration conflicts with another owner's",
    /// A rule of the operator forbids it.
    ConfigGovernance = 409 "config_governance" "The configuration breaks a rule of the operator",
    /// It doubles or halves.
    ConfigSize = 409 "config_size" "The configuration changes its size too much",
    /// The owner's configuration comes from elsewhere.
    ConfigNotReplaceable = 409 "config_not_replaceable" "This owner's configuration is not replaced by requests",
    /// The process was started without a file.
    NoConfigFile = 409 "no_config_file" "There is no configuration file",
    /// The canary is not braked.
    NotBraked = 409 "not_braked" "The canary is not braked",
    /// The canary is braked.
    CanaryBraked = 409 "canary_braked" "The canary is braked",
    /// The canary steps by its plan.
    CanarySteps = 409 "canary_steps" "The canary steps by its plan",
    /// The route has no canary.
    UnknownCanary = 404 "unknown_canary" "There is no canary of this route",
    /// The route's authentication takes no such credential.
    NotCheckable = 409 "not_checkable" "The route cannot check this credential",
    /// No change is on trial.
    NoTrial = 409 "no_trial" "No configuration is on trial",
    /// The owner's configuration is not the one that the client saw.
    StaleVersion = 412 "stale_version" "The owner's configuration has changed",
    /// A configuration has changed since the plan was made.
    PlanOutdated = 412 "plan_outdated" "The plan is outdated",
    /// The configuration is not the one that the client saw.
    RevisionMismatch = 412 "revision_mismatch" "The configuration has changed",
    /// The body is too long.
    TooLarge = 413 "body_too_large" "The body is too large",
    /// The target is too long.
    UriTooLong = 414 "uri_too_long" "The request target is too long",
    /// The media type is not JSON.
    NotJson = 415 "unsupported_media_type" "The body must be application/json",
    /// The client expects something other than 100-continue.
    Expectation = 417 "expectation_failed" "The expectation cannot be met",
    /// The request is for another host.
    Misdirected = 421 "misdirected_request" "This host name is not served here",
    /// Documents have mistakes.
    ConfigInvalid = 422 "config_invalid" "The configuration has mistakes",
    /// Fields are missing, unknown, mistyped or out of range.
    Invalid = 422 "invalid_request" "The request has errors",
    /// Chain or key are not usable.
    BadCertificate = 422 "certificate_unusable" "The certificate cannot be used",
    /// The key was used with another request.
    KeyReused = 422 "idempotency_key_reused" "The idempotency key belongs to another request",
    /// The head is too long.
    HeadTooLarge = 431 "head_too_large" "The request head is too large",
    /// The request failed for a reason in the log.
    ConfigFailed = 500 "config_failed" "The request failed unexpectedly",
    /// The method is unknown.
    UnknownMethod = 501 "method_unknown" "The method or the transfer coding is not implemented",
    /// Too many changes wait.
    Busy = 503 "busy" "Too many changes wait",
    /// The store refused the change.
    Storage = 503 "storage_unavailable" "The change could not be stored",
    /// The process is shutting down.
    ShuttingDown = 503 "shutting_down" "The process is shutting down",
    /// Too many connections.
    Crowded = 503 "too_many_connections" "Too many connections to the admin API",
    /// Too many requests wait for a state.
    TooManyWaits = 503 "too_many_waits" "Too many requests wait for a state",
    /// The state was not reached in time.
    NotReached = 504 "state_not_reached" "The state was not reached in time",
    /// The outcome of the change is unknown.
    Unconfirmed = 504 "unconfirmed" "The change may or may not take effect",
    /// Another version of HTTP.
    Version = 505 "version_not_supported" "The HTTP version is not supported",
}

/// Body of an error response.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ProblemBody<'a> {
    /// Identifies the kind of problem (RFC 9457 §3.1.1).
    #[serde(rename = "type")]
    #[schema(examples("urn:ringway:problem:invalid_request"))]
    kind: String,
    /// The kind for people.
    title: &'a str,
    /// The status code.
    status: u16,
    /// The kind for programs: the last part of `type`.
    #[schema(examples("invalid_request"))]
    code: &'a str,
    /// Description of the case and its remedy.
    detail: &'a str,
    /// Id of the request, also in `X-Request-ID` and in the log.
    instance: &'a str,
    /// All mistakes of the request.
    #[serde(skip_serializing_if = "<[Finding]>::is_empty")]
    errors: &'a [Finding],
    /// Mistakes and warnings about a configuration.
    #[serde(skip_serializing_if = "<[ConfigFinding]>::is_empty")]
    findings: &'a [ConfigFinding],
}

impl Problem {
    /// Creates a problem with a detail.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let retry_after_seconds = match kind {
            Kind::Busy | Kind::Crowded | Kind::TooManyWaits => Some(1),
            Kind::Storage | Kind::ShuttingDown => Some(5),
            _ => None,
        };
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            findings: Vec::new(),
            version: None,
            revision: None,
            retry_after_seconds,
        }
    }

    /// Creates the problem of a request with these mistakes.
    pub(crate) fn findings(errors: Vec<Finding>) -> Self {
        let kind = match errors.iter().any(|finding| finding.code == "conflict") {
            true => Kind::Conflicting,
            false => Kind::Invalid,
        };
        let detail = match errors.as_slice() {
            [one] => format!("{} {}", one.field, one.message),
            many => format!("{} errors; see errors", many.len()),
        };
        Self { errors, ..Self::new(kind, detail) }
    }

    /// Creates the problem of a refused configuration. `is_yaml`: whether its lines are those of the client's
    /// text.
    pub(crate) fn of_configuration(error: ConfigError, is_yaml: bool) -> Self {
        let detail = error.to_string();
        match error {
            ConfigError::Refused { step, findings } => {
                let kind = match step {
                    Step::Reading => Kind::ConfigInvalid,
                    Step::Claims => Kind::ConfigClaims,
                    Step::Governance => Kind::ConfigGovernance,
                    Step::Size => Kind::ConfigSize,
                };
                Self { findings: config_findings(&findings, is_yaml), ..Self::new(kind, detail) }
            }
            ConfigError::Stale { current, .. } => {
                let version = current.map(|current| current.to_string());
                Self { version, ..Self::new(Kind::StaleVersion, detail) }
            }
            ConfigError::PlanOutdated => Self::new(Kind::PlanOutdated, detail),
            ConfigError::UnknownVersion { .. } => Self::new(Kind::UnknownVersion, detail),
            ConfigError::NotReplaceable(_) => Self::new(Kind::ConfigNotReplaceable, detail),
            ConfigError::NoFile => Self::new(Kind::NoConfigFile, detail),
            ConfigError::UnknownRoute(_) => Self::new(Kind::UnknownRoute, detail),
            ConfigError::NotCheckable { .. } => Self::new(Kind::NotCheckable, detail),
            ConfigError::Busy => Self::new(Kind::Busy, detail),
            ConfigError::ControlPlane(refusal) => refusal.into(),
            // Of an error that is newer than this crate, too, the log has the reason.
            ConfigError::Failed | _ => Self::new(Kind::ConfigFailed, detail),
        }
    }

    /// Serialises the body.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let body = ProblemBody {
            kind: type_of(self.kind),
            title: self.kind.title(),
            status: self.kind.status(),
            code: self.kind.code(),
            detail: &self.detail,
            instance: request_id,
            errors: &self.errors,
            findings: &self.findings,
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// The identifier of a kind of problem.
pub(crate) fn type_of(kind: Kind) -> String {
    format!("urn:ringway:problem:{}", kind.code())
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        let detail = match error {
            DocumentError::Syntax { reason, at: Some(at) } => {
                format!("the body is not JSON: {reason}, at or before byte {at}")
            }
            DocumentError::Syntax { reason, at: None } => format!("the body is not JSON: {reason}"),
            DocumentError::NotAnObject(found) => format!("the body must be a JSON object, not {found}"),
            DocumentError::TooDeep => "the body is nested too deeply".to_owned(),
            DocumentError::TooManyValues => "the body has too many values".to_owned(),
            DocumentError::Duplicates(reports) => {
                let detail = "a name occurs more than once in an object";
                let errors = reports.into_iter().map(Into::into).collect();
                return Self { errors, ..Self::new(Kind::BadDocument, detail) };
            }
        };
        Self::new(Kind::BadDocument, detail)
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let kind = match rejection {
            Rejection::UnknownApp(_) => Kind::UnknownApp,
            Rejection::UnknownInstance(_) | Rejection::Deregistered { .. } => Kind::UnknownInstance,
            Rejection::UnknownDomain(_) => Kind::UnknownDomain,
            Rejection::UnknownWebhook(_) => Kind::UnknownWebhook,
            Rejection::InstanceOfOtherApp(..) => Kind::InstanceOfOtherApp,
            Rejection::DomainTaken(..) => Kind::DomainTaken,
            Rejection::StaleGeneration { .. } => Kind::StaleGeneration,
            Rejection::AppHasDomains(..) => Kind::AppHasDomains,
            Rejection::Full { .. } => Kind::LimitReached,
            Rejection::NotOwned { .. } => Kind::NotOwned,
            Rejection::HostClaimed { .. } | Rejection::HostReserved { .. } | Rejection::Conflicts(_) => {
                Kind::Claimed
            }
            Rejection::UnknownPolicy(_) => Kind::UnknownPolicy,
            Rejection::StaleVersion { .. } => Kind::RevisionMismatch,
        };
        let detail = match kind {
            Kind::NotOwned | Kind::Claimed => {
                format!("{rejection}; registrations change what belongs to owner api")
            }
            _ => rejection.to_string(),
        };
        Self::new(kind, detail)
    }
}

impl From<UploadError> for Problem {
    /// No variant of an upload's error, and so no detail, repeats anything of a key.
    fn from(error: UploadError) -> Self {
        let kind = match error {
            UploadError::UnknownDomain => Kind::UnknownDomain,
            UploadError::NotProvided => Kind::NotProvided,
            UploadError::Busy => Kind::Busy,
            UploadError::NotStored(_) => Kind::Storage,
            UploadError::NotLive(_) => Kind::Unconfirmed,
            // Variants newer than this crate are mapped to the certificate, as most variants are about it.
            _ => Kind::BadCertificate,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(rejection) => rejection.into(),
            Refusal::RevisionMismatch { current } => {
                let detail =
                    format!("the configuration is at revision {current}; read it again before the change");
                Self { revision: Some(current), ..Self::new(Kind::RevisionMismatch, detail) }
            }
            Refusal::IdempotencyConflict => Self::new(
                Kind::KeyReused,
                "this Idempotency-Key was used with another request; use a new key for a new request",
            ),
            Refusal::Busy { retry_after } => Self {
                retry_after_seconds: Some(retry_after.as_secs().max(1)),
                ..Self::new(Kind::Busy, "too many changes wait to be applied; try again")
            },
            Refusal::Storage(failure) => {
                let why = ringway_control::with_causes(&failure);
                Self::new(
                    Kind::Storage,
                    format!("the store refused the change, and nothing was changed: {why}"),
                )
            }
            Refusal::OnTrial { .. } => Self::new(Kind::OnTrial, refusal.to_string()),
            Refusal::ShuttingDown => Self::new(Kind::ShuttingDown, "the process is shutting down"),
            // After a refusal that is newer than this crate, too, the outcome of the change is unknown.
            Refusal::Unconfirmed | _ => Self::new(
                Kind::Unconfirmed,
                "no result in time; check the configuration before you try again",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let codes: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| (400..600).contains(&kind.status())));
    }
}
