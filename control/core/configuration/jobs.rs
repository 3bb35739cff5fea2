//! Requests from the control thread to the configuration thread, and their answers.
//!
//! ```text
//!  task ── call ──► job ──► configuration thread ──► Answer ──► value, then ticket ──► task
//! ```
//! The value travels by a reply channel; the ticket wakes the task that waits for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ringway_bridge::{
    MailboxReceiver, MailboxSender, ReplySender, SendError, WakeSource, Waker, mailbox, reply,
};
use ringway_model::Tick;
use ringway_net::clock;
use ringway_net::sync::{Sender, oneshot};

use super::configurator::Configurator;
use crate::limits::{CONFIG_REQUEST_TIMEOUT, CONFIG_REQUESTS_MAX};

/// One request, to be run on the configuration thread.
pub(super) struct Job(Box<dyn FnOnce(&mut Configurator) + Send>);

impl Job {
    /// Runs the request and answers it.
    pub(super) fn run(self, configurator: &mut Configurator) {
        (self.0)(configurator);
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// Number of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Obligation to answer one request. Dropping it without a value, as a panic does, answers with
/// [`Unanswered::Dropped`].
struct Answer<T> {
    reply: Option<ReplySender<T>>,
    ticket: Ticket,
    done: MailboxSender<Ticket>,
}

impl<T> Answer<T> {
    fn send(mut self, value: T) {
        if let Some(reply) = self.reply.take() {
            // Fails when the caller is gone.
            let _ = reply.send(value);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // The caller reads the value, or its absence, when the ticket arrives.
        self.reply = None;
        // A full mailbox: the caller waits until its deadline.
        let _ = self.done.send(self.ticket);
    }
}

/// Reason why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Too many requests wait.
    Full,
    /// No answer within the deadline.
    TimedOut,
    /// The request panicked, or the thread has ended.
    Dropped,
}

/// Control thread's end. Cheap to clone.
#[derive(Clone)]
pub(super) struct Caller {
    shared: Rc<Shared>,
}

struct Shared {
    jobs: MailboxSender<Job>,
    done_sender: MailboxSender<Ticket>,
    done: MailboxReceiver<Ticket>,
    last: Cell<u64>,
    /// Callers by ticket, and the end of their wait.
    waiting: RefCell<BTreeMap<Ticket, (Tick, Sender<()>)>>,
}

/// Channels between the two threads, before the control thread has started.
#[derive(Debug)]
pub(crate) struct Channels {
    jobs: MailboxSender<Job>,
    done_sender: MailboxSender<Ticket>,
    done: MailboxReceiver<Ticket>,
}

/// Configuration thread's end.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) wake: WakeSource,
    pub(super) jobs: MailboxReceiver<Job>,
}

/// Creates the channels. `of_jobs` wakes the configuration thread, `of_control` the control thread.
pub(super) fn channels(of_jobs: Waker, wake: WakeSource, of_control: Waker) -> (Channels, Jobs) {
    let (jobs, jobs_receiver) = mailbox(CONFIG_REQUESTS_MAX, of_jobs);
    let (done_sender, done) = mailbox(2 * CONFIG_REQUESTS_MAX, of_control);
    (Channels { jobs, done_sender, done }, Jobs { wake, jobs: jobs_receiver })
}

impl Caller {
    pub(super) fn new(channels: Channels) -> Self {
        let Channels { jobs, done_sender, done } = channels;
        let (last, waiting) = (Cell::new(0), RefCell::default());
        Self { shared: Rc::new(Shared { jobs, done_sender, done, last, waiting }) }
    }

    /// Runs a request on the configuration thread.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Configurator) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let shared = &*self.shared;
        let ticket = Ticket(shared.last.get() + 1);
        shared.last.set(ticket.0);
        let (sender, value) = reply();
        let answer = Answer { reply: Some(sender), ticket, done: shared.done_sender.clone() };
        let job = Job(Box::new(move |configurator| answer.send(request(configurator))));
        let (wake, woken) = oneshot();
        shared.waiting.borrow_mut().insert(ticket, (clock::now().after(CONFIG_REQUEST_TIMEOUT), wake));
        if let Err(error) = shared.jobs.send(job) {
            shared.waiting.borrow_mut().remove(&ticket);
            return Err(match error {
                SendError::Full(_) => Unanswered::Full,
                SendError::Closed(_) => Unanswered::Dropped,
            });
        }
        woken.await.map_err(|_| Unanswered::TimedOut)?;
        value.wait(Duration::ZERO).map_err(|_| Unanswered::Dropped)
    }

    /// Wakes the callers whose answers have arrived, and those past their deadline.
    pub(super) fn advance(&self, now: Tick) {
        let mut waiting = self.shared.waiting.borrow_mut();
        for ticket in self.shared.done.drain(2 * CONFIG_REQUESTS_MAX) {
            if let Some((_, caller)) = waiting.remove(&ticket) {
                caller.send(());
            }
        }
        // Tickets rise with their deadlines.
        while let Some(oldest) = waiting.first_entry().filter(|oldest| oldest.get().0 <= now) {
            // Dropping the sender ends the wait.
            drop(oldest.remove());
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("waiting", &self.shared.waiting.borrow().len()).finish_non_exhaustive()
    }
}
