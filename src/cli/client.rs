//! Commands that administer a running ringway over its admin API.
//!
//! ```text
//! arguments ── apps · instances · breakers · deploy · config · status · … ──► Api::call ── http ──► admin API
//!                          └── text: tables ◄── responses      └── failure: errors, exit codes
//! ```

mod address;
mod api;
mod app_rates;
mod apps;
mod auth;
mod breakers;
mod cache;
mod canary;
mod certificates;
mod config;
mod connect;
mod deploy;
mod domains;
mod failure;
pub(crate) mod http;
mod instances;
mod pools;
mod status;
pub(crate) mod text;
mod webhooks;

use std::process::ExitCode;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use address::{Address, AddressError};
pub(crate) use failure::{CONFIG_EXIT_CODES, EXIT_CODES, Failure};

use api::{Api, List, Output};
use connect::ApiArgs;
use failure::conclude;
pub(crate) use http::HttpClient;
use http::HttpResponse;

/// Commands for a running ringway.
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
    /// List and show pools; drain and weight their endpoints
    #[command(after_help = EXIT_CODES)]
    Pools(pools::PoolsArgs),
    /// List circuit breakers and ejections
    #[command(after_help = EXIT_CODES)]
    Breakers(breakers::BreakersArgs),
    /// Show, purge and explain the cache
    #[command(after_help = EXIT_CODES)]
    Cache(cache::CacheArgs),
    /// Replace an app's instances without a failed request
    ///
    /// Registers the new instances, waits until each was probed successfully, then drains and removes the
    /// app's other instances: they get no new requests, and are removed when their last one is finished. When
    /// a new instance does not serve in time (--timeout, 30s), its registration is rolled back and nothing
    /// else has changed. Repeating the command resumes an interrupted one.
    #[command(after_help = EXIT_CODES)]
    Deploy(deploy::DeployArgs),
    /// List, show, add, update and remove domains
    #[command(after_help = EXIT_CODES)]
    Domains(domains::DomainsArgs),
    /// List, show, upload and verify certificates; show the CA's limits
    #[command(after_help = EXIT_CODES)]
    Certificates(certificates::CertificatesArgs),
    /// Check, compare, apply and explain configurations
    #[command(after_help = CONFIG_EXIT_CODES)]
    Config(config::ConfigArgs),
    /// Check credentials by the authentication of routes
    #[command(after_help = EXIT_CODES)]
    Auth(auth::AuthArgs),
    /// List and show the canaries of routes; resume and weight them
    #[command(after_help = EXIT_CODES)]
    Canary(canary::CanaryArgs),
    /// List, show, set and remove the webhooks of apps
    #[command(after_help = EXIT_CODES)]
    Webhooks(webhooks::WebhooksArgs),
}

impl ClientCommand {
    /// Runs the command: its result goes to standard output, errors go to standard error.
    pub(crate) fn run(self) -> ExitCode {
        conclude(match self {
            Self::Status(args) => args.run(),
            Self::Apps(args) => args.run(),
            Self::Instances(args) => args.run(),
            Self::Pools(args) => args.run(),
            Self::Breakers(args) => args.run(),
            Self::Cache(args) => args.run(),
            Self::Deploy(args) => args.run(),
            Self::Domains(args) => args.run(),
            Self::Certificates(args) => args.run(),
            Self::Config(args) => args.run(),
            Self::Auth(args) => args.run(),
            Self::Canary(args) => args.run(),
            Self::Webhooks(args) => args.run(),
        })
    }
}

/// Sleeps between two polls.
#[expect(clippy::disallowed_methods, reason = "the API has no event to wait for; Ctrl-C ends the process")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Parses a duration such as `10s` that is not zero.
fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than 0".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a reason: one line with a word.
fn reason(text: &str) -> Result<String, &'static str> {
    match text.trim().is_empty() || text.contains(char::is_control) {
        true => Err("must be one line, and not empty"),
        false => Ok(text.to_owned()),
    }
}

fn parse<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, Failure> {
    serde_json::from_slice(&response.body)
        .map_err(|error| Failure::Unexpected { status: response.status, error })
}

fn print(text: &str) -> Result<(), Failure> {
    text::print(text).map_err(Failure::Output)
}

/// Builds a request target with a query (RFC 3986 §3.4).
fn target(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (number, (name, value)) in query.iter().enumerate() {
        out.push(if number == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        push_encoded(&mut out, value);
    }
    out
}

/// Adds a value as one part of a request target, percent-encoded (RFC 3986 §2.1).
fn push_encoded(out: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Shortens a time of the API to seconds: `2025-01-15 12:00:00Z`.
fn time(text: &str) -> String {
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) if text.ends_with('Z') => format!("{date} {time}Z"),
        _ => text.to_owned(),
    }
}

/// Builds an object of the members that have a value.
fn object<'a>(members: impl IntoIterator<Item = (&'a str, Option<Value>)>) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

#[cfg(test)]
pub(crate) mod tests;
