//! The deliveries that wait, those under way, and when which is tried again. Pure: time is an argument.

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
    /// Tries made so far.
    pub(crate) tries: u32,
    due: Tick,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver does not want it.
    Refused(String),
    /// It may go better later.
    Failed(String),
}

/// What has become of deliveries since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) delivered: u64,
    pub(crate) retried: u64,
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In the order in which they came; those of one receiver go out in this order, retries aside.
    waiting: VecDeque<Delivery>,
    under_way: AHashMap<String, usize>,
    busy: usize,
    tally: Tally,
}

impl Queue {
    /// One more. When there are too many the oldest is dropped: what is newest says most about now.
    pub(crate) fn push(&mut self, id: Arc<str>, webhook: Webhook, body: Arc<[u8]>, now: Tick) {
        if self.waiting.len() >= WEBHOOKS_PENDING_MAX {
            self.waiting.pop_front();
            self.tally.dropped += 1;
        }
        self.waiting.push_back(Delivery { id, webhook, body, tries: 0, due: now });
    }

    /// The next one to try: the first whose time has come and whose receiver is free.
    pub(crate) fn poll_start(&mut self, now: Tick) -> Option<Delivery> {
        if self.busy >= WEBHOOK_THREADS {
            return None;
        }
        let is_free = |delivery: &Delivery| {
            let busy = self.under_way.get(receiver(&delivery.webhook)).copied().unwrap_or(0);
            delivery.due <= now && busy < WEBHOOKS_PER_RECEIVER_MAX
        };
        let at = self.waiting.iter().position(is_free)?;
        let mut delivery = self.waiting.remove(at)?;
        delivery.tries += 1;
        *self.under_way.entry(receiver(&delivery.webhook).to_owned()).or_default() += 1;
        self.busy += 1;
        Some(delivery)
    }

    /// A try is over.
    pub(crate) fn handle_done(&mut self, mut delivery: Delivery, outcome: &Outcome, now: Tick) {
        let receiver = receiver(&delivery.webhook);
        self.busy = self.busy.saturating_sub(1);
        if let Some(count) = self.under_way.get_mut(receiver) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(receiver);
            }
        }
        match outcome {
            Outcome::Delivered => self.tally.delivered += 1,
            Outcome::Failed(_) if delivery.tries <= WEBHOOK_RETRIES_MAX => {
                self.tally.retried += 1;
                delivery.due = now.after(pause(delivery.tries));
                self.waiting.push_back(delivery);
            }
            Outcome::Refused(_) | Outcome::Failed(_) => self.tally.failed += 1,
        }
    }

    /// When something is due that is not under way yet; nothing is while all senders are busy.
    pub(crate) fn next_deadline(&self) -> Tick {
        match self.busy < WEBHOOK_THREADS {
            true => {
                let free = self
                    .waiting
                    .iter()
                    .filter(|delivery| !self.under_way.contains_key(receiver(&delivery.webhook)));
                free.map(|delivery| delivery.due).min().unwrap_or(Tick::NEVER)
            }
            false => Tick::NEVER,
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Deliveries that wait or are under way.
    pub(crate) fn pending(&self) -> usize {
        self.waiting.len() + self.busy
    }
}

/// Scheme, host and port: what hangs together when it hangs.
fn receiver(webhook: &Webhook) -> &str {
    let url = webhook.url.as_str();
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    &url[..end]
}

/// One second, two, four (FR-6.10).
fn pause(tries: u32) -> Duration {
    WEBHOOK_RETRY_FIRST * 2_u32.saturating_pow(tries.saturating_sub(1))
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
    fn what_fails_is_tried_three_times_more_and_later_each_time() {
        let mut queue = Queue::default();
        push(&mut queue, "a", "http://one.example/x");
        let mut now = Tick(0);
        let failed = Outcome::Failed("no answer".into());
        for seconds in [1, 2, 4] {
            let delivery = queue.poll_start(now).expect("it is due");
            queue.handle_done(delivery, &failed, now);
            assert_eq!(queue.next_deadline(), now.after(Duration::from_secs(seconds)));
            assert!(queue.poll_start(Tick(queue.next_deadline().0 - 1)).is_none());
            now = queue.next_deadline();
        }
        let last = queue.poll_start(now).expect("the last try");
        assert_eq!(&*last.id, "a");
        queue.handle_done(last, &failed, now);
        assert_eq!(queue.next_deadline(), Tick::NEVER);
        assert_eq!(queue.tally(), Tally { retried: 3, failed: 1, ..Tally::default() });
        assert_eq!(queue.pending(), 0);
    }

    #[test]
    fn what_is_refused_is_not_tried_again() {
        let mut queue = Queue::default();
        push(&mut queue, "a", "http://one.example/x");
        let delivery = queue.poll_start(Tick(0)).expect("it is due");
        queue.handle_done(delivery, &Outcome::Refused("410".into()), Tick(0));
        assert_eq!((queue.tally().failed, queue.pending()), (1, 0));
    }

    #[test]
    fn a_receiver_has_one_delivery_at_a_time_and_the_others_go_on() {
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
    fn when_there_are_too_many_the_oldest_is_dropped() {
        let mut queue = Queue::default();
        for number in 0..=WEBHOOKS_PENDING_MAX {
            push(&mut queue, &number.to_string(), "http://one.example/x");
        }
        assert_eq!((queue.pending(), queue.tally().dropped), (WEBHOOKS_PENDING_MAX, 1));
        assert_eq!(queue.poll_start(Tick(0)).map(|delivery| delivery.id).as_deref(), Some("1"));
    }

    proptest! {
        /// Whatever happens in whatever order: each delivery ends exactly once, no receiver has two at a time, and no
        /// more are under way than there are threads.
        #[test]
        fn every_delivery_ends_once(steps in prop::collection::vec((0_u8..4, 0_usize..5), 0..400)) {
            let mut queue = Queue::default();
            let (mut now, mut sent, mut under_way) = (Tick(0), 0_u64, Vec::<Delivery>::new());
            for (step, which) in steps {
                match step {
                    0 => {
                        push(&mut queue, &sent.to_string(), &format!("http://host-{which}.example/"));
                        sent += 1;
                    }
                    1 => under_way.extend(queue.poll_start(now)),
                    2 if !under_way.is_empty() => {
                        let delivery = under_way.remove(which % under_way.len());
                        let outcome = [Outcome::Delivered, Outcome::Failed(String::new()), Outcome::Refused(String::new())];
                        queue.handle_done(delivery, &outcome[which % 3], now);
                    }
                    _ => now = now.after(Duration::from_millis(700)),
                }
                prop_assert!(under_way.len() <= WEBHOOK_THREADS);
                let mut receivers: Vec<_> = under_way.iter().map(|one| receiver(&one.webhook).to_owned()).collect();
                receivers.sort();
                receivers.dedup();
                prop_assert_eq!(receivers.len(), under_way.len());
                let Tally { delivered, failed, dropped, .. } = queue.tally();
                prop_assert_eq!(delivered + failed + dropped + queue.pending() as u64, sent);
            }
        }
    }
}
