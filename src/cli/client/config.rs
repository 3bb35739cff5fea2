//! `ringway config`: checks, compares, applies and explains configurations.
//!
//! ```text
//! validate, schema                         here, without a server
//! diff, apply, rollback, rollout, explain  over the admin API, which reads the same documents
//! ```

mod documents;
mod explain;
mod findings;
mod views;

use std::io::{BufRead, IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ringway_config::Source;
use ringway_wire::message::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::explain::ExplainView;
use self::findings::FindingView;
use self::views::{
    CurrentView, DiffView, HistoryView, ReceiptView, RolloutView, SimulationView, VersionView,
};
use super::api::{Api, Output};
use super::connect::ApiArgs;
use super::failure::Failure;
use super::text::Style;
use super::{object, parse, positive, print, reason, target};

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Check a configuration, without a server
    ///
    /// Prints every mistake and warning with its file, line and column. With --live a running ringway checks
    /// it too: its claims on hosts, its rules, its size. Exit codes: 0 valid, perhaps with warnings; 2 it has
    /// mistakes.
    #[command(alias = "check", after_long_help = VALIDATE_EXAMPLES)]
    Validate {
        /// File, or folder of files; - is standard input
        path: PathBuf,
        /// Let the running ringway check it too
        #[arg(long)]
        live: bool,
    },
    /// Print the JSON Schema of configurations, for editors
    #[command(after_long_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Show what a configuration would change
    ///
    /// Exit codes: 0 nothing would change; 5 something would; others as below.
    #[command(after_long_help = DIFF_EXAMPLES)]
    Diff {
        /// File, or folder of files; - is standard input
        #[arg(required_unless_present = "between", conflicts_with = "between")]
        path: Option<PathBuf>,
        /// Compare two kept versions instead
        #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
        between: Option<Vec<String>>,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Apply a configuration
    ///
    /// Shows what would change and asks, unless --yes is given. The change is first tried on one core, and
    /// taken back when that fares worse than the others; see `ringway config rollout`.
    #[command(after_long_help = APPLY_EXAMPLES)]
    Apply {
        /// File, or folder of files; - is standard input
        #[arg(required_unless_present = "plan", conflicts_with = "plan")]
        path: Option<PathBuf>,
        /// Apply the plan that `ringway config diff` printed
        #[arg(long, value_name = "ID")]
        plan: Option<String>,
        /// Reason, for history and audit log
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        #[command(flatten)]
        set: SetArgs,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Put it on all cores at once
        #[arg(long, conflicts_with = "bake")]
        no_canary: bool,
        /// Time of the trial on one core [default: canary.bake of the configuration]
        #[arg(long, value_name = "TIME", value_parser = positive)]
        bake: Option<Duration>,
        /// Accept that the configuration doubles or halves
        #[arg(long)]
        force_size: bool,
        /// Only if this is the present version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<String>,
    },
    /// Show the configurations in force
    Current {
        /// Only that of this owner: file or admin
        #[arg(long)]
        owner: Option<String>,
    },
    /// List the kept versions, the newest first
    History {
        /// Only those of this owner: file or admin
        #[arg(long)]
        owner: Option<String>,
    },
    /// Show a kept version
    Show {
        /// Version, as `ringway config history` lists it
        version: String,
        /// Owner of the version
        #[arg(long, default_value = "admin")]
        owner: String,
    },
    /// Return to a kept version, on all cores at once
    Rollback {
        /// Version, as `ringway config history` lists it [default: the one before the present one]
        version: Option<String>,
        /// Reason, for history and audit log
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// Owner of the version
        #[arg(long, default_value = "admin")]
        owner: String,
    },
    /// Show, promote or abort the trial of a configuration
    Rollout {
        /// Action
        #[arg(value_enum, default_value_t = RolloutAction::Status)]
        action: RolloutAction,
    },
    /// Explain which route serves a request, why the others do not, and what its stages do
    ///
    /// Shows each stage of the route's middleware in order: ✓ passes, ✗ replies, ~ counts against a rate
    /// limit, ? is decided by what is not asked here (an external service, a password, the client's address
    /// without --client), - is not reached; and which header fields it sets and removes. Nothing is counted,
    /// and no request is sent.
    #[command(after_long_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// URL of the request
        url: String,
        /// Method
        #[arg(long, short = 'X', default_value = "GET")]
        method: String,
        /// Header field; repeatable
        #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
        headers: Vec<(String, String)>,
        /// File with header fields, one a line; - is standard input. For credentials: arguments are visible
        /// to other users of the machine
        #[arg(long = "headers", value_name = "PATH")]
        headers_file: Option<PathBuf>,
        /// Address of the client, for stages that judge it
        #[arg(long, value_name = "ADDRESS")]
        client: Option<IpAddr>,
        /// By this configuration in place of the one in force
        #[arg(long, value_name = "PATH")]
        with: Option<PathBuf>,
    },
    /// Route the latest requests by a configuration, and show which would be routed otherwise
    Simulate {
        /// File, or folder of files; - is standard input
        path: PathBuf,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Read the files of --config again
    Reload {
        /// Reason, for history and audit log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Accept that the configuration doubles or halves
        #[arg(long)]
        force_size: bool,
    },
}

/// Set that a configuration replaces.
#[derive(Debug, clap::Args)]
struct SetArgs {
    /// Owner of the set
    #[arg(long, default_value = "admin")]
    owner: String,
    /// Remove what the configuration leaves out too; by default absent sections stay as they are
    #[arg(long)]
    replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum RolloutAction {
    /// Show it
    Status,
    /// Put it on all cores now
    Promote,
    /// Take it back
    Abort,
}

const PATH: &str = "/api/v2/config";
const RELOAD_PATH: &str = "/admin/reload";

impl ConfigArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Self { api, command } = self;
        match command {
            ConfigCommand::Validate { path, live } => validate(&api, &path, live),
            ConfigCommand::Schema => print(&format!("{:#}\n", ringway_config::schema())),
            ConfigCommand::Diff { path, between, set } => diff(&api.open()?, path, between, &set),
            ConfigCommand::Apply {
                path,
                plan,
                reason,
                set,
                yes,
                no_canary,
                bake,
                force_size,
                if_version,
            } => {
                let canary = match (no_canary, bake) {
                    (true, _) => Some(json!(false)),
                    (false, Some(bake)) => Some(json!(format!("{}ms", bake.as_millis()))),
                    (false, None) => None,
                };
                let options = object([
                    ("reason", Some(json!(reason))),
                    ("canary", canary),
                    ("force_size", force_size.then_some(json!(true))),
                ]);
                apply(&api.open()?, (path, plan), &set, options, yes, if_version)
            }
            ConfigCommand::Current { owner } => {
                let path = target(&format!("{PATH}/current"), &of_owner(owner.as_deref()));
                api.open()?.show(Method::Get, &path, None, |view: CurrentView, style| view.text(style))
            }
            ConfigCommand::History { owner } => {
                let path = target(&format!("{PATH}/history"), &of_owner(owner.as_deref()));
                api.open()?.show(Method::Get, &path, None, |view: HistoryView, style| view.text(style))
            }
            ConfigCommand::Show { version, owner } => {
                let path = target(&format!("{PATH}/versions/{}", segment(&version)?), &[("owner", &owner)]);
                api.open()?.show(Method::Get, &path, None, |view: VersionView, style| view.text(style))
            }
            ConfigCommand::Rollback { version, reason, owner } => {
                let body = json!({ "version": version, "owner": owner, "reason": reason });
                send(&api.open()?, "rollback", &body, &[], |view: ReceiptView, style| view.text(style))
            }
            ConfigCommand::Rollout { action } => {
                let (method, path) = match action {
                    RolloutAction::Status => (Method::Get, format!("{PATH}/rollout")),
                    RolloutAction::Promote => (Method::Post, format!("{PATH}/rollout/promote")),
                    RolloutAction::Abort => (Method::Post, format!("{PATH}/rollout/abort")),
                };
                let body = (method == Method::Post).then(|| json!({}));
                let show = |view: RolloutView, style: Style| view.text(style);
                api.open()?.show(method, &path, body.as_ref(), show)
            }
            ConfigCommand::Explain { url, method, mut headers, headers_file, client, with } => {
                if let Some(path) = &headers_file {
                    headers.extend(documents::read_fields(path)?);
                }
                let sources = with.as_deref().map(documents::read).transpose()?;
                let body = object([
                    ("url", Some(json!(url))),
                    ("method", Some(json!(method))),
                    ("headers", Some(json!(headers))),
                    ("client", client.map(|client| json!(client))),
                    ("sources", sources.as_deref().map(documents::content)),
                ]);
                let sources = sources.unwrap_or_default();
                send(&api.open()?, "explain", &body, &sources, |view: ExplainView, style| view.text(style))
            }
            ConfigCommand::Simulate { path, set } => {
                let sources = documents::read(&path)?;
                let body = set.body([("sources", documents::content(&sources))]);
                send(&api.open()?, "simulate", &body, &sources, |view: SimulationView, style| {
                    view.text(style)
                })
            }
            ConfigCommand::Reload { reason, force_size } => {
                let body = json!({ "reason": reason, "force_size": force_size });
                let api = api.open()?;
                let response = api.call(Method::Post, RELOAD_PATH, Some(&body));
                answer(&api, response, &[], |view: ReceiptView, style| view.text(style))
            }
        }
    }
}

