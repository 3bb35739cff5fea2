//! `ringway instances`: lists, adds, replaces and removes instances; sends heartbeats.

use std::time::Duration;

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::deploy::{self, OldInstances, Plan, SERVE_TIMEOUT, drained_text};
use super::text::{Cell, Table, Tone, escape};
use super::{ApiArgs, Failure, List, Output, object, parse, pause, positive, print, time};

#[derive(Debug, clap::Args)]
pub(crate) struct InstancesArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: InstancesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum InstancesCommand {
    /// List instances and their health
    #[command(visible_alias = "ls")]
    List {
        /// Only instances of this app
        #[arg(long)]
        app: Option<String>,
        /// Only instances that serve this domain
        #[arg(long)]
        domain: Option<String>,
        /// Show at most this many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Add an instance to an app, or renew its registration
    Add {
        /// ID of the app
        #[arg(long)]
        app: String,
        /// ID of the instance, unique over all apps
        instance: String,
        /// Target: http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT
        target: String,
        #[command(flatten)]
        health: HealthCheck,
    },
    /// Replace an instance: register a new one, wait until it serves, drain and remove the old one
    Replace {
        /// ID of the old instance
        old: String,
        /// ID of the new instance
        new: String,
        /// Target of the new instance: http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT
        #[arg(long, value_name = "URL")]
        target: String,
        /// Longest time for the old instance to finish its requests; then its WebSockets are closed
        #[arg(long, visible_alias = "drain-timeout", value_name = "TIME", default_value = "30s", value_parser = drain_time)]
        drain: Duration,
        /// Wait until the old instance is removed; by default the command ends when it starts to drain
        #[arg(long)]
        wait: bool,
        // Last: its help heading would also apply to the arguments after it.
        #[command(flatten)]
        health: HealthCheck,
    },
    /// Remove an instance; it gets no further requests
    #[command(visible_alias = "rm")]
    Remove {
        /// ID of the instance
        instance: String,
        /// Only if it has this generation; a newer registration stays
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
        /// Let it finish its requests for at most this time, and wait until it is removed; then its
        /// WebSockets are closed
        #[arg(long, visible_alias = "drain-timeout", value_name = "TIME", value_parser = drain_time)]
        drain: Option<Duration>,
    },
    /// Send a heartbeat of an instance; from the first one on it must send them regularly
    Heartbeat {
        /// ID of the instance
        instance: String,
        /// Only if it has this generation
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
        /// Send one at this interval, until stopped
        #[arg(long, value_name = "TIME", value_parser = positive)]
        every: Option<Duration>,
    },
}

/// Health check of an instance.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Health check")]
pub(crate) struct HealthCheck {
    /// Path that returns 200 to 399 while the instance is healthy; `tcp` only connects [default: tcp]
    #[arg(long, value_name = "PATH|tcp")]
    health_check: Option<String>,
    /// Host of the request; frameworks such as Django and Rails refuse the target's address
    #[arg(long, value_name = "NAME[:PORT]")]
    health_host: Option<String>,
    /// Port, if not the target's
    #[arg(long, value_name = "PORT")]
    health_port: Option<std::num::NonZeroU16>,
    /// Method: GET, HEAD or OPTIONS [default: GET]
    #[arg(long, value_name = "METHOD")]
    health_method: Option<String>,
    /// Header field to send, or @PATH of a file with one per line; repeatable. Other users of the machine can
    /// read arguments: keep secrets in a file
    #[arg(long, value_name = "NAME: VALUE|@PATH", value_parser = header)]
    health_header: Vec<Headers>,
    /// Statuses that count as healthy, as in 200,204 or 200-299 [default: 200-399]
    #[arg(long, value_name = "STATUSES")]
    health_expect_status: Option<String>,
    /// Text that the body must contain
    #[arg(long, value_name = "TEXT")]
    health_expect_body: Option<String>,
    /// Time between two checks [default: the proxy's, 10s]
    #[arg(long, value_name = "TIME", value_parser = positive)]
    health_interval: Option<Duration>,
    /// Longest time of one check [default: the proxy's, 3s]
    #[arg(long, value_name = "TIME", value_parser = positive)]
    health_timeout: Option<Duration>,
    /// Consecutive failures that make the instance unhealthy [default: the proxy's, 3]
    #[arg(long, value_name = "COUNT")]
    health_unhealthy_threshold: Option<std::num::NonZeroU8>,
    /// Consecutive successes that make it healthy again [default: the proxy's, 2]
    #[arg(long, value_name = "COUNT")]
    health_healthy_threshold: Option<std::num::NonZeroU8>,
}

impl HealthCheck {
    /// Value of `health_check` in a request; the short form where it suffices.
    pub(crate) fn value(self) -> Option<Value> {
        let headers: serde_json::Map<String, Value> =
            self.health_header.into_iter().flat_map(|headers| headers.0).collect();
        let expect = object([
            ("status", self.health_expect_status.map(Into::into)),
            ("body", self.health_expect_body.map(Into::into)),
        ]);
        let is_empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        let mut full = object([
            ("host", self.health_host.map(Into::into)),
            ("port", self.health_port.map(|port| port.get().into())),
            ("method", self.health_method.map(|method| method.to_ascii_uppercase().into())),
            ("headers", Some(Value::Object(headers)).filter(|headers| !is_empty(headers))),
            ("expect", Some(expect).filter(|expect| !is_empty(expect))),
            ("interval", self.health_interval.map(duration)),
            ("timeout", self.health_timeout.map(duration)),
            ("unhealthy_threshold", self.health_unhealthy_threshold.map(|count| count.get().into())),
            ("healthy_threshold", self.health_healthy_threshold.map(|count| count.get().into())),
        ]);
        if is_empty(&full) {
            return self.health_check.map(Value::String);
        }
        if let Some(path) = self.health_check.filter(|path| path != "tcp") {
            full["path"] = path.into();
        }
        Some(full)
    }
}

/// Header fields of one argument. `Debug` hides the values, which may be secrets.
#[derive(Clone)]
struct Headers(Vec<(String, Value)>);

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Parses `Name: value`, or the lines of a file `@PATH`.
fn header(text: &str) -> Result<Headers, String> {
    let field = |line: &str| match line.split_once(':') {
        Some((name, value)) => Ok((name.to_owned(), Value::from(value.trim()))),
        None => Err("must be a name, a colon and a value, as in \"X-Forwarded-Proto: https\"".to_owned()),
    };
    let Some(path) = text.strip_prefix('@') else { return Ok(Headers(vec![field(text)?])) };
    let lines = std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let fields = lines.lines().filter(|line| !line.trim().is_empty()).map(field);
    fields.collect::<Result<_, _>>().map(Headers).map_err(|error| format!("in {path}: a line {error}"))
}

fn duration(time: Duration) -> Value {
    format!("{}ms", time.as_millis()).into()
}

impl InstancesArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        match self.command {
            InstancesCommand::List { app, domain, limit } => api.list(
                &List {
                    path: "/api/status/instances",
                    items: "instances",
                    filters: vec![("app_id", app), ("domain", domain)],
                    limit,
                },
                instance_table(),
                |table, instance: InstanceView| instance.row(table),
            ),
            InstancesCommand::Add { app, instance, target, health } => {
                let body = object([
                    ("app_id", Some(app.into())),
                    ("instance_id", Some(instance.clone().into())),
                    ("target", Some(target.into())),
                    ("health_check", health.value()),
                ]);
                api.change(Method::Post, "/api/apps/instances", &body, &format!("instance {instance}"))
            }
            InstancesCommand::Replace { old, new, target, health, drain, wait } => {
                let view: Value = parse(&api.call(
                    Method::Get,
                    &super::target("/api/status/instances", &[("instance_id", &old)]),
                    None,
                )?)?;
                let Some(app) = view["instances"][0]["app_id"].as_str() else {
                    return Err(Failure::NotFound(format!("instance {old} is not registered")));
                };
                let plan = Plan {
                    app: app.to_owned(),
                    wanted: vec![(Some(new), target)],
                    hosts: Vec::new(),
                    tenant: None,
                    health: health.value(),
                    timeout: self.api.timeout.unwrap_or(SERVE_TIMEOUT),
                    drain,
                    old: OldInstances::One(old),
                    wait_for_drain: wait,
                };
                deploy::run(&api, &plan)
            }
            InstancesCommand::Remove { instance, generation, drain: Some(drain) } => {
                let mut body = key(&instance, generation);
                body["drain"] = format!("{}ms", drain.as_millis()).into();
                let response = api.call_within(drain, Method::Delete, "/api/apps/instances", &body)?;
                match api.output {
                    Output::Json => api.print_json(&response.body),
                    Output::Text => {
                        let drained: Value = match response.body.is_empty() {
                            true => Value::Null,
                            false => parse(&response)?,
                        };
                        print(&format!("instance {}: {}\n", escape(&instance), drained_text(&drained)))
                    }
                }
            }
            InstancesCommand::Remove { instance, generation, drain: None } => {
                let body = key(&instance, generation);
                api.change(Method::Delete, "/api/apps/instances", &body, &format!("instance {instance}"))
            }
            InstancesCommand::Heartbeat { instance, generation, every } => {
                let body = key(&instance, generation);
                loop {
                    api.call(Method::Post, "/api/apps/heartbeat", Some(&body))?;
                    match every {
                        Some(every) => pause(every),
                        None => return Ok(()),
                    }
                }
            }
        }
    }
}

