//! Blocking calls (files, and other calls without an asynchronous form) on a thread pool. For the control
//! thread.

use crate::core;
use crate::limits::BLOCKING_CALLS_MAX;
use crate::sync::oneshot;
use crate::task::spawn;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `call` on a thread of [`RuntimeOptions::blocking_threads`](crate::RuntimeOptions) and returns its
/// result.
///
/// There is no deadline: the call bounds its own time. When this future is dropped, the call still runs to
/// its end, and counts towards `BLOCKING_CALLS_MAX` until then.
///
/// # Errors
/// `ResourceBusy` when too many calls are in flight, `Unsupported` on a runtime without blocking threads,
/// `Interrupted` when the call panicked.
pub async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let core = core::current()?;
    if !core.has_blocking_threads {
        return Err(ErrorKind::Unsupported.into());
    }
    if core.blocking_calls.get() >= BLOCKING_CALLS_MAX {
        return Err(ErrorKind::ResourceBusy.into());
    }
    core.blocking_calls.update(|count| count + 1);
    let call = monoio::spawn_blocking(move || catch_unwind(AssertUnwindSafe(call)));
    let (sender, receiver) = oneshot();
    // A task of its own outlives a caller that is dropped, and counts the call until it ends.
    spawn(
        async move {
            let result = match call.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(_)) | Err(_) => Err(ErrorKind::Interrupted.into()),
            };
            core.blocking_calls.update(|count| count - 1);
            sender.send(result);
        },
        |_| {},
    );
    receiver.await.unwrap_or_else(|_| Err(ErrorKind::Interrupted.into()))
}
