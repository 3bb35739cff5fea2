//! Origins of values, and the problems and warnings about them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ringway_config::{Finding, Place, Severity};

use super::access::AccessProblem;
use super::parse::ValueError;
use super::setting::{Setting, Variable};
use super::tls::Conflict;

/// Origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag, without its dashes.
    Flag(&'static str),
    /// A name in the environment.
    Environment(Variable),
    /// A key of the configuration.
    File {
        /// Its path.
        path: Box<str>,
        place: Place,
    },
    /// None of them.
    Default,
}

/// Setting as it is in force.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) setting: &'static Setting,
    /// In the notation of the operator; not the value of a secret.
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A value as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The text of the value.
    Shown(String),
    /// Value of a secret.
    Hidden,
    /// No value.
    Absent,
    /// Invalid; [`Problem`] has the reason.
    Invalid,
}

/// Error in the settings; the process does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Invalid value.
    Value {
        name: &'static str,
        origin: Origin,
        /// Given text; absent when it is secret.
        given: Option<String>,
        error: ValueError,
    },
    /// Two listeners would take the same port.
    Overlap { one: String, other: String, address: SocketAddr },
    /// The admin API would be open to the network.
    OpenApi(SocketAddr),
    /// Unusable token.
    Token { origin: Origin, error: TokenProblem },
    /// Two tokens were given.
    TwoTokens,
    /// Contradiction or unusable file of the admin API's access control.
    Access(AccessProblem),
    /// No directory for the store.
    NoStateDirectory,
    /// Contradictory settings of certificates.
    Conflict(Conflict),
    /// HTTPS only, without TLS.
    HttpsOnlyWithoutTls,
    /// Error about a group of values of the configuration.
    Configuration { place: Place, path: String, error: ConfigurationProblem },
    /// Two configurations were given.
    TwoConfigurations,
    /// Mistake in the configuration, or its files cannot be read.
    Finding(String),
}

/// Error about values of the configuration that are valid by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigurationProblem {
    /// A listener without an address.
    NoAddress,
    /// TLS settings of a listener without TLS.
    TlsOfHttp,
    /// HTTPS with TLS disabled.
    HttpsWithoutTls,
    /// Another default certificate than the process has.
    SecondCertificate,
    /// A certificate without its key, or a key without its certificate.
    HalfPair,
    /// A mode of a listener with TLS.
    ModeOfHttps,
    /// Lowest TLS version of one listener, which is not that of the process.
    TlsVersion,
    /// `file` without its path.
    NoLogFile,
    /// A port beside an address with another one.
    TwoPorts,
}

/// Error about the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenProblem {
    /// Unreadable file.
    File(PathBuf, std::io::ErrorKind),
    /// Invalid token.
    Text(ringway_api::TokenError),
}

/// Setting that is probably a mistake; the process starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// Name of another release that has no effect.
    Later(&'static str),
    /// Unknown name with one of our prefixes.
    Unknown { name: String, nearest: Option<String> },
    /// Two names of one setting with different values; the second one is used.
    Shadowed { name: String, by: String },
    /// Variable that Kubernetes sets for a service named `proxy` or `ringway`.
    ServiceLink(Variable),
    /// Invalid value of a name that platforms use too; the default is used.
    Generic { name: Variable, own: Variable, given: Option<String>, error: ValueError },
    /// Health check interval shorter than the timeout.
    TimeoutCut,
    /// Certificate of the admin API that no address uses.
    ApiCertificateUnused,
    /// The admin API listens elsewhere, because a listener of the configuration takes its default port.
    ApiMoved { listener: String, to: SocketAddr },
    /// Finding about the configuration.
    Finding(String),
    /// Mistake in a configuration in whose place the last good one is used.
    BadConfiguration(String),
}

/// Characters of a value that a message shows.
const GIVEN_CHARS_MAX: usize = 64;

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Environment(name) => name.fmt(f),
            Self::File { place, .. } => write!(f, "{}:{}", place.file, place.line),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Beginning of a given value.
fn cut(given: &str) -> String {
    given.chars().take(GIVEN_CHARS_MAX).collect()
}