/// Parses a drain timeout such as `30s`.
pub(crate) fn drain_time(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match duration <= ringway_model::limits::INSTANCE_DRAIN_MAX {
        true => Ok(duration),
        false => {
            let most = humantime::format_duration(ringway_model::limits::INSTANCE_DRAIN_MAX);
            Err(format!("must be at most {most}"))
        }
    }
}

fn key(instance: &str, generation: Option<u64>) -> Value {
    object([("instance_id", Some(json!(instance))), ("generation", generation.map(Into::into))])
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InstanceView {
    pub(crate) instance_id: String,
    pub(crate) app_id: String,
    pub(crate) target: String,
    pub(crate) health_check: Option<Value>,
    pub(crate) state: String,
    pub(crate) state_reason: Option<String>,
    pub(crate) requests_in_flight: u64,
    pub(crate) health: String,
    pub(crate) last_heartbeat: Option<String>,
    pub(crate) generation: u64,
}

pub(crate) fn instance_table() -> Table {
    Table::new(&[
        "INSTANCE",
        "APP",
        "TARGET",
        "STATE",
        ">IN FLIGHT",
        "LAST HEARTBEAT",
        ">GENERATION",
        "REASON",
    ])
}

impl InstanceView {
    pub(crate) fn row(self, table: &mut Table) {
        table.row(vec![
            Cell::new(&self.instance_id),
            Cell::new(&self.app_id),
            Cell::new(&self.target),
            Cell::state(&self.state),
            Cell::number(self.requests_in_flight),
            Cell::or_dash(self.last_heartbeat.as_deref().map(time).as_deref()),
            Cell::number(self.generation),
            Cell::new(self.state_reason.as_deref().unwrap_or_default()).tone(Tone::Faint),
        ]);
    }
}
