//! `ringway token`: secrets of the admin API's clients.

use std::process::ExitCode;

use ringway_api::{NamedToken, Scopes};
use serde_json::json;

use super::{FAILED, OK};

/// Tokens of the admin API.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a named token for PROXY_API_TOKENS_FILE
    ///
    /// Prints the token, which is stored nowhere, and the line for the file, which has only its digest.
    /// Removing the line revokes the token. Exit codes: 0 created, 1 failed, 2 arguments are wrong.
    Create {
        /// Name in the audit log: letters, digits, dots, dashes, underscores, @
        name: String,
        /// read, register, purge, apply or admin, with commas between them: `read` reads everything,
        /// `register` changes registrations and reads them, `purge` purges the cache and reads it, `apply`
        /// changes configurations, purges the cache and reads everything
        #[arg(long, value_name = "SCOPE,...", value_parser = scopes)]
        scope: Scopes,
        /// Last day (2027-06-30) or end (2027-06-30T12:00:00Z) of its validity, in UTC
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// With the scope purge: the only tenant whose cache it may see and purge
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

impl TokenCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> ExitCode {
        let Self::Create { name, scope, expires, tenant, json } = self;
        let created = NamedToken::create(&name, scope, expires.as_deref(), tenant.as_deref());
        let (secret, token) = match created {
            Ok(created) => created,
            Err(error) => {
                eprintln!("ringway: {error}");
                return ExitCode::from(FAILED);
            }
        };
        let line = token.line();
        match json {
            true => println!("{}", json!({ "token": secret, "line": line })),
            false => println!(
                "Token, shown only now; clients send it as `Authorization: Bearer TOKEN`:\n  {secret}\n\n\
                 Line for the file in PROXY_API_TOKENS_FILE:\n  {line}"
            ),
        }
        ExitCode::from(OK)
    }
}

fn scopes(text: &str) -> Result<Scopes, &'static str> {
    Scopes::parse(text).ok_or("must be read, register, purge, apply or admin, with commas between them")
}
