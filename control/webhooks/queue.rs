//! Queue of deliveries: order, limits and retries; pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{
    WEBHOOK_RETRIES_MAX, WEBHOOK_RETRY_FIRST, WEBHOOK_THREADS, WEBHOOKS_PENDING_MAX,
    WEBHOOKS_PER_RECEIVER_MAX,
};
use ahash::AHashMap;
use ringway_model::{Tick, Webhook};

/// One event on its way to one receiver.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: Arc<str>,
    pub(crate) webhook: Webhook,
    pub(crate) body: Arc<[u8]>,
    /// Attempts so far.
    pub(crate) attempts: u32,
    due: Tick,
}

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Accepted by the receiver.
    Delivered,
    /// Refused by the receiver; not retried.
    Refused(String),
    /// Failed in a way that a retry may resolve.
    Failed(String),
}

/// Deliveries since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) delivered: u64,
    pub(crate) retried: u64,
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In order of arrival; deliveries of one receiver keep this order, except for retries.
    waiting: VecDeque<Delivery>,
    in_flight: AHashMap<String, usize>,
    busy: usize,
    counters: Counters,
}

impl Queue {
    /// Adds a delivery. Drops the oldest one beyond the limit.
    pub(crate) fn push(&mut self, id: Arc<str>, webhook: Webhook, body: Arc<[u8]>, now: Tick) {
        if self.waiting.len() >= WEBHOOKS_PENDING_MAX {
            self.waiting.pop_front();
            self.counters.dropped += 1;
        }
        self.waiting.push_back(Delivery { id, webhook, body, attempts: 0, due: now });
    }

    /// Next delivery to attempt: the first one that is due and whose receiver is free.
    pub(crate) fn poll_start(&mut self, now: Tick) -> Option<Delivery> {
        if self.busy >= WEBHOOK_THREADS {
            return None;
        }
        let is_free = |delivery: &Delivery| {
            let busy = self.in_flight.get(receiver(&delivery.webhook)).copied().unwrap_or(0);
            delivery.due <= now && busy < WEBHOOKS_PER_RECEIVER_MAX
        };
        let at = self.waiting.iter().position(is_free)?;
        let mut delivery = self.waiting.remove(at)?;
        delivery.attempts += 1;
        *self.in_flight.entry(receiver(&delivery.webhook).to_owned()).or_default() += 1;
        self.busy += 1;
        Some(delivery)
    }

