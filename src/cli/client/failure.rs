//! Errors of client commands: messages and exit codes.

use std::fmt;
use std::io;
use std::process::ExitCode;

use serde::Deserialize;

use super::address::Address;
use super::http::{HttpError, HttpResponse};
use super::text::escape;

/// Error of a client command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Contradictory arguments or an invalid environment.
    Usage(String),
    /// No response of the API.
    Unreachable {
        /// Address of the API.
        address: Address,
        /// Cause.
        error: HttpError,
    },
    /// Error response of the API.
    Refused(Box<ApiError>),
    /// Response that is not in the documented format.
    Unexpected {
        /// Status.
        status: u16,
        /// Error in the body.
        error: serde_json::Error,
    },
    /// Failed or interrupted deploy.
    Deploy(String),
    /// Wait that has reached its deadline.
    TimedOut(String),
    /// State of the API that does not permit the command.
    Conflict(String),
    /// Object that is not registered.
    NotFound(String),
    /// Another failure with a note, as about a rollback.
    Noted(Box<Failure>, String),
    /// Unreadable file.
    File {
        /// Path.
        path: String,
        /// Error of the system.
        error: io::Error,
    },
    /// Failed write to standard output.
    Output(io::Error),
    /// Result that is no success and was printed already; the exit code.
    Reported(u8),
}

/// Error response of the API (RFC 9457), or of another server at its address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ApiError {
    pub(super) status: u16,
    title: String,
    pub(super) detail: String,
    code: String,
    /// Request ID, to find it in the log.
    instance: String,
    errors: Vec<FieldError>,
    /// Findings about a configuration, as JSON.
    pub(super) findings: Vec<serde_json::Value>,
}

/// Invalid field of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FieldError {
    field: String,
    message: String,
}

/// Success.
pub(crate) const EXIT_OK: u8 = 0;
/// The API is unreachable or failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Invalid arguments, by the command or the API.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Not registered.
pub(crate) const EXIT_NOT_FOUND: u8 = 3;
/// Conflict: registered already, owned by another tenant or app, or changed meanwhile.
pub(crate) const EXIT_CONFLICT: u8 = 4;

/// Difference: the configuration would change something.
pub(crate) const EXIT_DIFFERS: u8 = 5;

/// Exit codes in `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 success; 1 the API is unreachable or failed; 2 invalid arguments, by \
the command or the API; 3 not registered; 4 conflict: it is registered differently, was replaced, or has changed \
meanwhile.";

/// Exit codes of `ringway config` in `--help`.
pub(crate) const CONFIG_EXIT_CODES: &str = "Exit codes: 0 success; 1 the API is unreachable or failed; 2 invalid \
arguments, or the configuration has mistakes; 3 unknown version; 4 conflict: another owner has a host or a name, or \
the configuration has changed meanwhile; 5 `diff`: something would change.";

impl Failure {
    /// Exit code.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Deploy(_) | Self::TimedOut(_) => EXIT_FAILED,
            Self::Conflict(_) => EXIT_CONFLICT,
            Self::NotFound(_) => EXIT_NOT_FOUND,
            Self::Noted(failure, _) => failure.exit(),
            Self::Reported(code) => *code,
            Self::Usage(_) => EXIT_USAGE,
            Self::Refused(error) => match error.status {
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

    /// Appends a note to the message, unless it is empty.
    pub(crate) fn with_note(self, note: &str) -> Self {
        if note.is_empty() { self } else { Self::Noted(Box::new(self), note.to_owned()) }
    }
}

/// Prints the error of a command, if any, and returns its exit code.
pub(crate) fn conclude(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(Failure::Reported(code)) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("ringway: {failure}");
            ExitCode::from(failure.exit())
        }
    }
}

impl ApiError {
    /// Parses an error response.
    pub(crate) fn of(response: &HttpResponse) -> Self {
        let mut error: Self = serde_json::from_slice(&response.body).unwrap_or_default();
        error.status = response.status;
        if error.title.is_empty() {
            error.title = ringway_wire::message::reason_phrase(response.status).to_owned();
        }
        error
    }

    /// Whether the app has no webhook.
    pub(crate) fn is_unknown_webhook(&self) -> bool {
        self.status == 404 && self.code == "unknown_webhook"
    }

    /// Remedy, where it is the same for every request.
    fn advice(&self) -> Option<&'static str> {
        match self.status {
            401 => Some("give the API's token with PROXY_API_TOKEN, PROXY_API_TOKEN_FILE or --token-file"),
            // Every error response of the API has a code.
            404 | 405 if self.code.is_empty() => Some(
                "this is not ringway's admin API; is --api right? (where a public listener takes port 8080, the API is at 127.0.0.1:9090)",
            ),
            _ => None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", escape(&self.title), self.status)?;
        // The detail repeats a single finding, or has the number of several.
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
            Self::Deploy(text) | Self::TimedOut(text) | Self::Conflict(text) | Self::NotFound(text) => {
                let lines: Vec<String> = text.lines().map(escape).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Noted(failure, note) => write!(f, "{failure}{note}"),
            Self::Unreachable { address, error } => {
                write!(f, "no response from the admin API at {address}: {error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                write!(f, "\n  {}", advice(error))
            }
            Self::Refused(error) => error.fmt(f),
            Self::Unexpected { status, error } => {
                write!(
                    f,
                    "the response ({status}) is not from ringway's admin API: {error}\n  is --api right?"
                )
            }
            Self::File { path, error } => write!(f, "{}: {error}", escape(path)),
            Self::Output(error) => write!(f, "cannot write: {error}"),
            Self::Reported(code) => write!(f, "exit code {code}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Remedy for a missing response.
fn advice(error: &HttpError) -> &'static str {
    match error {
        HttpError::Resolve(_) | HttpError::Connect(_) => {
            "is ringway running? Start it with `ringway`, try it with `ringway demo`, or set the address of its API with \
             --api, RINGWAY_API or PROXY_API_PORT"
        }
        HttpError::TimedOut(_) => "it is busy or unreachable; --timeout waits longer",
        HttpError::Broken(_) | HttpError::Cut => "was ringway stopped meanwhile? Style at its log",
        HttpError::Head(_) | HttpError::Body(_) | HttpError::TooLarge => "is --api right?",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error(status: u16, body: &str) -> Failure {
        Failure::Refused(Box::new(ApiError::of(&HttpResponse { status, body: body.as_bytes().to_vec() })))
    }

    #[test]
    fn every_invalid_field_has_its_line() {
        let failure = error(
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
    fn an_error_without_fields_shows_its_detail() {
        let failure = error(
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
            assert_eq!(error(status, "{}").exit(), exit, "{status}");
        }
    }

    #[test]
    fn a_server_error_shows_the_request_id() {
        let text = error(503, r#"{"title":"The change could not be stored","code":"storage_unavailable","detail":"see the log","instance":"0197-abc"}"#).to_string();
        assert!(text.contains("0197-abc"), "{text}");
    }

    #[test]
    fn responses_of_other_servers_are_recognised() {
        for body in ["<html>not found</html>", "", "[]", "{\"errors\":7}"] {
            let text = error(404, body).to_string();
            assert!(text.starts_with("Not Found (404)") && text.contains("--api"), "{body}: {text}");
        }
    }

    #[test]
    fn error_messages_are_escaped_for_the_terminal() {
        let text =
            error(409, r#"{"title":"taken","code":"x","detail":"\u001b[2Jgone","errors":[]}"#).to_string();
        assert_eq!(text, "taken (409): \\u{1b}[2Jgone");
    }

    #[test]
    fn an_unreachable_api_is_reported_with_remedies() {
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
