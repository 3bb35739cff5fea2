//! `ringway auth`: checks credentials by the authentication of routes.
//!
//! A credential comes from a file or standard input, never from an argument: other users of the machine see
//! the arguments of all processes, and shells keep them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::json;

use super::failure::EXIT_DIFFERS;
use super::text::{Style, Tone, escape};
use super::{ApiArgs, Failure, Output, object, parse, print};

#[derive(Debug, clap::Args)]
pub(crate) struct AuthArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuthCommand {
    /// Check a credential by the authentication of a route
    ///
    /// Reads a token, the key of a client, or name:password from standard input or a file, and shows what the
    /// route's stage auth says about it: the verdict with its reason, the claims, and the header fields that
    /// an endpoint would get. The credential is never an argument, and ringway neither logs nor keeps it; the
    /// audit log gets a line that a check was made. Needs a token of the admin API with scope admin.
    ///
    /// Exit codes: 0 the route admits it; 5 it does not, or a service decides; others as below.
    #[command(after_long_help = CHECK_EXAMPLES)]
    Check {
        /// Id of the route
        #[arg(long, value_name = "ROUTE")]
        route: String,
        /// Kind of the credential: token, api_key or password [default: that of the route's first method]
        #[arg(long, value_name = "KIND", value_parser = ["token", "api_key", "password"])]
        kind: Option<String>,
        /// File with the credential; - is standard input
        #[arg(long, value_name = "PATH", default_value = "-")]
        file: PathBuf,
    },
}

const CHECK_EXAMPLES: &str = "\
Examples:
  ringway auth check --route api < token.txt
  pbpaste | ringway auth check --route api
  ringway auth check --route api --kind api_key --file /run/secrets/key";

/// 64 KiB: a file that is larger is another one.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Verdict of the API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CheckView {
    verdict: String,
    status: Option<u16>,
    reason: Option<String>,
    message: Option<String>,
    kind: String,
    place: String,
    user: Option<String>,
    claims: BTreeMap<String, String>,
    is_verified: bool,
    methods: Vec<MethodView>,
    request: FieldChangesView,
    sources: Vec<SourceView>,
}

/// Method of authentication.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MethodView {
    method: String,
    place: String,
    outcome: String,
    reason: Option<String>,
}

/// Changes of header fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FieldChangesView {
    removed: Vec<String>,
    added: Vec<FieldView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FieldView {
    name: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SourceView {
    name: String,
    entries: Option<u64>,
}

impl AuthArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let AuthCommand::Check { route, kind, file } = self.command;
        let credential = read(&file)?;
        let api = self.api.open()?;
        let body = object([
            ("route", Some(json!(route))),
            ("token", Some(json!(credential))),
            ("kind", kind.map(|kind| json!(kind))),
        ]);
        let response = api.call(Method::Post, "/api/v2/auth/check", Some(&body))?;
        let view: CheckView = parse(&response)?;
        match api.output {
            Output::Json => api.print_json(&response.body)?,
            Output::Text => print(&view.text(&route, api.style))?,
        }
        if view.verdict == "admitted" { Ok(()) } else { Err(Failure::Reported(EXIT_DIFFERS)) }
    }
}

/// Reads a credential: all but the line break at its end.
fn read(file: &PathBuf) -> Result<String, Failure> {
    let is_stdin = file.as_os_str() == "-";
    let name = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let failed = |error| Failure::File { path: name.clone(), error };
    let mut bytes = Vec::new();
    match is_stdin {
        true => {
            if io::stdin().is_terminal() {
                eprintln!("Reads the credential from here; end it with Enter and Ctrl-D:");
            }
            io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?
        }
        false => File::open(file)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(failed)?,
    };
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("{name} is larger than {FILE_BYTES_MAX} bytes: no credential")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Failure::Usage(format!("{name} is not UTF-8")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        let remedy = "give the credential there, as in `ringway auth check --route ROUTE < token.txt`";
        return Err(Failure::Usage(format!("{name} is empty; {remedy}")));
    }
    Ok(text.to_owned())
}

impl CheckView {
    fn text(&self, route: &str, style: Style) -> String {
        let mut text = String::new();
        let tone = match self.verdict.as_str() {
            "admitted" => Tone::Good,
            "refused" => Tone::Bad,
            _ => Tone::Warning,
        };
        let _ = write!(text, "{} by route {}", style.paint(tone, &escape(&self.verdict)), escape(route));
        if let Some(status) = self.status {
            let _ = write!(text, ": {status}");
        }
        if let Some(reason) = &self.reason {
            let _ = write!(text, ", {}", style.paint(tone, &escape(reason)));
        }
        if let Some(message) = &self.message {
            let _ = write!(text, " ({})", escape(message));
        }
        let _ = writeln!(text, "\n{} in {}", escape(&self.kind), escape(&self.place));
        if let Some(user) = self.user.as_deref().filter(|user| !user.is_empty()) {
            let _ = writeln!(text, "user {}", escape(user));
        }
        if self.methods.len() > 1 {
            for method in &self.methods {
                let _ = writeln!(text, "  {}", method.text());
            }
        }
        if !self.claims.is_empty() {
            let verified = if self.is_verified { "" } else { ", not verified" };
            let _ = writeln!(text, "claims{verified}:");
            for (name, value) in &self.claims {
                let _ = writeln!(text, "  {} = {}", escape(name), escape(value));
            }
        }
        if self.verdict == "admitted" {
            text.push_str(&self.request.text("endpoint gets ", "endpoint does not get "));
        }
        for source in &self.sources {
            let name = escape(&source.name);
            let _ = match source.entries {
                Some(entries) => writeln!(text, "{name}: {entries} loaded"),
                None => writeln!(text, "{}", style.paint(Tone::Warning, &format!("{name}: not loaded yet"))),
            };
        }
        text
    }
}

impl MethodView {
    /// `jwt in Authorization: Bearer: refuses (expired)`
    pub(super) fn text(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(" ({})", escape(reason))).unwrap_or_default();
        let outcome = self.outcome.replace('_', " ");
        format!("{} in {}: {}{reason}", escape(&self.method), escape(&self.place), escape(&outcome))
    }
}

impl FieldChangesView {
    /// Lines for the added fields, and one for those that are only removed.
    pub(super) fn text(&self, added: &str, removed: &str) -> String {
        /// Names of removed fields that are listed.
        const REMOVED_MAX: usize = 4;
        let mut text = String::new();
        for field in &self.added {
            let _ = writeln!(text, "{added}{}: {}", escape(&field.name), escape(&field.value));
        }
        let is_added = |name: &&String| self.added.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        let only: Vec<_> = self.removed.iter().filter(|name| !is_added(name)).collect();
        if !only.is_empty() {
            let names: Vec<_> = only.iter().take(REMOVED_MAX).map(|name| escape(name)).collect();
            let _ = write!(text, "{removed}{}", names.join(", "));
            if only.len() > REMOVED_MAX {
                let _ = write!(text, " and {} more", only.len() - REMOVED_MAX);
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
