//! `ringway apps`: lists, shows, registers, changes and removes apps.

use ringway_model::{OnAllUnhealthy, StatusSet, TimeoutPolicy};
use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::instances::{HealthCheck, InstanceView, instance_table};
use super::text::{Cell, Style, Table, Tone, escape};
use super::{ApiArgs, Failure, List, object, parse, time};

#[derive(Debug, clap::Args)]
pub(crate) struct AppsArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: AppsCommand,
}

#[derive(Debug, clap::Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value per process")]
enum AppsCommand {
    /// List the apps
    #[command(visible_alias = "ls")]
    List {
        /// Show at most this many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Show an app with its instances and domains
    Show {
        /// ID of the app
        app: String,
    },
    /// Register an app, alone or with an instance
    Add {
        /// ID of the app
        app: String,
        /// Display name
        #[arg(long)]
        name: Option<String>,
        /// ID of an instance
        #[arg(long, requires = "target")]
        instance: Option<String>,
        /// Target of that instance: http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT
        #[arg(long, value_name = "URL", requires = "instance")]
        target: Option<String>,
        #[command(flatten)]
        health: HealthCheck,
        #[command(flatten)]
        policies: Policies,
    },
    /// Change a registered app; options that are not given stay as they are
    Update {
        /// ID of the app
        app: String,
        /// Display name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        policies: Policies,
    },
    /// Remove an app and its instances; refused while domains are routed to it
    #[command(visible_alias = "rm")]
    Remove {
        /// ID of the app
        app: String,
    },
}

/// Policies for failing instances.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Policies {
    /// Requests while all instances fail their health checks: `reject` responds with 502, `panic_open` sends
    /// them to the instances even so, `trickle` sends one per second [default: reject]
    #[arg(long, value_name = "POLICY", value_parser = on_all_unhealthy)]
    on_all_unhealthy: Option<OnAllUnhealthy>,
    /// Response statuses of the app that count as failures of an instance, as in 500,502-504, or `none`
    /// [default: none]
    #[arg(long, value_name = "LIST|none", value_parser = statuses)]
    failure_statuses: Option<StatusSet>,
    /// Whether a response timeout counts as a failure of the instance: `unchecked` while its health check has
    /// not passed, `always`, `never` [default: unchecked]
    #[arg(long, value_name = "WHEN", value_parser = timeouts)]
    failure_timeouts: Option<TimeoutPolicy>,
}

