//! Notifications of a service manager (sd_notify(3)); without one they do nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Reports readiness: everything listens, and the first snapshot is on every core.
pub(crate) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Sets the status line of `systemctl status`.
pub(crate) fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// Reports the begin of the shutdown.
pub(crate) fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Feeds the watchdog.
pub(crate) fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Time between two calls of [`alive`], if the service manager has a watchdog: a third of its timeout.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| (patience / 3).max(INTERVAL_MIN))
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}

/// Shortest time between two calls of [`alive`]: more would be load without information.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
