//! Calls that block, on threads of their own: files, and whatever else has no asynchronous form. For the control thread.

use crate::core;
use crate::limits::BLOCKING_CALLS_MAX;
use crate::task::spawn;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Runs `call` on a thread of [`RuntimeOptions::blocking_threads`](crate::RuntimeOptions) and gives its answer.
///
/// The call bounds its own time: it is not given up. When this future is dropped, the call runs to its end all the same,
/// and counts among the [`BLOCKING_CALLS_MAX`] until then.
///
/// # Errors
/// `ResourceBusy` when too many calls are in flight, `Unsupported` on a runtime without blocking threads, `Interrupted`
/// when the call panicked.
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
    let answer = Rc::new(RefCell::new(Answer { result: None, waker: None }));
    let asked = Rc::clone(&answer);
    // A task of its own outlives a caller that is dropped, and counts the call until it really ends.
    spawn(
        async move {
            let result = match call.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(_)) | Err(_) => Err(ErrorKind::Interrupted.into()),
            };
            core.blocking_calls.update(|count| count - 1);
            let mut answer = asked.borrow_mut();
            answer.result = Some(result);
            if let Some(waker) = answer.waker.take() {
                waker.wake();
            }
        },
        |_| {},
    );
    poll_fn(|cx| {
        let mut answer = answer.borrow_mut();
        match answer.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

struct Answer<T> {
    result: Option<io::Result<T>>,
    waker: Option<Waker>,
}
