//! Pool of the tasks that serve HTTP/2 requests: one for each request in progress, kept for later requests.
//!
//! The future of an exchange is some kilobytes; to make, move and free one for every request costs more than
//! a small request does. A task that has finished waits in the pool, and the next request wakes it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits;
use ringway_net::{Stream, spawn};
use ringway_telemetry::Panicked;

use super::server::{self, Job};
use crate::core::Core;
use crate::monoio_runtime::MonoioRuntime;
use crate::session::downstream_conn::DownstreamConn;
use crate::transport::Transport;

/// Idle tasks of a core.
#[derive(Default)]
pub(crate) struct TaskPool {
    idle: RefCell<Vec<Rc<Worker>>>,
}

#[derive(Default)]
struct Worker {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
    /// Client of the current request, for the case that the task panics.
    client: RefCell<Option<Rc<DownstreamConn<Transport>>>>,
}

/// Serves a request on an idle task, or on a new one.
pub(crate) fn run(core: &Rc<Core<MonoioRuntime>>, job: Job) {
    let idle = core.task_pool.idle.borrow_mut().pop();
    if let Some(worker) = idle {
        worker.job.set(Some(job));
        if let Some(waker) = worker.waker.take() {
            waker.wake();
        }
        return;
    }
    let worker = Rc::new(Worker::default());
    worker.job.set(Some(job));
    let (serving, panicked_on) = ((core.clone(), worker.clone()), (core.clone(), worker));
    spawn(
        async move {
            let (core, worker) = serving;
            serve(&core, &worker).await;
        },
        move |panic| {
            let (core, worker) = panicked_on;
            let Some(client) = worker.client.take() else { return };
            let request_id = client.request_id.get();
            let request_id = request_id.as_ref().map(|id| id.as_str());
            tracing::error!(core = core.id.0, request_id, %panic, "request task panicked; stream reset");
            core.telemetry.emit(Panicked { request_id });
            client.stream.abort();
        },
    );
}

/// Serves one request after the other, until the pool is full.
async fn serve(core: &Rc<Core<MonoioRuntime>>, worker: &Rc<Worker>) {
    while let Some(job) = worker.job.take() {
        worker.client.replace(Some(job.client.clone()));
        let mut buffers = core.take_buffers();
        let unread = server::exchange(core, job, &mut buffers).await;
        core.give_buffers(buffers);
        if let Some(unread) = unread {
            // Boxed, because it is rare.
            Box::pin(unread.discard(core)).await;
        }
        let client = worker.client.take();
        drop(client);
        if core.draining.get() || core.task_pool.idle.borrow().len() >= limits::H2_TASKS_KEPT_MAX {
            return;
        }
        core.task_pool.idle.borrow_mut().push(worker.clone());
        poll_fn(|cx| match worker.job.take() {
            Some(job) => {
                worker.job.set(Some(job));
                Poll::Ready(())
            }
            None => {
                worker.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await;
    }
}