impl SetArgs {
    /// Body of a request about the set.
    fn body<'a>(&'a self, members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
        let own =
            [("owner", json!(self.owner)), ("mode", json!(if self.replace { "replace" } else { "merge" }))];
        Value::Object(own.into_iter().chain(members).map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// Checks documents here, and with `live` by a running ringway.
fn validate(api: &ApiArgs, path: &std::path::Path, live: bool) -> Result<(), Failure> {
    let sources = documents::read(path)?;
    let documents::Checked { mut findings, document } = documents::check(&sources);
    let mut version = None;
    if live && !findings.iter().any(FindingView::is_error) {
        let api = api.open()?;
        let body = json!({ "sources": documents::content(&sources), "owner": "admin" });
        let response = api.call(Method::Post, &format!("{PATH}/validate"), Some(&body))?;
        let live: LiveView = parse(&response)?;
        findings = live.findings;
        version = live.version;
    }
    let style = Style::of_stdout();
    let is_valid = !findings.iter().any(FindingView::is_error);
    if api.json {
        let value = json!({ "valid": is_valid, "version": version, "findings": findings });
        print(&format!("{value:#}\n"))?;
    } else {
        let mut text = findings::render(&findings, &sources, style);
        let counted = findings::counted(&findings);
        let name = super::text::escape(&path.display().to_string());
        text.push_str(&match (is_valid, counted.is_empty()) {
            (true, true) => format!("{name} is valid{}\n", facts(document.as_ref())),
            (true, false) => format!("{name} is valid, with {counted}{}\n", facts(document.as_ref())),
            (false, _) => format!("{name} has {counted}\n"),
        });
        print(&text)?;
    }
    if is_valid { Ok(()) } else { Err(Failure::Reported(super::failure::EXIT_USAGE)) }
}

/// Size of a document, in brackets.
fn facts(document: Option<&ringway_config::Document>) -> String {
    let Some(document) = document else { return String::new() };
    let set = &document.set;
    let count = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    let policies = match set.policies.len() {
        1 => "1 policy".to_owned(),
        many => format!("{many} policies"),
    };
    let facts = [
        count(set.routes.len(), "route"),
        count(set.pools.len(), "pool"),
        policies,
        count(document.statics.len(), "setting"),
    ];
    format!(" ({}; version {})", facts.join(", "), document.version)
}

/// Result of a validation by the API.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct LiveView {
    version: Option<String>,
    findings: Vec<FindingView>,
}

fn diff(
    api: &Api,
    path: Option<PathBuf>,
    between: Option<Vec<String>>,
    set: &SetArgs,
) -> Result<(), Failure> {
    let (body, sources) = match (path, between.as_deref()) {
        (Some(path), _) => {
            let sources = documents::read(&path)?;
            (set.body([("sources", documents::content(&sources))]), sources)
        }
        (None, Some([from, to])) => (set.body([("from", json!(from)), ("to", json!(to))]), Vec::new()),
        (None, _) => {
            return Err(Failure::Usage("give a configuration, or two versions with --between".into()));
        }
    };
    let (response, view) = compare(api, &body, &sources)?;
    match api.output {
        Output::Json => api.print_json(&response)?,
        Output::Text => print(&view.text(api.style))?,
    }
    if view.changes.is_empty() { Ok(()) } else { Err(Failure::Reported(super::failure::EXIT_DIFFERS)) }
}

fn compare(api: &Api, body: &Value, sources: &[Source]) -> Result<(Vec<u8>, DiffView), Failure> {
    let response = api.call(Method::Post, &format!("{PATH}/diff"), Some(body));
    let response = response.map_err(|failure| with_findings(failure, sources))?;
    let view = parse(&response)?;
    Ok((response.body, view))
}

fn apply(
    api: &Api,
    (path, plan): (Option<PathBuf>, Option<String>),
    set: &SetArgs,
    mut options: Value,
    yes: bool,
    if_version: Option<String>,
) -> Result<(), Failure> {
    let sources = path.as_deref().map(documents::read).transpose()?.unwrap_or_default();
    let mut plan = plan;
    if plan.is_none() && !yes {
        // The plan is applied, not the documents: exactly what was shown.
        let body = set.body([("sources", documents::content(&sources))]);
        let (_, view) = compare(api, &body, &sources)?;
        eprint!("{}", view.text(Style::of_stderr()));
        if view.changes.is_empty() {
            return Ok(());
        }
        if !is_confirmed()? {
            return Err(Failure::Usage("not applied".into()));
        }
        plan = view.plan;
    }
    let mut body = match plan {
        Some(plan) => json!({ "plan": plan }),
        None => set.body([("sources", documents::content(&sources))]),
    };
    if let (Value::Object(body), Value::Object(options)) = (&mut body, &mut options) {
        body.append(options);
    }
    let path = format!("{PATH}/apply");
    let response = match if_version {
        Some(version) => api.call_if(&version, Method::Post, &path, &body),
        None => api.call(Method::Post, &path, Some(&body)),
    };
    answer(api, response, &sources, |view: ReceiptView, style| view.text(style))
}

/// Asks on the terminal.
fn is_confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "standard input is not a terminal to ask on; give --yes or --plan".into(),
        ));
    }
    eprint!("Apply this? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::File { path: "standard input".into(), error })?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Sends a request and prints its response.
fn send<T: DeserializeOwned>(
    api: &Api,
    operation: &str,
    body: &Value,
    sources: &[Source],
    show: impl FnOnce(T, Style) -> String,
) -> Result<(), Failure> {
    let response = api.call(Method::Post, &format!("{PATH}/{operation}"), Some(body));
    answer(api, response, sources, show)
}

fn answer<T: DeserializeOwned>(
    api: &Api,
    response: Result<super::http::HttpResponse, Failure>,
    sources: &[Source],
    show: impl FnOnce(T, Style) -> String,
) -> Result<(), Failure> {
    let response = response.map_err(|failure| with_findings(failure, sources))?;
    match api.output {
        Output::Json => api.print_json(&response.body),
        Output::Text => print(&show(parse(&response)?, api.style)),
    }
}

/// Adds the findings of an error response to its message.
fn with_findings(failure: Failure, sources: &[Source]) -> Failure {
    let Failure::Refused(mut error) = failure else { return failure };
    let findings: Vec<FindingView> =
        error.findings.iter().filter_map(|finding| serde_json::from_value(finding.clone()).ok()).collect();
    let text = findings::render(&findings, sources, Style::of_stderr());
    if findings.iter().any(FindingView::is_error) {
        // The detail repeats the title and the first of them.
        error.detail.clear();
    }
    match text.is_empty() {
        true => Failure::Refused(error),
        false => Failure::Refused(error).with_note(&format!("\n{}", text.trim_end())),
    }
}

fn of_owner(owner: Option<&str>) -> Vec<(&'static str, &str)> {
    owner.map(|owner| ("owner", owner)).into_iter().collect()
}

/// Checks a version for a path.
fn segment(version: &str) -> Result<&str, Failure> {
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_version {
        true => Ok(version),
        false => {
            Err(Failure::Usage(format!("{version:?} is no version; `ringway config history` lists them")))
        }
    }
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().into(), value.trim().into())),
        _ => Err("must be NAME: VALUE".into()),
    }
}

const VALIDATE_EXAMPLES: &str = "\
Examples:
  ringway config validate config.yaml
  ringway config validate conf.d --json      # in a pipeline
  ringway config validate config.yaml --live # also against what is in force";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  ringway config schema > ringway.schema.json
  # and as the first line of config.yaml, for editors with the YAML language server:
  # yaml-language-server: $schema=ringway.schema.json";

const DIFF_EXAMPLES: &str = "\
Examples:
  ringway config diff routes.yaml
  ringway config diff --between 3f9a0c1b2d4e 81cc02aa9d3f";

const APPLY_EXAMPLES: &str = "\
Examples:
  ringway config apply routes.yaml --reason 'more capacity for the shop'
  ringway config apply routes.yaml --reason deploy-4711 --yes --bake 30s
  ringway config apply --plan 81cc02aa9d3f --reason deploy-4711";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  ringway config explain http://api.example.com/v1/users
  ringway config explain https://api.example.com/v1 -X POST -H 'X-API-Version: v2'
  ringway config explain https://api.example.com/v1 --client 192.0.2.1 --headers fields.txt
  ringway config explain http://api.example.com/ --with new.yaml";

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
