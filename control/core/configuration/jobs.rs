//! Requests from the control thread to the threads of the configuration, and their answers.
//!
//! ```text
//!         ┌── change ───► configuration thread ──┐
//!  task ──┤                                      ├─► Answer ──► value, then ticket ──► task
//!         └── question ─► thread of questions ───┘
//! ```
//! The value travels by a reply channel; the ticket wakes the task that waits for it. Each kind has a queue
//! of its own, so that no number of questions delays a change.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{
    MailboxReceiver, MailboxSender, ReplySender, SendError, WakeSource, Waker, blocking_mailbox, mailbox,
    reply,
};
use ringway_model::Tick;
use ringway_net::clock;
use ringway_net::sync::{Sender, oneshot};

use super::configurator::Configurator;
use super::questions::Questions;
use crate::limits::{CONFIG_CHANGES_MAX, CONFIG_QUESTIONS_MAX, CONFIG_REQUEST_TIMEOUT};

/// One request, to be run on the thread with the state `S`.
pub(super) struct Job<S>(Box<dyn FnOnce(&mut S) + Send>);

impl<S> Job<S> {
    /// Runs the request and answers it.
    pub(super) fn run(self, state: &mut S) {
        (self.0)(state);
    }
}

impl<S> fmt::Debug for Job<S> {
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
    changes: MailboxSender<Job<Configurator>>,
    questions: MailboxSender<Job<Questions>>,
    done_sender: MailboxSender<Ticket>,
    done: MailboxReceiver<Ticket>,
    last: Cell<u64>,
    /// Callers by ticket, and the end of their wait.
    waiting: RefCell<BTreeMap<Ticket, (Tick, Sender<()>)>>,
}

/// Channels between the threads, before the control thread has started.
#[derive(Debug)]
pub(crate) struct Channels {
    changes: MailboxSender<Job<Configurator>>,
    questions: MailboxSender<Job<Questions>>,
    done_sender: MailboxSender<Ticket>,
    done: MailboxReceiver<Ticket>,
}

/// The configuration thread's end.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) wake: WakeSource,
    pub(super) jobs: MailboxReceiver<Job<Configurator>>,
}

/// Creates the channels. `of_changes` wakes the configuration thread, `of_control` the control thread; the
/// thread of the questions blocks on its mailbox.
pub(super) fn channels(
    of_changes: Waker,
    wake: WakeSource,
    of_control: Waker,
) -> (Channels, Changes, MailboxReceiver<Job<Questions>>) {
    let (changes, changes_receiver) = mailbox(CONFIG_CHANGES_MAX, of_changes);
    let (questions, questions_receiver) = blocking_mailbox(CONFIG_QUESTIONS_MAX);
    let (done_sender, done) = mailbox(DONE_MAX, of_control);
    let channels = Channels { changes, questions, done_sender, done };
    (channels, Changes { wake, jobs: changes_receiver }, questions_receiver)
}

/// Answers that wait to be noticed: of all that wait, and of as many whose callers have given up.
const DONE_MAX: usize = 2 * (CONFIG_CHANGES_MAX + CONFIG_QUESTIONS_MAX);

impl Caller {
    pub(super) fn new(channels: Channels) -> Self {
        let Channels { changes, questions, done_sender, done } = channels;
        let (last, waiting) = (Cell::new(0), RefCell::default());
        Self { shared: Rc::new(Shared { changes, questions, done_sender, done, last, waiting }) }
    }

    /// Runs a change on the configuration thread, after the changes before it. It also takes place when the
    /// caller is gone.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Configurator) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.call(&self.shared.changes, |answer| {
            Job(Box::new(move |configurator| answer.send(request(configurator))))
        })
        .await
    }

    /// Answers a question on its thread, after the questions before it; not when the caller is gone by then.
    pub(super) async fn question<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Questions) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let caller = Arc::new(());
        let is_waiting = Arc::downgrade(&caller);
        let answer = self.call(&self.shared.questions, |answer| {
            Job(Box::new(move |questions: &mut Questions| {
                if is_waiting.strong_count() > 0 {
                    answer.send(request(questions));
                }
            }))
        });
        let answer = answer.await;
        drop(caller);
        answer
    }

    async fn call<S, T: Send + 'static>(
        &self,
        mailbox: &MailboxSender<Job<S>>,
        job: impl FnOnce(Answer<T>) -> Job<S>,
    ) -> Result<T, Unanswered> {
        let shared = &*self.shared;
        let ticket = Ticket(shared.last.get() + 1);
        shared.last.set(ticket.0);
        let (sender, value) = reply();
        let job = job(Answer { reply: Some(sender), ticket, done: shared.done_sender.clone() });
        let (wake, woken) = oneshot();
        shared.waiting.borrow_mut().insert(ticket, (clock::now().after(CONFIG_REQUEST_TIMEOUT), wake));
        if let Err(error) = mailbox.send(job) {
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
        for ticket in self.shared.done.drain(DONE_MAX) {
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

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
