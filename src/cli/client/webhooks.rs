//! `ringway webhooks`: lists, shows, sets and removes the webhooks of apps.

use std::path::{Path, PathBuf};

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::text::{Cell, Style, Table, Tone, escape};
use super::{Api, ApiArgs, Failure, List, object};

#[derive(Debug, clap::Args)]
pub(crate) struct WebhooksArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: WebhooksCommand,
}

#[derive(Debug, clap::Subcommand)]
enum WebhooksCommand {
    /// List the webhooks, by app
    #[command(visible_alias = "ls")]
    List {
        /// Show at most this many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Show the webhook of an app; its secret is never shown
    Show {
        /// ID of the app
        app: String,
    },
    /// Set the webhook of an app: the URL that its events are posted to
    ///
    /// The secret that signs deliveries is read from a file or the environment, because other users of the
    /// machine can read arguments. Without one, an existing webhook keeps its secret.
    Set {
        /// ID of the app
        app: String,
        /// URL that events are posted to
        url: String,
        /// File with the secret; - is standard input [env: RINGWAY_WEBHOOK_SECRET]
        #[arg(long, value_name = "PATH", conflicts_with = "no_secret")]
        secret_file: Option<PathBuf>,
        /// Do not sign deliveries
        #[arg(long)]
        no_secret: bool,
    },
    /// Remove the webhook of an app
    #[command(visible_alias = "rm")]
    Remove {
        /// ID of the app
        app: String,
    },
}

const PATH: &str = "/api/webhooks";
/// Variable with the secret of a webhook.
const SECRET: &str = "RINGWAY_WEBHOOK_SECRET";

impl WebhooksArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        match self.command {
            WebhooksCommand::List { limit } => api.list(
                &List { path: PATH, items: "webhooks", filters: Vec::new(), limit },
                Table::new(&["APP", "URL", "SIGNED"]),
                |table, webhook: WebhookView| {
                    let signed = if webhook.signed { "yes" } else { "no" };
                    table.row(vec![Cell::new(&webhook.app_id), Cell::new(&webhook.url), Cell::new(signed)]);
                },
            ),
            WebhooksCommand::Show { app } => {
                api.show(Method::Post, "/api/webhooks/get", Some(&json!({ "app_id": app })), details)
            }
            WebhooksCommand::Set { app, url, secret_file, no_secret } => {
                let secret = match (no_secret, secret(secret_file.as_deref())?) {
                    (true, _) => Some(Value::Null),
                    (false, secret) => secret.map(Value::from),
                };
                set(&api, &app, &url, secret)
            }
            WebhooksCommand::Remove { app } => {
                let what = format!("webhook of {app}");
                api.change(Method::Delete, PATH, &json!({ "app_id": app }), &what)
            }
        }
    }
}

/// Changes an existing webhook, which keeps what is not given; else creates one.
fn set(api: &Api, app: &str, url: &str, secret: Option<Value>) -> Result<(), Failure> {
    let body = |secret: Option<Value>| {
        object([("app_id", Some(app.into())), ("url", Some(url.into())), ("secret", secret)])
    };
    let what = format!("webhook of {app}");
    match api.change(Method::Put, PATH, &body(secret.clone()), &what) {
        Err(Failure::Refused(refusal)) if refusal.is_unknown_webhook() => {
            api.change(Method::Post, PATH, &body(secret.filter(|secret| !secret.is_null())), &what)
        }
        result => result,
    }
}

/// Reads the secret from a file or the environment.
fn secret(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = file else {
        return Ok(std::env::var(SECRET).ok().filter(|secret| !secret.is_empty()));
    };
    let text = match path == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    };
    match text {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(Failure::File { path: path.display().to_string(), error }),
    }
}

#[derive(Debug, Deserialize)]
struct WebhookView {
    app_id: String,
    url: String,
    signed: bool,
}

fn details(webhook: WebhookView, style: Style) -> String {
    let signed = if webhook.signed { "yes" } else { "no" };
    let heading = style.paint(Tone::Heading, &escape(&webhook.app_id));
    format!("{heading}\n{:<7} {}\n{:<7} {signed}\n", "url", escape(&webhook.url), "signed")
}