impl Policies {
    /// Members of a registration: `on_all_unhealthy`, and `failures` where a part of it is given. The other
    /// part stays as in `known`, the registered app.
    fn members(&self, known: Option<&FailuresView>) -> [(&'static str, Option<Value>); 2] {
        let is_given = self.failure_statuses.is_some() || self.failure_timeouts.is_some();
        let failures = is_given.then(|| {
            object([
                (
                    "statuses",
                    self.failure_statuses
                        .map(|set| set.parts().collect::<Vec<_>>())
                        .or_else(|| known.map(|known| known.statuses.clone()))
                        .map(Value::from),
                ),
                (
                    "timeouts",
                    self.failure_timeouts
                        .map(|policy| policy.as_str().to_owned())
                        .or_else(|| known.map(|known| known.timeouts.clone()))
                        .map(Value::from),
                ),
            ])
        });
        [
            ("on_all_unhealthy", self.on_all_unhealthy.map(|policy| policy.as_str().into())),
            ("failures", failures),
        ]
    }
}

fn on_all_unhealthy(text: &str) -> Result<OnAllUnhealthy, String> {
    let words = OnAllUnhealthy::ALL.map(OnAllUnhealthy::as_str).join(", ");
    OnAllUnhealthy::parse(text).ok_or_else(|| format!("must be one of {words}"))
}

fn timeouts(text: &str) -> Result<TimeoutPolicy, String> {
    let words = TimeoutPolicy::ALL.map(TimeoutPolicy::as_str).join(", ");
    TimeoutPolicy::parse(text).ok_or_else(|| format!("must be one of {words}"))
}

fn statuses(text: &str) -> Result<StatusSet, String> {
    match text {
        "none" => Ok(StatusSet::EMPTY),
        text => StatusSet::parse(text).map_err(|error| error.to_string()),
    }
}

impl AppsArgs {
    #[cfg(test)]
    pub(crate) fn into_api(self) -> ApiArgs {
        self.api
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        match self.command {
            AppsCommand::List { limit } => api.list(
                &List { path: "/api/apps", items: "apps", filters: Vec::new(), limit },
                Table::new(&["APP", "NAME", ">INSTANCES", ">DOMAINS", "REGISTERED"]),
                |table, app: AppView| {
                    table.row(vec![
                        Cell::new(&app.app_id),
                        Cell::or_dash(Some(&app.app_name)),
                        Cell::number(app.instance_count),
                        Cell::number(app.domain_count),
                        Cell::new(&time(&app.created_at)),
                    ]);
                },
            ),
            AppsCommand::Show { app } => {
                api.show(Method::Post, "/api/apps/get", Some(&json!({ "app_id": app })), details)
            }
            AppsCommand::Add { app, name, instance, target, health, policies } => {
                let instance = instance.zip(target).map(|(id, target)| {
                    object([
                        ("instance_id", Some(id.into())),
                        ("target", Some(target.into())),
                        ("health_check", health.value()),
                    ])
                });
                let body = object(
                    [
                        ("app_id", Some(app.clone().into())),
                        ("app_name", name.map(Into::into)),
                        ("instance", instance),
                    ]
                    .into_iter()
                    .chain(policies.members(None)),
                );
                api.change(Method::Post, "/api/apps/register", &body, &format!("app {app}"))
            }
            AppsCommand::Update { app, name, policies } => {
                // Checked first, because a registration would create an app with a misspelt ID.
                let known: AppDetails =
                    parse(&api.call(Method::Post, "/api/apps/get", Some(&json!({ "app_id": app })))?)?;
                let body = object(
                    [("app_id", Some(app.clone().into())), ("app_name", name.map(Into::into))]
                        .into_iter()
                        .chain(policies.members(Some(&known.app.failures))),
                );
                api.change(Method::Post, "/api/apps/register", &body, &format!("app {app}"))
            }
            AppsCommand::Remove { app } => {
                api.change(Method::Delete, "/api/apps", &json!({ "app_id": app }), &format!("app {app}"))
            }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AppView {
    app_id: String,
    app_name: String,
    instance_count: u64,
    domain_count: u64,
    on_all_unhealthy: String,
    failures: FailuresView,
    created_at: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FailuresView {
    statuses: Vec<String>,
    timeouts: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AppDetails {
    #[serde(flatten)]
    app: AppView,
    instances: Vec<InstanceView>,
    domains: Vec<String>,
    outage: Option<String>,
}

fn details(details: AppDetails, style: Style) -> String {
    let app = &details.app;
    let mut out = format!(
        "{}  {}\nregistered {}\n",
        style.paint(Tone::Heading, &escape(&app.app_id)),
        escape(&app.app_name),
        escape(&time(&app.created_at))
    );
    let statuses = match app.failures.statuses.is_empty() {
        true => "none".to_owned(),
        false => escape(&app.failures.statuses.join(",")),
    };
    out.push_str(&format!(
        "when all instances are unhealthy: {}\nfailures: statuses {statuses}, timeouts {}\n",
        escape(&app.on_all_unhealthy),
        escape(&app.failures.timeouts)
    ));
    if let Some(outage) = &details.outage {
        out.push_str(&style.paint(Tone::Warning, &escape(outage)));
        out.push('\n');
    }
    out.push('\n');
    if details.instances.is_empty() {
        out.push_str("no instances\n");
    } else {
        let mut table = instance_table();
        for instance in details.instances {
            instance.row(&mut table);
        }
        out.push_str(&table.render(style));
    }
    out.push('\n');
    if details.domains.is_empty() {
        out.push_str("no domains\n");
    } else {
        let mut table = Table::new(&["DOMAIN"]);
        for domain in &details.domains {
            table.row(vec![Cell::new(domain)]);
        }
        out.push_str(&table.render(style));
    }
    out
}