    /// Records the result of an attempt.
    pub(crate) fn handle_done(&mut self, mut delivery: Delivery, outcome: &Outcome, now: Tick) {
        let receiver = receiver(&delivery.webhook);
        self.busy = self.busy.saturating_sub(1);
        if let Some(count) = self.in_flight.get_mut(receiver) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(receiver);
            }
        }
        match outcome {
            Outcome::Delivered => self.counters.delivered += 1,
            Outcome::Failed(_) if delivery.attempts <= WEBHOOK_RETRIES_MAX => {
                self.counters.retried += 1;
                delivery.due = now.after(retry_delay(delivery.attempts));
                self.waiting.push_back(delivery);
            }
            Outcome::Refused(_) | Outcome::Failed(_) => self.counters.failed += 1,
        }
    }

    /// Time of the next attempt; [`Tick::NEVER`] while all senders are busy.
    pub(crate) fn next_deadline(&self) -> Tick {
        match self.busy < WEBHOOK_THREADS {
            true => {
                let free = self
                    .waiting
                    .iter()
                    .filter(|delivery| !self.in_flight.contains_key(receiver(&delivery.webhook)));
                free.map(|delivery| delivery.due).min().unwrap_or(Tick::NEVER)
            }
            false => Tick::NEVER,
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Number of deliveries waiting or in flight.
    pub(crate) fn pending(&self) -> usize {
        self.waiting.len() + self.busy
    }
}

/// Scheme, host and port: the part of a URL that identifies the server.
fn receiver(webhook: &Webhook) -> &str {
    let url = webhook.url.as_str();
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    &url[..end]
}

/// Delay of the next retry: 1 s, 2 s, 4 s.
fn retry_delay(attempts: u32) -> Duration {
    WEBHOOK_RETRY_FIRST * 2_u32.saturating_pow(attempts.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringway_model::WebhookUrl;

    fn webhook(url: &str) -> Webhook {
        Webhook { url: WebhookUrl::parse(url).expect("a URL"), secret: None }
    }

    fn push(queue: &mut Queue, id: &str, url: &str) {
        queue.push(id.into(), webhook(url), b"{}"[..].into(), Tick(0));
    }

    #[test]
    fn a_failed_delivery_is_retried_three_times_with_growing_delays() {
        let mut queue = Queue::default();
        push(&mut queue, "a", "http://one.example/x");
        let mut now = Tick(0);
        let failed = Outcome::Failed("no response".into());
        for seconds in [1, 2, 4] {
            let delivery = queue.poll_start(now).expect("it is due");
            queue.handle_done(delivery, &failed, now);
            assert_eq!(queue.next_deadline(), now.after(Duration::from_secs(seconds)));
            assert!(queue.poll_start(Tick(queue.next_deadline().0 - 1)).is_none());
            now = queue.next_deadline();
        }
        let last = queue.poll_start(now).expect("the last attempt");
        assert_eq!(&*last.id, "a");
        queue.handle_done(last, &failed, now);
        assert_eq!(queue.next_deadline(), Tick::NEVER);
        assert_eq!(queue.counters(), Counters { retried: 3, failed: 1, ..Counters::default() });
        assert_eq!(queue.pending(), 0);
    }

    #[test]
    fn a_refused_delivery_is_not_retried() {
        let mut queue = Queue::default();
        push(&mut queue, "a", "http://one.example/x");
        let delivery = queue.poll_start(Tick(0)).expect("it is due");
        queue.handle_done(delivery, &Outcome::Refused("410".into()), Tick(0));
        assert_eq!((queue.counters().failed, queue.pending()), (1, 0));
    }

    #[test]
    fn a_receiver_has_one_delivery_in_flight_and_does_not_delay_others() {
        let mut queue = Queue::default();
        push(&mut queue, "a", "http://slow.example/x");
        push(&mut queue, "b", "http://slow.example/y");
        push(&mut queue, "c", "http://fast.example/x");
        let slow = queue.poll_start(Tick(0)).expect("the first");
        let fast = queue.poll_start(Tick(0)).expect("another receiver");
        assert_eq!((&*slow.id, &*fast.id), ("a", "c"));
        assert!(queue.poll_start(Tick(0)).is_none());
        assert_eq!(queue.next_deadline(), Tick::NEVER);
        queue.handle_done(slow, &Outcome::Delivered, Tick(1));
        assert_eq!(queue.poll_start(Tick(1)).map(|delivery| delivery.id).as_deref(), Some("b"));
    }

    #[test]
    fn the_oldest_delivery_is_dropped_beyond_the_limit() {
        let mut queue = Queue::default();
        for number in 0..=WEBHOOKS_PENDING_MAX {
            push(&mut queue, &number.to_string(), "http://one.example/x");
        }
        assert_eq!((queue.pending(), queue.counters().dropped), (WEBHOOKS_PENDING_MAX, 1));
        assert_eq!(queue.poll_start(Tick(0)).map(|delivery| delivery.id).as_deref(), Some("1"));
    }

    proptest! {
        /// For any order of events: each delivery ends exactly once, no receiver has two in flight, and no
        /// more are in flight than there are threads.
        #[test]
        fn every_delivery_ends_once(steps in prop::collection::vec((0_u8..4, 0_usize..5), 0..400)) {
            let mut queue = Queue::default();
            let (mut now, mut sent, mut in_flight) = (Tick(0), 0_u64, Vec::<Delivery>::new());
            for (step, which) in steps {
                match step {
                    0 => {
                        push(&mut queue, &sent.to_string(), &format!("http://host-{which}.example/"));
                        sent += 1;
                    }
                    1 => in_flight.extend(queue.poll_start(now)),
                    2 if !in_flight.is_empty() => {
                        let delivery = in_flight.remove(which % in_flight.len());
                        let outcome = [Outcome::Delivered, Outcome::Failed(String::new()), Outcome::Refused(String::new())];
                        queue.handle_done(delivery, &outcome[which % 3], now);
                    }
                    _ => now = now.after(Duration::from_millis(700)),
                }
                prop_assert!(in_flight.len() <= WEBHOOK_THREADS);
                let mut receivers: Vec<_> = in_flight.iter().map(|one| receiver(&one.webhook).to_owned()).collect();
                receivers.sort();
                receivers.dedup();
                prop_assert_eq!(receivers.len(), in_flight.len());
                let Counters { delivered, failed, dropped, .. } = queue.counters();
                prop_assert_eq!(delivered + failed + dropped + queue.pending() as u64, sent);
            }
        }
    }
}
