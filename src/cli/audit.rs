//! `ringway audit`: the audit log of the admin API.

use std::path::PathBuf;
use std::process::ExitCode;

use ringway_api::{AuditFault, audit_files, verify_audit};

use super::configuration;
use super::flags::Flags;
use super::{FAILED, OK, USAGE, check};

/// The audit log.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that the lines of the audit log are complete and unchanged
    ///
    /// Names the first broken line. The last hash, which it prints, and which `ringway status --json` shows
    /// too, proves the whole log when it is kept on another machine. Exit codes: 0 whole, 1 broken or
    /// unreadable, 2 arguments or settings are wrong.
    Verify {
        /// Files, the oldest first [default: the log that `ringway check` shows, and its rotated files]
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

impl AuditCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> ExitCode {
        let Self::Verify { mut paths } = self;
        if paths.is_empty() {
            let reading = configuration::load(&Flags::default()).reading;
            match reading.outcome.map(|settings| settings.audit_log) {
                Ok(Some(path)) => paths = audit_files(&path),
                Ok(None) => {
                    eprintln!("ringway: there is no audit log: PROXY_AUDIT_LOG is off; name its files");
                    return ExitCode::from(USAGE);
                }
                Err(problems) => {
                    eprintln!("ringway: {}", check::problem_report(&problems));
                    return ExitCode::from(USAGE);
                }
            }
        }
        match verify_audit(&paths) {
            Ok(verified) => {
                let part = if verified.is_complete { "" } else { "; earlier lines are in other files" };
                println!(
                    "{} lines in {} file(s) are whole{part}\nlast line {}, hash {}",
                    verified.lines,
                    paths.len(),
                    verified.sequence,
                    verified.hash
                );
                ExitCode::from(OK)
            }
            Err(fault @ (AuditFault::Read(..) | AuditFault::Broken { .. })) => {
                eprintln!("ringway: {fault}");
                ExitCode::from(FAILED)
            }
        }
    }
}