impl fmt::Display for ConfigurationProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAddress => "must have an address, as in `address: \":8080\"`",
            Self::TlsOfHttp => "has TLS settings but no TLS; say `protocol: https`, or remove `tls`",
            Self::HttpsWithoutTls => "is false, but the protocol is https; keep one of them",
            Self::SecondCertificate => {
                "differs from the certificate of the other listeners: one default certificate serves all of them; \
                 upload certificates of single domains by the admin API"
            }
            Self::HalfPair => "must have both `cert` and `key`",
            Self::ModeOfHttps => "is for listeners without TLS; remove it",
            Self::TlsVersion => {
                "cannot be set for one listener; `server.tls.min_version` sets it for all listeners"
            }
            Self::NoLogFile => "is `file`, but `logging.file.path` is not given",
            Self::TwoPorts => "contradicts the port of `metrics.address`; keep one of them",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown(text) => f.write_str(text),
            Self::Hidden => f.write_str("(set, not shown)"),
            Self::Absent => f.write_str("-"),
            Self::Invalid => f.write_str("(wrong)"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { name, origin, given, error } => {
                match (origin, given) {
                    (Origin::File { path, place }, given) => {
                        write!(f, "{place}: {path} {error}")?;
                        return match given {
                            Some(given) => write!(f, "; it is {:?}", cut(given)),
                            None => Ok(()),
                        };
                    }
                    (Origin::Flag(flag), Some(given)) => write!(f, "--{flag} {given:?} ({name})")?,
                    (Origin::Flag(flag), None) => write!(f, "--{flag} ({name})")?,
                    (Origin::Environment(from), Some(given)) => write!(f, "{from}={given:?}")?,
                    (Origin::Environment(from), None) => from.fmt(f)?,
                    (Origin::Default, _) => f.write_str(name)?,
                }
                match origin {
                    Origin::Environment(Variable::Documented(from)) if from != name => {
                        write!(f, " (for {name}): {error}")
                    }
                    _ => write!(f, ": {error}"),
                }
            }
            Self::Overlap { one, other, address } => {
                write!(f, "{one} and {other} both take {address}; give one of them another port")
            }
            Self::OpenApi(address) => write!(
                f,
                "PROXY_API_BIND: the admin API would be open to the network on {address} without a token; \
                 set PROXY_API_TOKEN, PROXY_API_TOKEN_FILE, PROXY_API_TOKENS_FILE or PROXY_API_CLIENT_CA, or bind it to 127.0.0.1"
            ),
            Self::Token { origin, error: TokenProblem::File(path, kind) } => {
                write!(f, "{origin}: cannot read the token from {}: {kind}", path.display())
            }
            Self::Token { origin, error: TokenProblem::Text(error) } => write!(f, "{origin}: {error}"),
            Self::TwoTokens => f.write_str(
                "PROXY_API_TOKEN and PROXY_API_TOKEN_FILE are both given; keep one of them",
            ),
            Self::Access(problem) => problem.fmt(f),
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::Configuration { place, path, error } => write!(f, "{place}: {path} {error}"),
            Self::Finding(finding) => f.write_str(finding),
            Self::TwoConfigurations => f.write_str(
                "PROXY_CONFIG and PROXY_STATIC_CONFIG are both given; keep one of them: a configuration may have \
                 settings of the process too",
            ),
            Self::HttpsOnlyWithoutTls => f.write_str(
                "PROXY_HTTP_MODE=https_only: there is no certificate to serve TLS with; give PROXY_TLS_CERT and PROXY_TLS_KEY, or \
                 ACME_EMAIL, or open PROXY_HTTPS_PORT for certificates that are uploaded",
            ),
            Self::NoStateDirectory => f.write_str(
                "PROXY_DB_PATH: there is no directory for the store, because HOME is not set and /var/lib/ringway is \
                 not writable; give --db-path, or --storage memory to keep nothing",
            ),
        }
    }
}

impl Problem {
    /// The problem as a finding about a configuration that is checked by itself; `None` for what depends on
    /// flags and environment only.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let (severity, place, pointer, message) = match self {
            Self::Value { origin: Origin::File { path, place }, given, error, .. } => {
                let given = given.as_ref().map(|given| format!("; it is {:?}", cut(given)));
                let message = format!("{error}{}", given.unwrap_or_default());
                (Severity::Error, Some(place.clone()), path.to_string(), message)
            }
            Self::Configuration { place, path, error } => {
                (Severity::Error, Some(place.clone()), path.clone(), error.to_string())
            }
            Self::Overlap { .. } | Self::Conflict(_) => {
                (Severity::Error, None, String::new(), self.to_string())
            }
            // Files, tokens and certificates may be elsewhere, or come by the environment.
            Self::OpenApi(_) | Self::Access(_) | Self::HttpsOnlyWithoutTls => {
                (Severity::Warning, None, String::new(), self.to_string())
            }
            Self::Value { .. }
            | Self::Token { .. }
            | Self::TwoTokens
            | Self::NoStateDirectory
            | Self::TwoConfigurations
            | Self::Finding(_) => return None,
        };
        Some(Finding { severity, code: "setting", pointer, message, place })
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
            Self::Generic { name, own, given, error } => {
                name.fmt(f)?;
                if let Some(given) = given {
                    write!(f, "={:?}", cut(given))?;
                }
                write!(
                    f,
                    " is ignored and the default holds: it {error}. Other programs read this name too; only ringway reads {own}"
                )
            }
            Self::ServiceLink(name) => write!(
                f,
                "{name} is the address of a Kubernetes service and is ignored; set enableServiceLinks: false to remove it"
            ),
            Self::ApiMoved { listener, to } => write!(
                f,
                "the admin API listens on {to}, because {listener} takes its default port 8080; clients need \
                 `--api {to}` or RINGWAY_API={to}, and PROXY_API_PORT chooses another port"
            ),
            Self::Finding(finding) => f.write_str(finding),
            Self::BadConfiguration(finding) => {
                write!(f, "{finding}; the last good configuration is used")
            }
            Self::TimeoutCut => {
                f.write_str("HEALTH_CHECK_TIMEOUT is longer than HEALTH_CHECK_INTERVAL, which limits it")
            }
            Self::ApiCertificateUnused => f.write_str(
                "PROXY_API_CERT has no effect: the admin API listens on the loopback interface only, which has no TLS; see PROXY_API_BIND",
            ),
        }
    }
}
