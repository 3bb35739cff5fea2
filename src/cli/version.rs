//! `ringway version`: version, build, and the I/O drivers of this machine.

use std::io::Write;
use std::process::ExitCode;

use ringway_net::{DriverChoice, RuntimeOptions};
use serde_json::json;

use super::check::Format;
use super::{OK, machine};

/// Version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit of the sources, where the build knows it (`RINGWAY_COMMIT`).
pub(crate) const COMMIT: &str = match option_env!("RINGWAY_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Prints version and drivers.
pub(crate) fn run(format: Format) -> ExitCode {
    let uring = io_uring();
    let text = match format {
        Format::Text => {
            let uring = uring.unwrap_or_else(|reason| format!("no ({reason})"));
            format!(
                "ringway {VERSION}\ncommit    {COMMIT}\nprofile   {PROFILE}\nio_uring  {uring}\nepoll     yes\nkernel    {}\ncpus      {}\n",
                machine::kernel(),
                ringway_net::cores().len()
            )
        }
        Format::Json => {
            let value = json!({
                "version": VERSION,
                "commit": COMMIT,
                "profile": PROFILE,
                "drivers": { "io_uring": uring.as_ref().ok(), "io_uring_missing": uring.as_ref().err(), "epoll": "epoll" },
                "kernel": machine::kernel(),
                "cpus": ringway_net::cores().len(),
            });
            format!("{value:#}\n")
        }
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(OK)
}

/// Whether io_uring works here, or why not: creates a ring and drops it.
pub(crate) fn io_uring() -> Result<String, String> {
    let options = RuntimeOptions { driver: DriverChoice::IoUring, ..RuntimeOptions::default() };
    // On a thread of its own: a runtime names its thread.
    let probe = std::thread::spawn(move || ringway_net::run(options, |driver| async move { driver }));
    match probe.join() {
        Ok(Ok(driver)) => Ok(driver.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the attempt panicked".to_owned()),
    }
}

const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };
