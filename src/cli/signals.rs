//! Signals as events for the main thread. A second SIGTERM or SIGINT ends the process at once.

use std::io;
use std::process;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Event of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Drain and stop, with the number of the signal.
    Stop(i32),
    /// Reopen log files and reload the configuration.
    Reload,
}

/// Starts the signal thread.
///
/// # Errors
/// A handler cannot be installed, or the thread cannot be started.
pub(crate) fn start() -> io::Result<Receiver<Event>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    // Requests to reload may be dropped behind others in the queue; the one to stop always has a place.
    let (sender, events) = bounded(EVENTS_MAX);
    std::thread::Builder::new().name("ringway-signal".into()).spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP if sender.len() + 1 < EVENTS_MAX => {
                    let _ = sender.try_send(Event::Reload);
                }
                SIGHUP => {}
                _ if stopping => {
                    tracing::warn!(signal = name(signal), "second signal: stopping at once");
                    process::exit(128 + signal);
                }
                _ => {
                    stopping = true;
                    let _ = sender.try_send(Event::Stop(signal));
                }
            }
        }
    })?;
    Ok(events)
}

/// Name of a signal, as `SIGTERM`.
pub(crate) fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("unknown")
}

/// Length of the queue to the main thread.
const EVENTS_MAX: usize = 8;
