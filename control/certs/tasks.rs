//! Spawning of tasks whose panics are logged.

use std::future::Future;

use ringway_net::{PanicMessage, spawn};

/// Spawns a task on this thread; a panic is logged and ends nothing else.
pub(crate) fn spawn_logged(task: impl Future<Output = ()> + 'static) {
    spawn(task, log_panic);
}

/// Logs the panic of a certificate task.
pub(crate) fn log_panic(panic: PanicMessage) {
    tracing::error!(?panic, "certificate task panicked");
}
