//! Reloads of the configuration after SIGHUP, on a thread of their own: the main thread feeds the service
//! manager's watchdog meanwhile.

use std::io;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Sender, bounded};
use ringway::Client;
use ringway::forward::Link;
use ringway_control::ConfigError;

use super::configuration;

/// Thread that reloads the configuration.
#[derive(Debug)]
pub(crate) struct Reloads {
    requests: Sender<()>,
}

impl Reloads {
    /// Starts the thread, which ends with this value.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(client: Client, forward: Option<(Link, PathBuf)>) -> io::Result<Self> {
        // One waits while another one runs, and reads what was saved by then; more would read the same.
        let (requests, waiting) = bounded::<()>(1);
        std::thread::Builder::new().name("ringway-reload".into()).spawn(move || {
            for () in waiting {
                report(client.reload_configuration().err());
                if let Some((link, path)) = &forward {
                    reload_forward(link, path);
                }
            }
        })?;
        Ok(Self { requests })
    }

    /// Requests a reload.
    pub(crate) fn request(&self) {
        let _ = self.requests.try_send(());
    }
}

/// Puts the section `forward` in force, and reads lists that have changed.
fn reload_forward(link: &Link, path: &Path) {
    match configuration::forward_of(path) {
        Some(spec) if spec != link.policy().spec => {
            if let Err(error) = link.set(spec) {
                tracing::error!(%error, "the forward proxy was not reloaded; its rules in force stay");
            }
        }
        Some(_) => {}
        None => tracing::error!("the section forward cannot be read; the rules in force stay"),
    }
    link.reload_all();
}

fn report(error: Option<ConfigError>) {
    match error {
        // The configuration's thread logs what it applies and what it refuses.
        None | Some(ConfigError::Refused { .. }) => {}
        Some(error) => {
            let error = ringway_control::with_causes(&error);
            tracing::error!(error, "the configuration was not reloaded; the one in force stays");
        }
    }
}
