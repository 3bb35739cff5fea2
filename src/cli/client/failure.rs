//! Why a command failed: what people read, and the exit code that scripts read.

use std::fmt;
use std::io;
use std::process::ExitCode;

use serde::Deserialize;

use super::address::Address;
use super::http::{Answer, HttpError};
use super::text::escape;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments contradict each other or the environment is wrong.
    Usage(String),
    /// The API did not answer.
    Unreachable {
        /// Where it should be.
        address: Address,
        /// What happened.
        error: HttpError,
    },
    /// It refused.
    Refused(Box<Refusal>),
    /// It answered with something else than its documents promise.
    Unexpected {
        /// The status.
        status: u16,
        /// What is wrong with the body.
        error: serde_json::Error,
    },
    /// A deploy did not come to its end.
    Deploy(String),
    /// What was asked for is not as it has to be, by what the API says.
    Conflict(String),
    /// What was named is not registered, by what the API says.
    NotFound(String),
    /// Another failure, and what became of what was begun.
    Noted(Box<Failure>, String),
    /// A file.
    File {
        /// Its path.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Standard output.
    Output(io::Error),
}

/// An error answer of the API (RFC 9457), or of whatever answered in its place.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Refusal {
    pub(super) status: u16,
    title: String,
    detail: String,
    code: String,
    /// The request's id, for the log.
    instance: String,
    errors: Vec<Finding>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Finding {
    field: String,
    message: String,
}

/// All went well.
pub(crate) const EXIT_OK: u8 = 0;
/// The API could not be reached, or failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The arguments are wrong, here or in the API's judgement.
pub(crate) const EXIT_USAGE: u8 = 2;
/// What was asked for is not registered.
pub(crate) const EXIT_NOT_FOUND: u8 = 3;
/// It is there already, belongs to somebody else, or has changed since.
pub(crate) const EXIT_CONFLICT: u8 = 4;

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 done; 1 the API could not be reached, or failed; 2 the arguments \
are wrong, here or in the API's judgement; 3 what was named is not registered; 4 conflict: it is registered \
differently, was replaced, or has changed since.";

impl Failure {
    /// What scripts see.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Deploy(_) => EXIT_FAILED,
            Self::Conflict(_) => EXIT_CONFLICT,
            Self::NotFound(_) => EXIT_NOT_FOUND,
            Self::Noted(failure, _) => failure.exit(),
            Self::Usage(_) => EXIT_USAGE,
            Self::Refused(refusal) => match refusal.status {
                400 | 413 | 414 | 422 => EXIT_USAGE,
                404 => EXIT_NOT_FOUND,
                409 | 412 => EXIT_CONFLICT,
                _ => EXIT_FAILED,
            },
            Self::Unreachable { .. } | Self::Unexpected { .. } | Self::File { .. } | Self::Output(_) => {
                EXIT_FAILED
            }
        }
    }

    /// With a note behind what it says, if there is any.
    pub(crate) fn with_note(self, note: &str) -> Self {
        if note.is_empty() { self } else { Self::Noted(Box::new(self), note.to_owned()) }
    }
}

/// The exit code of a command; says what went wrong.
pub(crate) fn conclude(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(failure) => {
            eprintln!("ringway: {failure}");
            ExitCode::from(failure.exit())
        }
    }
}

impl Refusal {
    /// From an answer that is no success.
    pub(crate) fn of(answer: &Answer) -> Self {
        let mut refusal: Self = serde_json::from_slice(&answer.body).unwrap_or_default();
        refusal.status = answer.status;
        if refusal.title.is_empty() {
            refusal.title = ringway_wire::message::reason_phrase(answer.status).to_owned();
        }
        refusal
    }

    /// An app that has no webhook, or had none.
    pub(crate) fn is_unknown_webhook(&self) -> bool {
        self.status == 404 && self.code == "unknown_webhook"
    }

    /// What to do about it, where that is the same for every request.
    fn advice(&self) -> Option<&'static str> {
        match self.status {
            401 => Some("give the API's token with PROXY_API_TOKEN, PROXY_API_TOKEN_FILE or --token-file"),
            // Every refusal of the API has a code.
            404 | 405 if self.code.is_empty() => {
                Some("this does not look like ringway's admin API; is --api right?")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", escape(&self.title), self.status)?;
        // The detail of a single finding is the finding; of several, their number.
        if !self.detail.is_empty() && self.errors.is_empty() {
            write!(f, ": {}", escape(&self.detail))?;
        }
        for finding in &self.errors {
            write!(f, "\n  {} {}", escape(&finding.field), escape(&finding.message))?;
        }
        if let Some(advice) = self.advice() {
            write!(f, "\n  {advice}")?;
        }
        if self.status >= 500 && !self.instance.is_empty() {
            write!(f, "\n  request id {}, see the log", escape(&self.instance))?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Deploy(text) | Self::Conflict(text) | Self::NotFound(text) => {
                let lines: Vec<String> = text.lines().map(escape).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Noted(failure, note) => write!(f, "{failure}{note}"),
            Self::Unreachable { address, error } => {
                write!(f, "no answer from the admin API at {address}: {error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                write!(f, "\n  {}", advice(error))
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unexpected { status, error } => {
                write!(
                    f,
                    "the answer ({status}) is not one of ringway's admin API: {error}\n  is --api right?"
                )
            }
            Self::File { path, error } => write!(f, "{}: {error}", escape(path)),
            Self::Output(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What helps when the API does not answer.
fn advice(error: &HttpError) -> &'static str {
    match error {
        HttpError::Resolve(_) | HttpError::Connect(_) => {
            "is ringway running? Start it with `ringway`, try it with `ringway demo`, or say where its API is with \
             --api, RINGWAY_API or PROXY_API_PORT"
        }
        HttpError::TimedOut(_) => "it is busy or unreachable; --timeout waits longer",
        HttpError::Broken(_) | HttpError::Cut => "was ringway stopped meanwhile? Look at its log",
        HttpError::Head(_) | HttpError::Body(_) | HttpError::TooLarge => "is --api right?",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(status: u16, body: &str) -> Failure {
        Failure::Refused(Box::new(Refusal::of(&Answer { status, body: body.as_bytes().to_vec() })))
    }

    #[test]
    fn every_finding_has_its_line() {
        let failure = refusal(
            422,
            r#"{"title":"The request has errors","status":422,"code":"invalid_request","detail":"2 errors; see errors",
                "errors":[{"field":"app_id","code":"missing","message":"is required"},
                          {"field":"instance.target","code":"invalid","message":"must begin with http://"}]}"#,
        );
        assert_eq!(
            failure.to_string(),
            "The request has errors (422)\n  app_id is required\n  instance.target must begin with http://"
        );
        assert_eq!(failure.exit(), EXIT_USAGE);
    }

    #[test]
    fn a_refusal_without_findings_tells_its_detail() {
        let failure = refusal(
            404,
            r#"{"title":"The domain is not registered","code":"unknown_domain","detail":"nobody.test is not registered"}"#,
        );
        assert_eq!(failure.to_string(), "The domain is not registered (404): nobody.test is not registered");
        assert_eq!(failure.exit(), EXIT_NOT_FOUND);
    }

    #[test]
    fn exit_codes_follow_the_status() {
        for (status, exit) in [(400, 2), (401, 1), (404, 3), (409, 4), (412, 4), (422, 2), (500, 1), (503, 1)]
        {
            assert_eq!(refusal(status, "{}").exit(), exit, "{status}");
        }
    }

    #[test]
    fn a_failure_of_the_server_names_the_request_for_the_log() {
        let text = refusal(503, r#"{"title":"The change could not be stored","code":"storage_unavailable","detail":"see the log","instance":"0197-abc"}"#).to_string();
        assert!(text.contains("0197-abc"), "{text}");
    }

    #[test]
    fn whatever_else_answers_is_told_apart() {
        for body in ["<html>not found</html>", "", "[]", "{\"errors\":7}"] {
            let text = refusal(404, body).to_string();
            assert!(text.starts_with("Not Found (404)") && text.contains("--api"), "{body}: {text}");
        }
    }

    #[test]
    fn a_refusal_cannot_speak_to_the_terminal() {
        let text =
            refusal(409, r#"{"title":"taken","code":"x","detail":"\u001b[2Jgone","errors":[]}"#).to_string();
        assert_eq!(text, "taken (409): \\u{1b}[2Jgone");
    }

    #[test]
    fn nobody_there_says_what_to_do() {
        let failure = Failure::Unreachable {
            address: "127.0.0.1:8080".parse().unwrap(),
            error: HttpError::Connect(io::ErrorKind::ConnectionRefused.into()),
        };
        let text = failure.to_string();
        assert!(
            text.contains("127.0.0.1:8080") && text.contains("--api") && text.contains("is ringway running?"),
            "{text}"
        );
        assert_eq!(failure.exit(), EXIT_FAILED);
    }
}
