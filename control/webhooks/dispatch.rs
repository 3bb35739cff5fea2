//! Threads of the deliveries: a dispatcher with the queue, and a few senders.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::limits::{WEBHOOK_THREADS, WEBHOOKS_PENDING_MAX};
use aws_lc_rs::rand;
use ringway_bridge::{MailboxReceiver, MailboxSender, SendError, TryRecvError, blocking_mailbox};
use ringway_model::Webhook;
use ringway_net::clock;

use crate::event::Event;
use crate::queue::{Delivery, Outcome, Queue};
use crate::send::{new_agent, send};

/// Handle to the threads, which end with its last clone. Deliveries that wait by then are lost.
#[derive(Clone, Debug)]
pub struct Webhooks {
    link: Arc<Link>,
}

#[derive(Debug)]
struct Link {
    messages: MailboxSender<Message>,
    counters: Arc<SharedCounters>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // With a full mailbox the dispatcher keeps running after it is drained, as its senders still hold the
        // mailbox.
        let _ = self.messages.send(Message::End);
    }
}

/// Deliveries since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookCounters {
    /// Waiting or in flight.
    pub pending: u64,
    /// Accepted by their receivers.
    pub delivered: u64,
    /// Failed attempts with a retry.
    pub retried: u64,
    /// Failed or refused for good.
    pub failed: u64,
    /// Dropped from a full queue.
    pub dropped: u64,
}

/// Counters for readers on other threads. The dispatcher writes all but `overflowed`.
#[derive(Debug, Default)]
struct SharedCounters {
    pending: AtomicU64,
    delivered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// Dropped at a full mailbox of the dispatcher; written by the sending threads.
    overflowed: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Event(Box<(Webhook, Event)>),
    Done(Box<(Delivery, Outcome)>),
    End,
}

/// Starts the threads, which are idle without events.
///
/// # Errors
/// The system cannot create a thread.
pub fn start() -> io::Result<Webhooks> {
    // Room for a full queue, a result of every sender, and the end.
    let (messages, inbox) = blocking_mailbox(WEBHOOKS_PENDING_MAX + WEBHOOK_THREADS + 1);
    let counters = Arc::new(SharedCounters::default());
    let mut jobs = Vec::with_capacity(WEBHOOK_THREADS);
    for number in 0..WEBHOOK_THREADS {
        let (job, work) = blocking_mailbox(1);
        let done = messages.clone();
        jobs.push(job);
        thread::Builder::new().name(format!("webhook-{number}")).spawn(move || run_sender(&work, &done))?;
    }
    let dispatcher = Dispatcher { queue: Queue::default(), inbox, jobs, counters: Arc::clone(&counters) };
    thread::Builder::new().name("webhooks".to_owned()).spawn(move || dispatcher.run())?;
    Ok(Webhooks { link: Arc::new(Link { messages, counters }) })
}

impl Webhooks {
    /// Queues an event for a receiver. Never blocks: beyond the limit it is dropped and counted.
    pub fn send(&self, webhook: &Webhook, event: Event) {
        let message = Message::Event(Box::new((webhook.clone(), event)));
        if let Err(SendError::Full(_)) = self.link.messages.send(message) {
            self.link.counters.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counters of the deliveries.
    pub fn counters(&self) -> WebhookCounters {
        // Relaxed: the numbers guard no other memory.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.link.counters;
        WebhookCounters {
            pending: read(&counters.pending) + self.link.messages.waiting() as u64,
            delivered: read(&counters.delivered),
            retried: read(&counters.retried),
            failed: read(&counters.failed),
            dropped: read(&counters.dropped) + read(&counters.overflowed),
        }
    }
}

struct Dispatcher {
    queue: Queue,
    inbox: MailboxReceiver<Message>,
    jobs: Vec<MailboxSender<Delivery>>,
    counters: Arc<SharedCounters>,
}

impl Dispatcher {
    fn run(mut self) {
        loop {
            let now = clock::now();
            while let Some(delivery) = self.queue.poll_start(now) {
                self.hand_out(delivery);
            }
            self.publish_counters();
            let wait = clock::now().until(self.queue.next_deadline()).min(WAIT_MAX);
            match self.inbox.recv_timeout(wait) {
                Ok(Message::Event(event)) => {
                    let (webhook, event) = *event;
                    let id: Arc<str> = draw_id(event.at.0).into();
                    let body = event.to_json(&id).into();
                    self.queue.push(id, webhook, body, clock::now());
                }
                Ok(Message::Done(done)) => {
                    let (delivery, outcome) = *done;
                    log(&delivery, &outcome);
                    self.queue.handle_done(delivery, &outcome, clock::now());
                }
                Err(TryRecvError::Empty) => {}
                // The senders end when their mailboxes are closed.
                Ok(Message::End) | Err(TryRecvError::Closed) => return,
            }
        }
    }

    /// Sends a delivery to a free sender; the queue's limit of deliveries in flight guarantees one.
    fn hand_out(&mut self, delivery: Delivery) {
        let mut delivery = delivery;
        for job in &self.jobs {
            match job.send(delivery) {
                Ok(()) => return,
                Err(SendError::Full(back) | SendError::Closed(back)) => delivery = back,
            }
        }
        let outcome = Outcome::Failed("no delivery thread is left".to_owned());
        self.queue.handle_done(delivery, &outcome, clock::now());
    }

    fn publish_counters(&self) {
        let counts = self.queue.counters();
        let counters = &self.counters;
        for (counter, value) in [
            (&counters.pending, self.queue.pending() as u64),
            (&counters.delivered, counts.delivered),
            (&counters.retried, counts.retried),
            (&counters.failed, counts.failed),
            (&counters.dropped, counts.dropped),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
    }
}

/// Loop of a sender: one delivery after the other.
fn run_sender(work: &MailboxReceiver<Delivery>, done: &MailboxSender<Message>) {
    // Created with the first delivery: reading the trust store takes some milliseconds.
    let mut agent = None;
    loop {
        let delivery = match work.recv_timeout(WAIT_MAX) {
            Ok(delivery) => delivery,
            Err(TryRecvError::Empty) => continue,
            Err(TryRecvError::Closed) => return,
        };
        let agent = agent.get_or_insert_with(new_agent);
        // A panic of the HTTP client must cost the delivery and not the thread.
        let attempt = || send(agent, &delivery, clock::timestamp());
        let outcome = catch_unwind(AssertUnwindSafe(attempt))
            .unwrap_or_else(|_| Outcome::Refused("the HTTP client panicked".to_owned()));
        if done.send(Message::Done(Box::new((delivery, outcome)))).is_err() {
            return;
        }
    }
}

fn log(delivery: &Delivery, outcome: &Outcome) {
    let (id, attempts) = (&*delivery.id, delivery.attempts);
    match outcome {
        Outcome::Delivered => tracing::debug!(id, attempts, "webhook delivered"),
        Outcome::Refused(reason) => tracing::warn!(id, attempts, reason, "webhook refused by its receiver"),
        Outcome::Failed(reason) => tracing::warn!(id, attempts, reason, "webhook not delivered"),
    }
}

/// Unique id of an event: its time and 64 random bits.
fn draw_id(millis: u64) -> String {
    let mut random = [0; 8];
    // Without randomness the time must do: ids distinguish events and are not secret.
    let _ = rand::fill(&mut random);
    format!("evt_{millis:011x}{:016x}", u64::from_be_bytes(random))
}

/// Longest wait of a thread; an idle wake-up a minute costs nothing.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
