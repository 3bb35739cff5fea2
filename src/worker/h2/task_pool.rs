//! The tasks that serve requests of HTTP/2: one for each request under way, kept for the next ones.
//!
//! The future of an exchange is some kilobytes, and to make, move and free one for every request costs more than a small
//! request does. So a task that is done sits down, and the next request wakes it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits;
use ringway_net::{Stream, spawn};
use ringway_telemetry::{Observer, Panicked};

use super::server::{self, Job};
use crate::core::Core;
use crate::monoio_runtime::MonoioRuntime;
use crate::session::downstream::DownstreamConn;
use crate::transport::Transport;

/// The tasks of a core that wait for a request.
#[derive(Default)]
pub(crate) struct Seats {
    waiting: RefCell<Vec<Rc<Seat>>>,
}

#[derive(Default)]
struct Seat {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
    /// Whom the task serves, for the case that it panics.
    client: RefCell<Option<Rc<DownstreamConn<Transport>>>>,
}

/// Gives the request to a task.
pub(crate) fn take(core: &Rc<Core<MonoioRuntime>>, job: Job) {
    let waiting = core.seats.waiting.borrow_mut().pop();
    if let Some(seat) = waiting {
        seat.job.set(Some(job));
        if let Some(waker) = seat.waker.take() {
            waker.wake();
        }
        return;
    }
    let seat = Rc::new(Seat::default());
    seat.job.set(Some(job));
    let (serving, panicked_on) = ((core.clone(), seat.clone()), (core.clone(), seat));
    spawn(
        async move {
            let (core, seat) = serving;
            serve(&core, &seat).await;
        },
        move |panic| {
            let (core, seat) = panicked_on;
            let Some(client) = seat.client.take() else { return };
            let request_id = client.request_id.get();
            let request_id = request_id.as_ref().map(|id| id.as_str());
            tracing::error!(core = core.id.0, request_id, %panic, "a request's task panicked and was ended");
            core.telemetry.panicked(&Panicked { request_id });
            client.stream.abort();
        },
    );
}

/// Serves one request after the other, until there are enough tasks without it.
async fn serve(core: &Rc<Core<MonoioRuntime>>, seat: &Rc<Seat>) {
    while let Some(job) = seat.job.take() {
        seat.client.replace(Some(job.client.clone()));
        let mut buffers = core.take_buffers();
        let unread = server::exchange(core, job, &mut buffers).await;
        core.give_buffers(buffers);
        if let Some(unread) = unread {
            // Boxed: few come here.
            Box::pin(unread.discard(core)).await;
        }
        let client = seat.client.take();
        drop(client);
        if core.draining.get() || core.seats.waiting.borrow().len() >= limits::H2_TASKS_KEPT_MAX {
            return;
        }
        core.seats.waiting.borrow_mut().push(seat.clone());
        poll_fn(|cx| match seat.job.take() {
            Some(job) => {
                seat.job.set(Some(job));
                Poll::Ready(())
            }
            None => {
                seat.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await;
    }
}
