//! Commands of the `ringway` binary: arguments and environment → settings → the library → an exit code.
//!
//! ```text
//! ringway [run] ─► configuration, config ─► logging ─► run ─► signals ─► drain ─► exit code
//! ringway check ─► configuration, config ─► machine ─► a table of the settings in force and their problems
//! ringway status|apps|instances|deploy|domains|config|canary ─► client ─► the admin API of a running process
//! ringway script ─► Lua scripts, checked without a running process
//! ringway demo ─► demo: the library, sample apps and the API in one process
//! ```

mod access;
mod audit;
mod capacity;
mod catalogue;
mod check;
mod client;
mod config;
mod configuration;
mod demo;
mod files;
mod flags;
mod forward;
mod help;
mod limits;
mod logging;
mod machine;
mod memory;
mod misplaced;
mod misspelt;
mod notify;
mod origin;
mod parse;
mod ready;
mod reloads;
mod resolver;
mod run;
mod script;
mod setting;
mod signals;
mod sockets;
mod statics;
mod tls;
mod token;
mod transfer;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{FromArgMatches, Parser, Subcommand};

use flags::Flags;

/// Success, or an orderly shutdown.
const OK: u8 = 0;
/// The process could not start or continue, or a command failed.
const FAILED: u8 = 1;
/// Invalid arguments or settings; clap uses the same number.
const USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "ringway",
    version,
    about = "A reverse proxy whose apps register themselves",
    long_about = LONG_ABOUT,
    after_long_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one value, alive until it is dispatched")]
enum Command {
    /// Run the proxy; the same as no command at all
    Run {
        #[command(flatten)]
        flags: Flags,
    },
    /// Show the settings in force and their problems
    ///
    /// The table has the origin of each value. Opens no port and no store, and may run beside a running
    /// proxy. Exit codes: 0 fine, 1 the settings are valid but this machine or user cannot run them, 2
    /// settings are wrong.
    Check {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: Flags,
    },
    /// Write all records of the store to a file
    ///
    /// The file has JSON lines with checksums: one complete revision, also beside a running proxy. It holds
    /// apps, instances, domains, and webhooks with their secrets; not certificates, their keys and the
    /// accounts at CAs (files in PROXY_CERT_PATH), nor settings. Exit codes: 0 written, 1 failed, 2 settings
    /// are wrong.
    Export {
        /// Output file; - is standard output
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Directory of the store [default: the one that `ringway check` shows]
        #[arg(long, value_name = "DIRECTORY")]
        db_path: Option<PathBuf>,
    },
    /// Fill an empty store from a file that `ringway export` wrote
    ///
    /// Nothing is stored unless the file is complete. Exit codes: 0 stored, 1 failed, 2 settings are wrong.
    Import {
        /// Input file; - is standard input
        file: PathBuf,
        /// Directory of the store [default: the one that `ringway check` shows]
        #[arg(long, value_name = "DIRECTORY")]
        db_path: Option<PathBuf>,
    },
    /// Show the version, its build, and this machine's I/O drivers
    Version {
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Client(client::ClientCommand),
    /// Check the audit log of the admin API
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Create tokens of the admin API
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Check Lua scripts
    #[command(subcommand)]
    Script(script::ScriptCommand),
    /// Run a forward proxy, without a file
    ///
    /// For development: it serves this machine, and prints each request with --log-requests. Lists,
    /// credentials and limits are in the section `forward` of a configuration file.
    Forward(forward::ForwardArgs),
    /// Run the proxy with two sample apps to try it out
    ///
    /// Uses free ports, and a store that is removed at the end.
    Demo(demo::DemoArgs),
}

/// Parses the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    // First of all: memory that the allocator already has in huge pages stays so.
    let small_pages = ringway_net::use_small_pages();
    let matches = help::command().try_get_matches().unwrap_or_else(|error| misplaced::explain(error).exit());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        None => run::run(&cli.flags, small_pages),
        Some(Command::Run { flags }) => run::run(&flags, small_pages),
        Some(Command::Check { json, flags }) => check::run(&flags, check::Format::of(json)),
        Some(Command::Export { file, db_path }) => transfer::run(transfer::Direction::Out, &file, db_path),
        Some(Command::Import { file, db_path }) => transfer::run(transfer::Direction::In, &file, db_path),
        Some(Command::Version { json }) => version::run(check::Format::of(json)),
        Some(Command::Client(command)) => command.run(),
        Some(Command::Audit(command)) => command.run(),
        Some(Command::Token(command)) => command.run(),
        Some(Command::Script(command)) => command.run(),
        Some(Command::Demo(args)) => args.run(),
        Some(Command::Forward(args)) => args.run(),
    }
}

