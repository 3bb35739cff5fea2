//! Whose order is begun, at which CA, and what it is to that CA's limits.

use super::*;

impl Certificates {
    /// Begins the orders whose turn it is.
    pub(super) fn start_orders(&self) {
        let issuance = self.issuance();
        loop {
            let now = clock::timestamp();
            let next = issuance.queue.borrow_mut().next(now, |host, errand| self.turn(host, errand, now));
            let Some((host, errand, index)) = next else { return };
            self.forget_places();
            let number = {
                let mut domains = self.shared.domains.borrow_mut();
                let Some(entry) = domains.get_mut(&host) else {
                    issuance.queue.borrow_mut().finish(&host);
                    continue;
                };
                let checked_at = entry.verification.as_ref().map_or(0, |found| found.checked_at.0);
                if now.0.saturating_sub(checked_at) > VERIFICATION_TTL.as_millis() as u64 {
                    // It has waited for long: much may have changed.
                    issuance.queue.borrow_mut().finish(&host);
                    entry.stage = Stage::Verifying(errand);
                    entry.show(errand, State::Verifying);
                    issuance.to_verify.borrow_mut().push_back(host.clone());
                    self.shared.stir.stir();
                    continue;
                }
                entry.stage = Stage::Ordering(errand);
                entry.show(errand, State::Issuing);
                entry.course.reason = None;
                entry.number
            };
            let Some(seat) = issuance.seats.get(index).cloned() else { continue };
            let kind = self.kind(&host, errand, &seat);
            issuance.budgets.borrow_mut().take_order(seat.authority.url(), &host, kind, now);
            seat.in_flight.update(|count| count + 1);
            let (account, is_sent) = (Rc::default(), Rc::default());
            let order = Attempt { this: self.clone(), host, number, errand, kind, seat, account, is_sent };
            let failed = order.clone();
            spawn(async move { order.run().await }, move |panic| {
                log_panic(panic);
                failed.end();
                failed.this.postpone(&failed.host, number, OWN_RETRY, "the order failed for a fault of ours");
            });
        }
    }

    /// Whether a domain may order now, and at which CA.
    fn turn(&self, host: &Hostname, errand: Errand, now: Timestamp) -> Turn<usize> {
        let issuance = self.issuance();
        if self.directory_problem().is_some() {
            return self.closed(now.after(OWN_RETRY));
        }
        let tick = clock::now();
        let budgets = issuance.budgets.borrow();
        let (mut not_before, mut closed): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        // One that this CA has failed to serve again and again begins with the next.
        let count = issuance.seats.len();
        let first = self.shared.domains.borrow().get(host).map_or(0, |entry| entry.first_seat(count));
        let seats = issuance.seats.iter().enumerate();
        for (index, seat) in seats.clone().skip(first).chain(seats.take(first)) {
            let health = seat.health.borrow();
            let url = seat.authority.url();
            if !health.is_usable(seat.in_flight.get(), tick) {
                // An order that tries a CA stirs us when it ends.
                let pause = tick.until(health.paused_until()).max(Duration::from_secs(1));
                closed = Some(closed.unwrap_or(Timestamp(u64::MAX)).min(now.after(pause)));
                if health.is_failed_over(tick) {
                    continue;
                }
                break;
            }
            let kind = self.kind(host, errand, seat);
            let at = budgets.order_at(url, host, kind, now);
            if at <= now {
                return Turn::Now(index);
            }
            let is_of_account = kind != Kind::Replacement && budgets.account_at(url, now) >= at;
            let earliest = if is_of_account { &mut closed } else { &mut not_before };
            *earliest = Some(earliest.unwrap_or(Timestamp(u64::MAX)).min(at));
            // A limit that is over soon is no reason to go elsewhere.
            if at.0 - now.0 < AUTHORITY_FAILOVER_AFTER.as_millis() as u64 {
                break;
            }
        }
        match (not_before, closed) {
            (Some(at), None) => Turn::NotBefore(at),
            // Looked at again when either changes.
            (Some(at), Some(open_at)) => Turn::NotBefore(at.min(open_at)),
            (None, closed) => self.closed(closed.unwrap_or(now.after(OWN_RETRY))),
        }
    }

    /// No CA takes an order until then.
    fn closed(&self, until: Timestamp) -> Turn<usize> {
        let closed = &self.issuance().closed_until;
        closed.set(Some(closed.get().map_or(until, |at| at.min(until))));
        Turn::Closed(until)
    }

    /// What an order is to the limits of a CA.
    pub(super) fn kind(&self, host: &Hostname, errand: Errand, seat: &Seat) -> Kind {
        if errand == Errand::Issue {
            return Kind::New;
        }
        // Called while the domains are lent nowhere to be changed.
        let domains = self.shared.domains.borrow();
        match domains.get(host).and_then(|entry| entry.origin_at(seat.authority.url())) {
            Some(origin) if origin.certificate_id.is_some() && seat.authority.takes_replacements() => {
                Kind::Replacement
            }
            Some(_) => Kind::Renewal,
            // Of another CA: to this one, it is new.
            None => Kind::New,
        }
    }
}
