//! Commands that talk to a running ringway over its admin API.
//!
//! ```text
//! arguments ── apps · instances · deploy · domains · certificates · status ──► Api::call ── http ──► admin API
//!                          └── text: tables ◄── answers        └── failure: problems, exit codes
//! ```

mod address;
mod apps;
mod certificates;
mod deploy;
mod domains;
mod failure;
pub(crate) mod http;
mod instances;
mod status;
mod status_apps;
pub(crate) mod text;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ringway_wire::message::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use address::{Address, AddressError};
pub(crate) use failure::{EXIT_CODES, Failure};

use super::catalogue;
use failure::{Refusal, conclude};
use http::Answer;
pub(crate) use http::Client;
use text::{Look, Table};

/// What can be asked of a running ringway.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClientCommand {
    /// Show revision, cores, counts, health and warnings
    #[command(after_help = EXIT_CODES)]
    Status(status::StatusArgs),
    /// List, show, add and remove apps
    #[command(after_help = EXIT_CODES)]
    Apps(apps::AppsArgs),
    /// List, add, replace and remove instances of apps; send heartbeats
    #[command(after_help = EXIT_CODES)]
    Instances(instances::InstancesArgs),
    /// Replace an app's instances by new ones, without a failed request
    ///
    /// Registers the new instances, waits until each was probed successfully, then drains and removes the app's other
    /// instances: they get no new requests, and are removed when their last one is done. When a new instance does not serve in
    /// time (--timeout, 30s), it is taken back and nothing else has changed. The same command once more goes on where an
    /// interrupted one stopped.
    #[command(after_help = EXIT_CODES)]
    Deploy(deploy::DeployArgs),
    /// List, show, add, update and remove domains
    #[command(after_help = EXIT_CODES)]
    Domains(domains::DomainsArgs),
    /// List, show, upload and verify certificates; see the CA's limits
    #[command(after_help = EXIT_CODES)]
    Certificates(certificates::CertificatesArgs),
    /// List, show, set and remove the webhooks of apps
    #[command(after_help = EXIT_CODES)]
    Webhooks(webhooks::WebhooksArgs),
}

impl ClientCommand {
    /// Runs the command: what it found on standard output, what went wrong on standard error.
    pub(crate) fn run(self) -> ExitCode {
        conclude(match self {
            Self::Status(args) => args.run(),
            Self::Apps(args) => args.run(),
            Self::Instances(args) => args.run(),
            Self::Deploy(args) => args.run(),
            Self::Domains(args) => args.run(),
            Self::Certificates(args) => args.run(),
            Self::Webhooks(args) => args.run(),
        })
    }
}

/// Where the API is, who asks, and how the answer looks.
#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    /// Admin API: HOST:PORT, PORT or unix:PATH
    ///
    /// [env: RINGWAY_API; else RINGWAY_API_BIND and RINGWAY_API_PORT] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", global = true, help_heading = "API")]
    api: Option<Address>,
    /// The API's bearer token; other users of the machine can read arguments, so better use the environment or
    /// --token-file
    ///
    /// [env: RINGWAY_API_TOKEN]
    #[arg(long, value_name = "TOKEN", global = true, help_heading = "API", hide_short_help = true)]
    token: Option<String>,
    /// File that holds the API's bearer token
    ///
    /// [env: RINGWAY_API_TOKEN_FILE]
    #[arg(long, value_name = "PATH", global = true, help_heading = "API", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Longest time for an answer; with `deploy` and `instances replace`: until the new instances serve [default: 10s; 30s]
    #[arg(long, alias = "deploy-timeout", value_name = "TIME", global = true, help_heading = "API", value_parser = positive)]
    timeout: Option<Duration>,
    /// Print what the API answered, as JSON
    #[arg(long, global = true, help_heading = "API")]
    json: bool,
}

impl ApiArgs {
    /// The API that the arguments and the environment name.
    fn open(&self) -> Result<Api, Failure> {
        self.open_with(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn open_with(&self, env: impl Fn(&str) -> Option<String>) -> Result<Api, Failure> {
        let address = match &self.api {
            Some(address) => address.clone(),
            None => address_from(&env)?,
        };
        let token = self.token_from(&env)?;
        if token.as_deref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::Usage("the API token must be visible ASCII without spaces".into()));
        }
        let client = Client::new(address)
            .token(token)
            .timeout(self.timeout.unwrap_or(crate::cli::limits::CLI_TIMEOUT));
        let output = if self.json { Output::Json } else { Output::Text };
        Ok(Api { client, output, look: Look::of_stdout() })
    }

