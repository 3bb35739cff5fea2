//! Reasons why a request to the configuration thread has no effect.

use std::fmt;
use std::sync::Arc;

use ringway_config::Finding;
use ringway_middleware::CheckError;
use ringway_model::Owner;

use super::jobs::Unanswered;
use super::judge;
use crate::limits::{CONFIG_CHANGES_MAX, CONFIG_QUESTIONS_MAX, CONFIG_REQUEST_TIMEOUT};
use crate::submission::Refusal;

/// Reason why a request has no effect; for [`Refusal::Unconfirmed`] that is unknown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The documents were refused.
    Refused {
        /// Step that refused them.
        step: Step,
        /// Errors, and the warnings so far.
        findings: Vec<Finding>,
    },
    /// The owner's set is not at the required version.
    Stale {
        /// The owner.
        owner: Owner,
        /// Present version; `None` for an owner without a set.
        current: Option<Arc<str>>,
    },
    /// The plan is unknown, or a set has changed since it was made.
    PlanOutdated,
    /// The version is not kept.
    UnknownVersion {
        /// The owner.
        owner: Owner,
        /// The version; `None` for the one before the present one.
        version: Option<Arc<str>>,
    },
    /// The set of this owner is not replaced by requests.
    NotReplaceable(Owner),
    /// The process was started without a configuration file.
    NoFile,
    /// No operator's route has this id.
    UnknownRoute(Arc<str>),
    /// The route's authentication takes no such credential.
    NotCheckable {
        /// The route.
        route: Arc<str>,
        /// The reason.
        why: CheckError,
    },
    /// Too many changes wait, or too many questions.
    Busy,
    /// The control plane refused the change.
    ControlPlane(Refusal),
    /// The request panicked; the reason is in the log.
    Failed,
}

/// Step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reading the documents.
    Reading,
    /// Claims on hosts and ids of other owners, and references.
    Claims,
    /// The operator's rules.
    Governance,
    /// Guard against sets that double or halve.
    Size,
}

impl Step {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Claims => "claims",
            Self::Governance => "governance",
            Self::Size => "size",
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { step, findings } => {
                let subject = match step {
                    Step::Reading => "the configuration has mistakes",
                    Step::Claims => "the configuration conflicts with another owner's",
                    Step::Governance => "the configuration breaks a rule of the operator",
                    Step::Size => "the configuration changes its size too much",
                };
                write!(f, "{subject}")?;
                match judge::first_error(findings) {
                    Some(first) => write!(f, ": {first}"),
                    None => Ok(()),
                }
            }
            Self::Stale { owner, current: Some(current) } => {
                write!(f, "the set of {owner} is at version {current}; read it again before you change it")
            }
            Self::Stale { owner, current: None } => write!(f, "{owner} has no set yet"),
            Self::PlanOutdated => {
                f.write_str("the plan is unknown, or the configuration has changed since; make a new diff")
            }
            Self::UnknownVersion { owner, version: Some(version) } => {
                write!(f, "version {version} of {owner} is not kept; see the history")
            }
            Self::UnknownVersion { owner, version: None } => write!(f, "{owner} has no earlier version"),
            Self::NotReplaceable(owner) => {
                write!(f, "the set of {owner} is not replaced by requests; use owner admin")
            }
            Self::NoFile => f.write_str("started without a configuration file; start with --config PATH"),
            Self::UnknownRoute(route) => {
                write!(f, "no operator's route has the id {route}; `ringway config current` shows them")
            }
            Self::NotCheckable { route, why: CheckError::NoAuth } => write!(
                f,
                "route {route} has no stage auth that can decide; add one to its middleware, or name another route"
            ),
            Self::NotCheckable { route, why: CheckError::NoMethod } => {
                write!(
                    f,
                    "no method of route {route} can check this credential: it is of another kind, or a service or a \
                     client certificate decides"
                )
            }
            Self::NotCheckable { why: CheckError::Invalid, .. } => f.write_str(
                "the credential is empty, or has characters that no header field can have, such as a line break",
            ),
            Self::Busy => write!(
                f,
                "{CONFIG_CHANGES_MAX} changes of the configuration wait, or {CONFIG_QUESTIONS_MAX} questions about it; \
                 try again soon"
            ),
            Self::ControlPlane(refusal) => refusal.fmt(f),
            Self::Failed => f.write_str("the request failed unexpectedly; see the log"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ControlPlane(refusal) => refusal.source(),
            _ => None,
        }
    }
}

impl From<Unanswered> for ConfigError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Full => Self::Busy,
            Unanswered::TimedOut => {
                let seconds = CONFIG_REQUEST_TIMEOUT.as_secs();
                tracing::warn!(seconds, "configuration thread has not answered a request in time");
                Self::ControlPlane(Refusal::Unconfirmed)
            }
            Unanswered::Dropped => Self::Failed,
        }
    }
}

impl From<Refusal> for ConfigError {
    fn from(refusal: Refusal) -> Self {
        Self::ControlPlane(refusal)
    }
}
