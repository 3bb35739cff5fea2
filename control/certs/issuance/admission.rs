//! Admission of queued orders: by the directory's state, the health of the CAs, and their rate-limit budgets.

use std::rc::Rc;
use std::time::Duration;

use ringway_model::{Hostname, Timestamp};
use ringway_net::{clock, spawn};

use super::attempt::Attempt;
use super::{CaSlot, INTERNAL_RETRY, Issuance};
use crate::budget::OrderClass;
use crate::issuance_state::{After, Stage};
use crate::limits::{AUTHORITY_FAILOVER_AFTER, VERIFICATION_TTL};
use crate::queue::{Admission, OrderKind};
use crate::report::CertificateState;
use crate::tasks::log_panic;

impl Issuance {
    /// Starts all orders that are admitted now.
    pub(super) fn start_orders(&self) {
        loop {
            let now = clock::timestamp();
            let next = self.queue.borrow_mut().next(now, |host, kind| self.admit(host, kind, now));
            let Some((host, kind, index)) = next else { return };
            self.drop_forecast();
            let number = {
                let mut table = self.registry.table_mut();
                let Some(entry) = table.get_mut(&host) else {
                    self.queue.borrow_mut().finish(&host);
                    continue;
                };
                let checked_at = entry.verification.as_ref().map_or(0, |found| found.checked_at.0);
                if now.0.saturating_sub(checked_at) > VERIFICATION_TTL.as_millis() as u64 {
                    // Queued for too long: verified again first.
                    self.queue.borrow_mut().finish(&host);
                    entry.stage = Stage::Verifying(kind);
                    entry.show(kind, CertificateState::Verifying);
                    self.to_verify.borrow_mut().push_back(host.clone());
                    self.registry.wake();
                    continue;
                }
                entry.stage = Stage::Ordering(kind);
                entry.show(kind, CertificateState::Issuing);
                entry.status.reason = None;
                entry.number
            };
            let Some(slot) = self.slots.get(index) else { continue };
            self.start_order(host, number, kind, Rc::clone(slot), now);
        }
    }

    fn start_order(&self, host: Hostname, number: u64, kind: OrderKind, slot: Rc<CaSlot>, now: Timestamp) {
        let class = self.class(&host, kind, &slot);
        self.budgets.borrow_mut().take_order(slot.authority.url(), &host, class, now);
        slot.in_flight.update(|count| count + 1);
        let attempt = Attempt::new(self.clone(), host, number, kind, class, slot);
        let panicked = attempt.clone();
        spawn(async move { attempt.run().await }, move |panic| {
            log_panic(panic);
            panicked.end();
            let reason = "the order failed for an internal error";
            panicked.issuance.postpone(&panicked.host, number, INTERNAL_RETRY, reason);
        });
    }

    /// Decides whether a domain may order now, and at which CA.
    fn admit(&self, host: &Hostname, kind: OrderKind, now: Timestamp) -> Admission<usize> {
        if self.disk.problem().is_some() {
            return self.close(now.after(INTERNAL_RETRY));
        }
        let tick = clock::now();
        let budgets = self.budgets.borrow();
        let (mut not_before, mut closed): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        // A domain that one CA repeatedly failed to serve starts with the next.
        let count = self.slots.len();
        let first = self.registry.table().get(host).map_or(0, |entry| entry.first_slot(count));
        let slots = self.slots.iter().enumerate();
        for (index, slot) in slots.clone().skip(first).chain(slots.take(first)) {
            let health = slot.health.borrow();
            let url = slot.authority.url();
            if !health.is_usable(slot.in_flight.get(), tick) {
                // An order that probes a CA wakes the task when it ends.
                let pause = tick.until(health.paused_until()).max(Duration::from_secs(1));
                closed = Some(closed.unwrap_or(Timestamp(u64::MAX)).min(now.after(pause)));
                if health.is_failed_over(tick) {
                    continue;
                }
                break;
            }
            let class = self.class(host, kind, slot);
            let at = budgets.order_at(url, host, class, now);
            if at <= now {
                return Admission::Now(index);
            }
            let is_of_account = class != OrderClass::Replacement && budgets.account_at(url, now) >= at;
            let earliest = if is_of_account { &mut closed } else { &mut not_before };
            *earliest = Some(earliest.unwrap_or(Timestamp(u64::MAX)).min(at));
            // A limit that ends soon is no reason to fail over.
            if at.0 - now.0 < AUTHORITY_FAILOVER_AFTER.as_millis() as u64 {
                break;
            }
        }
        match (not_before, closed) {
            (Some(at), None) => Admission::NotBefore(at),
            // Checked again when either changes.
            (Some(at), Some(open_at)) => Admission::NotBefore(at.min(open_at)),
            (None, closed) => self.close(closed.unwrap_or(now.after(INTERNAL_RETRY))),
        }
    }

    /// Notes that no CA takes an order until then.
    fn close(&self, until: Timestamp) -> Admission<usize> {
        self.closed_until.set(Some(self.closed_until.get().map_or(until, |at| at.min(until))));
        Admission::Closed(until)
    }

    /// Classifies an order for the limits of a CA. The domain table must not be borrowed mutably.
    pub(super) fn class(&self, host: &Hostname, kind: OrderKind, slot: &CaSlot) -> OrderClass {
        if kind == OrderKind::Issue {
            return OrderClass::New;
        }
        let table = self.registry.table();
        match table.get(host).and_then(|entry| entry.origin_at(slot.authority.url())) {
            Some(origin) if origin.certificate_id.is_some() && slot.authority.takes_replacements() => {
                OrderClass::Replacement
            }
            Some(_) => OrderClass::Renewal,
            // Issued by another CA: new to this one.
            None => OrderClass::New,
        }
    }
}