    /// A flag wins over the environment, and there the token over its file.
    fn token_from(&self, env: &impl Fn(&str) -> Option<String>) -> Result<Option<String>, Failure> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        let file = match &self.token_file {
            Some(file) => Some(file.clone()),
            None => match catalogue::API_TOKEN.find(env) {
                Some((_, token)) => return Ok(Some(token)),
                None => catalogue::API_TOKEN_FILE.find(env).map(|(_, path)| PathBuf::from(path)),
            },
        };
        let Some(file) = file else { return Ok(None) };
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(error) => Err(Failure::File { path: file.display().to_string(), error }),
        }
    }
}

/// Where the API is according to the environment: its own name first, else what the server would bind to.
fn address_from(env: &impl Fn(&str) -> Option<String>) -> Result<Address, Failure> {
    for name in ["RINGWAY_API", "RINGWAY_API_URL", "PROXY_API_URL"] {
        if let Some(text) = env(name) {
            return text.parse().map_err(|error| Failure::Usage(format!("{name}: {error}")));
        }
    }
    let ip = catalogue::API_BIND
        .find(env)
        .and_then(|(_, text)| text.split(',').next()?.trim().trim_matches(['[', ']']).parse().ok())
        .unwrap_or(std::net::IpAddr::from([127, 0, 0, 1]));
    let ip = match ip {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let port = match catalogue::API_PORT.find(env) {
        Some((name, text)) => text
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| Failure::Usage(format!("{name}: must be a port from 1 to 65535 here")))?,
        None => address::DEFAULT_PORT,
    };
    Ok(Address::Tcp(std::net::SocketAddr::new(ip, port).to_string()))
}

/// Waits, to keep a pace.
#[expect(clippy::disallowed_methods, reason = "nothing is waited for but the time; Ctrl-C ends the process")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A duration as `10s` that is not zero.
fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than 0".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Json,
}

/// A running ringway.
#[derive(Debug)]
struct Api {
    client: Client,
    output: Output,
    look: Look,
}

impl Api {
    /// Asks; any answer but a success is a failure.
    fn call(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        Self::call_by(&self.client, method, target, body)
    }

    /// The same for an answer that takes so long by itself.
    fn call_within(
        &self,
        more: Duration,
        method: Method,
        target: &str,
        body: &Value,
    ) -> Result<Answer, Failure> {
        let client = self.client.clone();
        let timeout = client.patience().saturating_add(more);
        Self::call_by(&client.timeout(timeout), method, target, Some(body))
    }

    /// The same, on the condition that the configuration is at this revision.
    fn call_at(&self, method: Method, target: &str, body: &Value, revision: u64) -> Result<Answer, Failure> {
        Self::call_by(&self.client.clone().if_match(revision), method, target, Some(body))
    }

    fn call_by(
        client: &Client,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let body = body.map(Value::to_string);
        let answer = client
            .send(method, target, body.as_deref().map(str::as_bytes))
            .map_err(|error| Failure::Unreachable { address: client.address().clone(), error })?;
        match answer.status {
            200..=299 => Ok(answer),
            _ => Err(Failure::Refused(Box::new(Refusal::of(&answer)))),
        }
    }

