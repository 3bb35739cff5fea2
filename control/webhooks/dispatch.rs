//! The threads: one that keeps the queue, and a few that post.

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
use crate::send::{agent, send};

/// The handle: clones speak to the same threads, which end when the last one is gone. What waits by then is lost.
#[derive(Clone, Debug)]
pub struct Webhooks {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    messages: MailboxSender<Message>,
    counters: Arc<Counters>,
}

impl Drop for Line {
    fn drop(&mut self) {
        // A full mailbox is emptied by the dispatcher, which then finds that nobody but its senders speaks to it.
        let _ = self.messages.send(Message::End);
    }
}

/// What has become of deliveries since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Waiting or under way.
    pub pending: u64,
    /// Taken by their receivers.
    pub delivered: u64,
    /// Tries that failed and were followed by another.
    pub retried: u64,
    /// Given up.
    pub failed: u64,
    /// Dropped because too many waited.
    pub dropped: u64,
}

/// Written by the dispatcher alone, but for what never reached it.
#[derive(Debug, Default)]
struct Counters {
    pending: AtomicU64,
    delivered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// Told while the dispatcher's own mailbox was full; written by those who send.
    unheard: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Event(Box<(Webhook, Event)>),
    Done(Box<(Delivery, Outcome)>),
    End,
}

/// Starts the threads. They do nothing until something is sent.
///
/// # Errors
/// The system's, when no thread is to be had.
pub fn start() -> io::Result<Webhooks> {
    // Room for a burst, for a word of every sender, and for the end.
    let (messages, inbox) = blocking_mailbox(WEBHOOKS_PENDING_MAX + WEBHOOK_THREADS + 1);
    let counters = Arc::new(Counters::default());
    let mut jobs = Vec::with_capacity(WEBHOOK_THREADS);
    for number in 0..WEBHOOK_THREADS {
        let (job, work) = blocking_mailbox(1);
        let done = messages.clone();
        jobs.push(job);
        thread::Builder::new().name(format!("webhook-{number}")).spawn(move || post(&work, &done))?;
    }
    let dispatcher = Dispatcher { queue: Queue::default(), inbox, jobs, counters: Arc::clone(&counters) };
    thread::Builder::new().name("webhooks".to_owned()).spawn(move || dispatcher.run())?;
    Ok(Webhooks { line: Arc::new(Line { messages, counters }) })
}

impl Webhooks {
    /// Tells a receiver. Never waits: what cannot be kept is dropped and counted.
    pub fn send(&self, webhook: &Webhook, event: Event) {
        let message = Message::Event(Box::new((webhook.clone(), event)));
        if let Err(SendError::Full(_)) = self.line.messages.send(message) {
            self.line.counters.unheard.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How deliveries have gone.
    pub fn reading(&self) -> Reading {
        // Relaxed: numbers that stand for nothing but themselves.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.line.counters;
        Reading {
            pending: read(&counters.pending) + self.line.messages.waiting() as u64,
            delivered: read(&counters.delivered),
            retried: read(&counters.retried),
            failed: read(&counters.failed),
            dropped: read(&counters.dropped) + read(&counters.unheard),
        }
    }
}

struct Dispatcher {
    queue: Queue,
    inbox: MailboxReceiver<Message>,
    jobs: Vec<MailboxSender<Delivery>>,
    counters: Arc<Counters>,
}

impl Dispatcher {
    fn run(mut self) {
        loop {
            let now = clock::now();
            while let Some(delivery) = self.queue.poll_start(now) {
                self.hand_out(delivery);
            }
            self.tell();
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
                // The senders end when they find that no job will come any more.
                Ok(Message::End) | Err(TryRecvError::Closed) => return,
            }
        }
    }

    /// As many deliveries are under way as there are senders at most, so one of them is free.
    fn hand_out(&mut self, delivery: Delivery) {
        let mut delivery = delivery;
        for job in &self.jobs {
            match job.send(delivery) {
                Ok(()) => return,
                Err(SendError::Full(back) | SendError::Closed(back)) => delivery = back,
            }
        }
        let outcome = Outcome::Failed("no thread is left to deliver it".to_owned());
        self.queue.handle_done(delivery, &outcome, clock::now());
    }

    fn tell(&self) {
        let tally = self.queue.tally();
        let counters = &self.counters;
        for (counter, value) in [
            (&counters.pending, self.queue.pending() as u64),
            (&counters.delivered, tally.delivered),
            (&counters.retried, tally.retried),
            (&counters.failed, tally.failed),
            (&counters.dropped, tally.dropped),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
    }
}

/// A sender: one delivery after the other.
fn post(work: &MailboxReceiver<Delivery>, done: &MailboxSender<Message>) {
    // Made with the first delivery: the trust store takes some milliseconds to read.
    let mut poster = None;
    loop {
        let delivery = match work.recv_timeout(WAIT_MAX) {
            Ok(delivery) => delivery,
            Err(TryRecvError::Empty) => continue,
            Err(TryRecvError::Closed) => return,
        };
        let poster = poster.get_or_insert_with(agent);
        // A defect of the HTTP client must cost the delivery and not the thread.
        let attempt = || send(poster, &delivery, clock::timestamp());
        let outcome = catch_unwind(AssertUnwindSafe(attempt))
            .unwrap_or_else(|_| Outcome::Refused("the HTTP client panicked".to_owned()));
        if done.send(Message::Done(Box::new((delivery, outcome)))).is_err() {
            return;
        }
    }
}

fn log(delivery: &Delivery, outcome: &Outcome) {
    let (id, tries) = (&*delivery.id, delivery.tries);
    match outcome {
        Outcome::Delivered => tracing::debug!(id, tries, "webhook delivered"),
        Outcome::Refused(reason) => tracing::warn!(id, tries, reason, "webhook refused by its receiver"),
        Outcome::Failed(reason) => tracing::warn!(id, tries, reason, "webhook not delivered"),
    }
}

/// An id that no other event has: when it happened, and 64 random bits.
fn draw_id(millis: u64) -> String {
    let mut random = [0; 8];
    // Without randomness the time has to do: ids are for telling events apart, not for keeping secrets.
    let _ = rand::fill(&mut random);
    format!("evt_{millis:011x}{:016x}", u64::from_be_bytes(random))
}

/// A wait that ends by itself now and then costs nothing and cannot be forgotten.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
