//! What is told of the queue, the CAs and their budgets.

use std::fmt::Write as _;

use super::*;

/// Places are found out anew after this: they change with the time, too.
const PLACES_TTL: Duration = Duration::from_secs(1);

impl Certificates {
    /// A domain's place in the queue, if it waits for its order.
    pub(crate) fn place(&self, host: &Hostname) -> Option<QueuePlace> {
        if !self.issuance().queue.borrow().contains(host) {
            return None;
        }
        self.with_places(|places| places.get(host).copied())
    }

    fn with_places<T>(
        &self,
        look: impl FnOnce(&HashMap<Hostname, QueuePlace, ahash::RandomState>) -> T,
    ) -> T {
        let tick = clock::now();
        let mut places = self.issuance().places.borrow_mut();
        let is_fresh = |places: &Places| tick.since(places.at) < PLACES_TTL;
        if !places.as_ref().is_some_and(is_fresh) {
            *places = Some(Places { at: tick, of: self.foresee() });
        }
        match &*places {
            Some(places) => look(&places.of),
            None => look(&HashMap::default()),
        }
    }

    /// When everybody's turn should come, by the budgets of the CA that would be asked now.
    fn foresee(&self) -> HashMap<Hostname, QueuePlace, ahash::RandomState> {
        let issuance = self.issuance();
        let (now, tick) = (clock::timestamp(), clock::now());
        let seat = issuance.seats.iter().find(|seat| {
            let health = seat.health.borrow();
            health.is_usable(0, tick) || !health.is_failed_over(tick)
        });
        let open_at = seat.map(|seat| now.after(tick.until(seat.health.borrow().paused_until())));
        let mut budgets = issuance.budgets.borrow().clone();
        issuance.queue.borrow().places(now, issuance.order_takes.get(), |host, errand, at| {
            let seat = seat?;
            let from = at.max(open_at?);
            let kind = self.kind(host, errand, seat);
            let url = seat.authority.url();
            let at = budgets.order_at(url, host, kind, from);
            budgets.take_order(url, host, kind, at);
            Some(at)
        })
    }

    /// Adds to an overview what is known of CAs.
    pub(crate) fn complete_overview(&self, overview: &mut Overview) {
        let issuance = self.issuance();
        let (now, tick) = (clock::timestamp(), clock::now());
        overview.clock_problem = issuance.clock_fault.get().map(|fault| fault.words(now));
        if overview.clock_problem.is_none() {
            let domains = self.shared.domains.borrow();
            let late = domains.iter().filter(|(_, entry)| {
                let moment = entry.course.renewal_at;
                let facts = entry.held.facts();
                facts.zip(moment).is_some_and(|(facts, moment)| is_overdue(facts, moment, now))
            });
            overview.late = late.count();
        }
        for seat in &issuance.seats {
            let health = seat.health.borrow();
            let is_paused = tick < health.paused_until();
            overview.authorities.push(AuthorityState {
                url: seat.authority.url().to_owned(),
                is_usable: !is_paused,
                problem: health.problem().map(str::to_owned),
                paused_until: is_paused.then(|| now.after(tick.until(health.paused_until()))),
                orders_in_flight: seat.in_flight.get(),
            });
            overview.budgets.extend(issuance.budgets.borrow().report(seat.authority.url(), now));
        }
        overview.orders_in_flight = issuance.queue.borrow().in_flight();
        overview.queued = issuance.queue.borrow().waiting() + issuance.to_verify.borrow().len();
        if overview.queued > 0 {
            overview.queue_ends_at =
                self.with_places(|places| places.values().filter_map(|place| place.expected_at).max());
        }
    }

    /// Appends the metrics about CAs.
    pub(crate) fn render_metrics_of_orders(&self, out: &mut String) {
        let counts = &self.issuance().counts;
        let mut overview = Overview::default();
        self.complete_overview(&mut overview);
        let mut family = |name: &str, kind: &str, help: &str, series: &[(String, u64)]| {
            if series.is_empty() {
                return;
            }
            // Writing to a String does not fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in series {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let one = |value: usize| vec![(String::new(), value as u64)];
        let outcomes = [
            ("issued", &counts.issued),
            ("renewed", &counts.renewed),
            ("refused", &counts.refused),
            ("limited", &counts.limited),
            ("ca_down", &counts.outages),
            ("failed", &counts.failed),
            ("lost", &counts.lost),
            ("own_fault", &counts.own_faults),
        ];
        let outcomes = outcomes.map(|(outcome, count)| (format!("{{outcome=\"{outcome}\"}}"), count.get()));
        family(
            "ringway_certificate_orders_total",
            "counter",
            "Orders that ended, by what came of them.",
            &outcomes,
        );
        family(
            "ringway_certificate_orders_in_flight",
            "gauge",
            "Orders that CAs work on.",
            &one(overview.orders_in_flight),
        );
        family(
            "ringway_certificate_orders_queued",
            "gauge",
            "Domains that wait for an order.",
            &one(overview.queued),
        );
        family(
            "ringway_certificates_late",
            "gauge",
            "Certificates past two thirds of their life whose renewal is overdue.",
            &one(overview.late),
        );
        let label = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "");
        let usable: Vec<(String, u64)> = overview
            .authorities
            .iter()
            .map(|ca| (format!("{{directory=\"{}\"}}", label(&ca.url)), u64::from(ca.is_usable)))
            .collect();
        family(
            "ringway_acme_usable",
            "gauge",
            "1 when orders go to the CA, as far as its health goes.",
            &usable,
        );
        let left: Vec<(String, u64)> = overview
            .budgets
            .iter()
            .map(|budget| {
                let labels =
                    format!("{{directory=\"{}\",limit=\"{}\"}}", label(&budget.authority), budget.limit);
                (labels, u64::from(budget.left))
            })
            .collect();
        family(
            "ringway_acme_budget_left",
            "gauge",
            "What may still be done by the CA's limits; where it is counted for many, the one nearest to its end.",
            &left,
        );
    }
}
