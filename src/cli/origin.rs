//! Where a value came from, and what is wrong or odd about what was given.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::catalogue::{Setting, Variable};
use super::parse::Wrong;
use super::tls::Misfit;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag, without its dashes.
    Flag(&'static str),
    /// A name in the environment.
    Environment(Variable),
    /// Nobody decided.
    Default,
}

/// One setting as it is in force.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) setting: &'static Setting,
    /// As people write it; not the value of a secret.
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A value as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// This.
    Shown(String),
    /// There is one, and it is secret.
    Hidden,
    /// There is none.
    Absent,
    /// What was given is no value; [`Problem`] says why.
    Wrong,
}

/// Something that must be put right before the process can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A text is not a value of its setting.
    Value {
        name: &'static str,
        origin: Origin,
        /// As it was given; absent when it is secret.
        given: Option<String>,
        wrong: Wrong,
    },
    /// Two listeners would take the same port.
    Overlap { one: &'static str, other: &'static str, address: SocketAddr },
    /// The admin API would be open to the network.
    OpenApi(SocketAddr),
    /// The token cannot be used as one.
    Token { origin: Origin, error: TokenProblem },
    /// Two tokens were given.
    TwoTokens,
    /// No folder for the store is known.
    NoStatePlace,
    /// Settings about certificates do not fit together.
    Misfit(Misfit),
    /// TLS alone, and no TLS.
    HttpsOnlyWithoutTls,
}

/// Why there is no token though there should be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenProblem {
    /// Its file cannot be read.
    File(PathBuf, std::io::ErrorKind),
    /// It is none.
    Text(ringway_api::TokenError),
}

/// Something that does no harm and is probably not what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A name of documents or other releases that does nothing here.
    Later(&'static str),
    /// A name that looks like ours and is not.
    Unknown { name: String, nearest: Option<String> },
    /// Two names of one setting are given and say different things; the second counts.
    Shadowed { name: Variable, by: Variable },
    /// A variable that Kubernetes sets for a service that happens to be called `proxy` or `ringway`.
    ServiceLink(Variable),
    /// A wrong value behind a name that platforms use too; the default holds.
    Generic { name: Variable, own: Variable, given: Option<String>, wrong: Wrong },
    /// The intervals of health checks are shorter than their timeout.
    TimeoutCut,
}

/// Characters of an ignored value that a warning shows.
const GIVEN_CHARS_MAX: usize = 64;

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Environment(name) => name.fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown(text) => f.write_str(text),
            Self::Hidden => f.write_str("(set, not shown)"),
            Self::Absent => f.write_str("-"),
            Self::Wrong => f.write_str("(wrong)"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { name, origin, given, wrong } => {
                match (origin, given) {
                    (Origin::Flag(flag), Some(given)) => write!(f, "--{flag} {given:?} ({name})")?,
                    (Origin::Flag(flag), None) => write!(f, "--{flag} ({name})")?,
                    (Origin::Environment(from), Some(given)) => write!(f, "{from}={given:?}")?,
                    (Origin::Environment(from), None) => from.fmt(f)?,
                    (Origin::Default, _) => f.write_str(name)?,
                }
                match origin {
                    Origin::Environment(Variable::Documented(from)) if from != name => {
                        write!(f, " (for {name}): {wrong}")
                    }
                    _ => write!(f, ": {wrong}"),
                }
            }
            Self::Overlap { one, other, address } => {
                write!(f, "{one} and {other} both take {address}; give one of them another port")
            }
            Self::OpenApi(address) => write!(
                f,
                "PROXY_API_BIND: the admin API would be open to the network on {address} without a token; \
                 set PROXY_API_TOKEN or PROXY_API_TOKEN_FILE, or bind it to 127.0.0.1"
            ),
            Self::Token { origin, error: TokenProblem::File(path, kind) } => {
                write!(f, "{origin}: cannot read the token from {}: {kind}", path.display())
            }
            Self::Token { origin, error: TokenProblem::Text(error) } => write!(f, "{origin}: {error}"),
            Self::TwoTokens => f.write_str(
                "PROXY_API_TOKEN and PROXY_API_TOKEN_FILE are both given; keep one, so that it is clear which token counts",
            ),
            Self::Misfit(misfit) => misfit.fmt(f),
            Self::HttpsOnlyWithoutTls => f.write_str(
                "PROXY_HTTP_MODE=https_only: there is nothing to serve TLS with; give PROXY_TLS_CERT and PROXY_TLS_KEY, or \
                 ACME_EMAIL, or open PROXY_HTTPS_PORT for certificates that are uploaded",
            ),
            Self::NoStatePlace => f.write_str(
                "PROXY_DB_PATH: there is no folder for the store, because HOME is not set and /var/lib/ringway is not \
                 ours; give --db-path, or --storage memory to keep nothing",
            ),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(name) => write!(f, "{name} has no effect in this version of ringway"),
            Self::Unknown { name, nearest: Some(nearest) } => {
                write!(f, "{name} is not a setting of ringway and has no effect; was {nearest} meant?")
            }
            Self::Unknown { name, nearest: None } => {
                write!(f, "{name} is not a setting of ringway and has no effect; `ringway --help` lists them")
            }
            Self::Shadowed { name, by } => {
                write!(f, "{name} has no effect, because {by} is given too, with another value")
            }
            Self::Generic { name, own, given, wrong } => {
                name.fmt(f)?;
                if let Some(given) = given {
                    let shown: String = given.chars().take(GIVEN_CHARS_MAX).collect();
                    write!(f, "={shown:?}")?;
                }
                write!(
                    f,
                    " is ignored and the default holds: it {wrong}. Other programs read this name too; {own} is ringway's alone"
                )
            }
            Self::ServiceLink(name) => write!(
                f,
                "{name} is the address of a Kubernetes service and is ignored; set enableServiceLinks: false to be rid of it"
            ),
            Self::TimeoutCut => {
                f.write_str("HEALTH_CHECK_TIMEOUT is longer than HEALTH_CHECK_INTERVAL, which cuts it")
            }
        }
    }
}