    /// Asks and prints: the body itself with `--json`, else what `show` makes of it.
    fn show<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
        show: impl FnOnce(T, Look) -> String,
    ) -> Result<(), Failure> {
        let answer = self.call(method, target, body)?;
        match self.output {
            Output::Json => self.print_json(&answer.body),
            Output::Text => print(&show(parse(&answer)?, self.look)),
        }
    }

    /// Makes a change and tells what became of it.
    fn change(&self, method: Method, target: &str, body: &Value, what: &str) -> Result<(), Failure> {
        let answer = self.call(method, target, Some(body))?;
        match self.output {
            Output::Json => self.print_json(&answer.body),
            Output::Text => {
                let receipt: Receipt = match answer.body.is_empty() {
                    true => Receipt::default(),
                    false => parse(&answer)?,
                };
                print(&receipt.told(what, method))
            }
        }
    }

    /// Prints a whole list: all pages of it, or as many items as `limit` says.
    fn list<T: DeserializeOwned>(
        &self,
        list: &List<'_>,
        table: Table,
        row: impl Fn(&mut Table, T),
    ) -> Result<(), Failure> {
        let mut table = table;
        let mut pages: Option<Value> = None;
        let mut after: Option<String> = None;
        let mut left = list.limit.unwrap_or(usize::MAX);
        let mut total = 0;
        while left > 0 {
            let mut query: Vec<(&str, &str)> =
                list.filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
            let limit = left.min(ringway_model::limits::PAGE_ITEMS_MAX).to_string();
            query.push(("limit", &limit));
            if let Some(after) = &after {
                query.push(("after", after));
            }
            let answer = self.call(Method::Get, &target(list.path, &query), None)?;
            let mut page: Value = parse(&answer)?;
            let next = page["next"].as_str().map(str::to_owned);
            if self.output == Output::Json && pages.is_none() && (next.is_none() || list.limit.is_some()) {
                return self.print_json(&answer.body);
            }
            let items = match page[list.items].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            total = page["total"].as_u64().unwrap_or(items.len() as u64);
            left = left.saturating_sub(items.len());
            let is_empty = items.is_empty();
            match self.output {
                Output::Json => append_page(&mut pages, page, list.items, items),
                Output::Text => {
                    for item in items {
                        let item = serde_json::from_value(item)
                            .map_err(|error| Failure::Unexpected { status: answer.status, error })?;
                        row(&mut table, item);
                    }
                }
            }
            match next {
                Some(next) if !is_empty => after = Some(next),
                _ => break,
            }
        }
        match self.output {
            Output::Json => self.print_json(pages.unwrap_or_default().to_string().as_bytes()),
            Output::Text if table.is_empty() => print(&format!("no {}\n", list.items)),
            Output::Text => {
                let mut text = table.render(self.look);
                let shown = table.len() as u64;
                if shown < total {
                    text.push_str(&format!("{shown} of {total} {}\n", list.items));
                }
                print(&text)
            }
        }
    }

    /// A body as it came, ended by a line feed. Terminals get it without characters that they would obey.
    fn print_json(&self, body: &[u8]) -> Result<(), Failure> {
        if body.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim_end();
        print(&match self.look.is_terminal() {
            true => text::escape_json(text) + "\n",
            false => format!("{text}\n"),
        })
    }
}

/// A list of the API.
struct List<'a> {
    path: &'a str,
    /// The name of the items, in the answer and for people.
    items: &'a str,
    filters: Vec<(&'a str, Option<String>)>,
    limit: Option<usize>,
}

/// Puts the pages of a list into one object of the same shape.
fn append_page(pages: &mut Option<Value>, page: Value, name: &str, items: Vec<Value>) {
    let merged = pages.get_or_insert(page);
    merged["next"] = Value::Null;
    match &mut merged[name] {
        Value::Array(all) => all.extend(items),
        none => *none = Value::Array(items),
    }
}

/// What a change did.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Receipt {
    revision: Option<u64>,
    outcome: Option<String>,
    generation: Option<u64>,
    /// Cores that follow later.
    pending: Vec<u64>,
}

impl Receipt {
    fn told(&self, what: &str, method: Method) -> String {
        let done = match &self.outcome {
            Some(outcome) => text::escape(outcome),
            None if method == Method::Delete => "removed".to_owned(),
            None => "done".to_owned(),
        };
        let mut facts = Vec::new();
        facts.extend(self.revision.map(|revision| format!("revision {revision}")));
        facts.extend(self.generation.map(|generation| format!("generation {generation}")));
        let mut out = format!("{}: {done}", text::escape(what));
        if !facts.is_empty() {
            out.push_str(&format!(" ({})", facts.join(", ")));
        }
        if !self.pending.is_empty() {
            let cores: Vec<String> = self.pending.iter().map(u64::to_string).collect();
            out.push_str(&format!("; stored, but these cores do not serve it yet: {}", cores.join(", ")));
        }
        out + "\n"
    }
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| Failure::Unexpected { status: answer.status, error })
}

fn print(text: &str) -> Result<(), Failure> {
    text::print(text).map_err(Failure::Output)
}

/// A request target with a query (RFC 3986 §3.4).
fn target(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (number, (name, value)) in query.iter().enumerate() {
        out.push(if number == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(char::from(byte))
                }
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    out
}

/// A time of the API to the second: `2025-01-15 12:00:00Z`.
fn time(text: &str) -> String {
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) if text.ends_with('Z') => format!("{date} {time}Z"),
        _ => text.to_owned(),
    }
}

/// An object without the members that nobody gave.
fn object<'a>(members: impl IntoIterator<Item = (&'a str, Option<Value>)>) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

#[cfg(test)]
mod tests;
