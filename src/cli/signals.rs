//! Signals become events for the main thread. The second request to end is not waited for: it ends the process here.

use std::io;
use std::process;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What somebody outside wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// End in an orderly way; which signal said so.
    Stop(i32),
    /// Open log files anew.
    Reopen,
}

/// Listens for signals from now on, on a thread of its own.
///
/// # Errors
/// When a handler cannot be set or the thread not be started.
pub(crate) fn start() -> io::Result<Receiver<Event>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    // Orders to open files anew may be lost behind others that wait; the one to stop has its place.
    let (sender, events) = bounded(EVENTS_MAX);
    std::thread::Builder::new().name("ringway-signal".into()).spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP if sender.len() + 1 < EVENTS_MAX => {
                    let _ = sender.try_send(Event::Reopen);
                }
                SIGHUP => {}
                _ if stopping => {
                    tracing::warn!(signal = name(signal), "told to end for the second time: ending at once");
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

/// A signal as people write it.
pub(crate) fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("unknown")
}

/// Events that wait for the main thread.
const EVENTS_MAX: usize = 8;
