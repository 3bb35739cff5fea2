//! `ringway apps`

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::json;

use super::instances::{HealthCheck, InstanceView, instance_table};
use super::text::{Cell, Look, Table, Tone, escape};
use super::{ApiArgs, Failure, List, object, time};

#[derive(Debug, clap::Args)]
pub(crate) struct AppsArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: AppsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AppsCommand {
    /// List the apps
    #[command(visible_alias = "ls")]
    List {
        /// Show so many at most
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Show an app with its instances and domains
    Show {
        /// Its id
        app: String,
    },
    /// Register an app, alone or with an instance
    Add {
        /// Its id
        app: String,
        /// Its name for people
        #[arg(long)]
        name: Option<String>,
        /// The id of an instance of it
        #[arg(long, requires = "target")]
        instance: Option<String>,
        /// Where that instance listens: http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT
        #[arg(long, value_name = "URL", requires = "instance")]
        target: Option<String>,
        #[command(flatten)]
        health: HealthCheck,
    },
    /// Remove an app and its instances; refused while domains lead to it
    #[command(visible_alias = "rm")]
    Remove {
        /// Its id
        app: String,
    },
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
            AppsCommand::Add { app, name, instance, target, health } => {
                let instance = instance.zip(target).map(|(id, target)| {
                    object([
                        ("instance_id", Some(id.into())),
                        ("target", Some(target.into())),
                        ("health_check", health.value()),
                    ])
                });
                let body = object([
                    ("app_id", Some(app.clone().into())),
                    ("app_name", name.map(Into::into)),
                    ("instance", instance),
                ]);
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
    created_at: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AppDetails {
    #[serde(flatten)]
    app: AppView,
    instances: Vec<InstanceView>,
    domains: Vec<String>,
}

fn details(details: AppDetails, look: Look) -> String {
    let app = &details.app;
    let mut out = format!(
        "{}  {}\nregistered {}\n",
        look.paint(Tone::Heading, &escape(&app.app_id)),
        escape(&app.app_name),
        escape(&time(&app.created_at))
    );
    out.push('\n');
    if details.instances.is_empty() {
        out.push_str("no instances\n");
    } else {
        let mut table = instance_table();
        for instance in details.instances {
            instance.row(&mut table);
        }
        out.push_str(&table.render(look));
    }
    out.push('\n');
    if details.domains.is_empty() {
        out.push_str("no domains\n");
    } else {
        let mut table = Table::new(&["DOMAIN"]);
        for domain in &details.domains {
            table.row(vec![Cell::new(domain)]);
        }
        out.push_str(&table.render(look));
    }
    out
}
