//! What a service manager is told (sd_notify(3)). Nothing happens where there is none.

use std::time::Duration;

use sd_notify::NotifyState;

/// Everything listens, and the first configuration is on every core.
pub(crate) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// How it is, in one line of `systemctl status`.
pub(crate) fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// The end has begun.
pub(crate) fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Everything makes progress.
pub(crate) fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`alive`] should be said, if somebody listens for it: three times in the time after which they act.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| (patience / 3).max(INTERVAL_MIN))
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// More often would be load, not information.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
