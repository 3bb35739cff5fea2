//! `ringway instances`

use std::time::Duration;

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::text::{Cell, Table, Tone};
use super::{ApiArgs, Failure, List, object, pause, positive, time};

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
        /// Only those of this app
        #[arg(long)]
        app: Option<String>,
        /// Only those that serve this domain
        #[arg(long)]
        domain: Option<String>,
        /// Show so many at most
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Add an instance to an app, or renew its registration
    Add {
        /// The app's id
        #[arg(long)]
        app: String,
        /// The instance's id, unique over all apps
        instance: String,
        /// Where it listens: http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT
        target: String,
        #[command(flatten)]
        health: HealthCheck,
    },
    /// Remove an instance; it gets no further requests
    #[command(visible_alias = "rm")]
    Remove {
        /// Its id
        instance: String,
        /// Only this registration of it; a newer one stays
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
    },
    /// Tell that an instance is alive; from the first heartbeat on it must send them
    Heartbeat {
        /// Its id
        instance: String,
        /// Only for this registration of it
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
        /// Send one every so often, until stopped
        #[arg(long, value_name = "TIME", value_parser = positive)]
        every: Option<Duration>,
    },
}

/// How an instance is checked.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct HealthCheck {
    /// A path that answers 200 to 399 while the instance is well; `tcp` only connects [default: tcp]
    #[arg(long, value_name = "PATH|tcp")]
    health_check: Option<String>,
}

impl HealthCheck {
    pub(crate) fn value(self) -> Option<Value> {
        self.health_check.map(Value::String)
    }
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
            InstancesCommand::Remove { instance, generation } => {
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

fn key(instance: &str, generation: Option<u64>) -> Value {
    object([("instance_id", Some(json!(instance))), ("generation", generation.map(Into::into))])
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InstanceView {
    pub(crate) instance_id: String,
    app_id: String,
    target: String,
    pub(crate) health: String,
    pub(crate) health_reason: Option<String>,
    health_streak: u64,
    pub(crate) circuit_breaker: String,
    last_heartbeat: Option<String>,
    generation: u64,
}

pub(crate) fn instance_table() -> Table {
    Table::new(&["INSTANCE", "APP", "TARGET", "HEALTH", "BREAKER", "LAST HEARTBEAT", ">GENERATION", "REASON"])
}

impl InstanceView {
    pub(crate) fn row(self, table: &mut Table) {
        let reason = self.health_reason.map(|reason| format!("{reason} ({}×)", self.health_streak));
        table.row(vec![
            Cell::new(&self.instance_id),
            Cell::new(&self.app_id),
            Cell::new(&self.target),
            Cell::state(&self.health),
            Cell::state(&self.circuit_breaker),
            Cell::or_dash(self.last_heartbeat.as_deref().map(time).as_deref()),
            Cell::number(self.generation),
            Cell::new(reason.as_deref().unwrap_or_default()).tone(Tone::Faint),
        ]);
    }
}