const LONG_ABOUT: &str = "\
A reverse proxy for many apps, each with several instances, and thousands of tenant domains. Apps register \
themselves over a local HTTP API; every change is live on every core at once and survives a restart. Routes, pools \
and policies of the operator come from a file (--config) or the same API.

Without a command, ringway runs the proxy. Every setting is a flag, an environment variable, or a value of that \
file; a flag overrides the environment, the environment overrides the file, and the file overrides the default.";

const AFTER_HELP: &str = "\
Environment only, because every user of a machine can read the arguments of
its processes:
  RINGWAY_API_TOKEN, PROXY_API_TOKEN
          Bearer token of the admin API, 16 characters or more. See also
          --api-token-file
  RINGWAY_ACME_EAB_HMAC, ACME_EAB_HMAC
          HMAC key of the CA's external account binding, in base64url. See
          --acme-eab-kid
  RINGWAY_CERTIFICATE_WEBHOOK_SECRET, PROXY_CERTIFICATE_WEBHOOK_SECRET
          Secret that signs deliveries to --certificate-webhook,
          16 characters or more

Values:
  TIME   10s, 500ms, 1m 30s; a bare number is seconds
  BYTES  1048576, 500KB, 10MiB
  BOOL   true, yes, on or 1; false, no, off or 0

Signals:
  SIGTERM, SIGINT  Drain: finish the requests in flight, at most for
                   --drain-timeout, and exit. A second one ends the process
                   at once
  SIGHUP           Reopen log files, for logrotate, and apply the
                   configuration again

Exit codes:
  0         orderly shutdown
  1         the process could not start or continue
  2         arguments or settings are wrong
  130, 143  ended at once by a second SIGINT or SIGTERM

Examples:
  ringway --http-port 8081                # needs no root
  ringway --config config.yaml            # routes, pools, policies and settings
  RINGWAY_HTTP_PORT=8081 ringway check    # settings in force and their problems
  ringway --storage memory --http-port 0  # keeps nothing; prints its ports";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_line_definition_is_consistent() {
        help::command().debug_assert();
    }

    #[test]
    fn help_names_every_setting_flag_and_default() {
        let help = help::command().render_long_help().to_string();
        for setting in catalogue::ALL {
            assert!(help.contains(setting.name), "{}", setting.name);
            assert!(help.contains(&setting.own_name().to_string()), "{}", setting.own_name());
            if let Some(flag) = setting.flag {
                assert!(help.contains(&format!("--{flag} <")), "{flag}");
            }
        }
    }

    #[test]
    fn flags_belong_to_the_root_or_to_run_and_check() {
        let parse = |arguments: &[&str]| Cli::try_parse_from([&["ringway"], arguments].concat());
        let cli = parse(&["--workers", "3"]).unwrap();
        assert_eq!(cli.flags.get(&catalogue::WORKERS).unwrap(), "3");
        let cli = parse(&["run", "--workers", "-1"]).unwrap();
        let Some(Command::Run { flags }) = cli.command else { panic!("not run") };
        assert_eq!(flags.get(&catalogue::WORKERS).unwrap(), "-1");
        let cli = parse(&["check", "--json", "--db-path=/x y"]).unwrap();
        let Some(Command::Check { json: true, flags }) = cli.command else { panic!("not check") };
        assert_eq!(flags.get(&catalogue::DB_PATH).unwrap(), "/x y");
        assert!(parse(&["--worker-count", "3"]).is_err());
        assert!(parse(&["--workers", "3", "check"]).is_err(), "the flag would be ignored");
    }
}
