//! Queue forecast, overview and metrics of issuance.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use ringway_model::{Hostname, Tick};
use ringway_net::clock;

use super::Issuance;
use crate::issuance_state::After;
use crate::renewal::is_overdue;
use crate::report::{AuthorityState, Overview, QueuePosition};

/// Positions of all queued orders, and the time at which they were forecast.
pub(super) struct Forecast {
    at: Tick,
    positions: Positions,
}

type Positions = HashMap<Hostname, QueuePosition, ahash::RandomState>;

/// Age of a forecast that is still used: positions change with time, too.
const FORECAST_TTL: Duration = Duration::from_secs(1);

impl Issuance {
    /// Returns a domain's position in the order queue.
    pub(crate) fn queue_position(&self, host: &Hostname) -> Option<QueuePosition> {
        if !self.queue.borrow().contains(host) {
            return None;
        }
        self.with_forecast(|positions| positions.get(host).copied())
    }

    /// Drops the cached forecast.
    pub(super) fn drop_forecast(&self) {
        self.forecast.borrow_mut().take();
    }

    fn with_forecast<T>(&self, read: impl FnOnce(&Positions) -> T) -> T {
        let tick = clock::now();
        let mut forecast = self.forecast.borrow_mut();
        match &*forecast {
            Some(cached) if tick.since(cached.at) < FORECAST_TTL => read(&cached.positions),
            Some(_) | None => {
                read(&forecast.insert(Forecast { at: tick, positions: self.forecast_positions() }).positions)
            }
        }
    }

    /// Forecasts the start of all queued orders, by the budgets of the CA that is preferred now.
    fn forecast_positions(&self) -> Positions {
        let (now, tick) = (clock::timestamp(), clock::now());
        let slot = self.slots.iter().find(|slot| {
            let health = slot.health.borrow();
            health.is_usable(0, tick) || !health.is_failed_over(tick)
        });
        let open_at = slot.map(|slot| now.after(tick.until(slot.health.borrow().paused_until())));
        let mut budgets = self.budgets.borrow().clone();
        self.queue.borrow().positions(now, self.order_duration.get(), |host, kind, at| {
            let slot = slot?;
            let from = at.max(open_at?);
            let class = self.class(host, kind, slot);
            let url = slot.authority.url();
            let at = budgets.order_at(url, host, class, from);
            budgets.take_order(url, host, class, at);
            Some(at)
        })
    }

    /// Adds clock, CAs, budgets and queue to an overview.
    pub(crate) fn complete_overview(&self, overview: &mut Overview) {
        let (now, tick) = (clock::timestamp(), clock::now());
        overview.clock_problem = self.clock_problem.get().map(|problem| problem.message(now));
        if overview.clock_problem.is_none() {
            let table = self.registry.table();
            let late = table.iter().filter(|(_, entry)| {
                let renewal_at = entry.status.renewal_at;
                let facts = entry.stored.facts();
                facts.zip(renewal_at).is_some_and(|(facts, renewal_at)| is_overdue(facts, renewal_at, now))
            });
            overview.late = late.count();
        }
        for slot in &self.slots {
            let health = slot.health.borrow();
            let is_paused = tick < health.paused_until();
            overview.authorities.push(AuthorityState {
                url: slot.authority.url().to_owned(),
                is_usable: !is_paused,
                problem: health.problem().map(str::to_owned),
                paused_until: is_paused.then(|| now.after(tick.until(health.paused_until()))),
                orders_in_flight: slot.in_flight.get(),
            });
            overview.budgets.extend(self.budgets.borrow().report(slot.authority.url(), now));
        }
        overview.orders_in_flight = self.queue.borrow().in_flight();
        overview.queued = self.queue.borrow().waiting() + self.to_verify.borrow().len();
        if overview.queued > 0 {
            overview.queue_ends_at = self.with_forecast(|positions| {
                positions.values().filter_map(|position| position.expected_at).max()
            });
        }
    }

    /// Appends the metrics of orders and CAs, in the text format of Prometheus.
    pub(crate) fn render_metrics(&self, out: &mut String) {
        let counters = &self.counters;
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
            ("issued", &counters.issued),
            ("renewed", &counters.renewed),
            ("refused", &counters.refused),
            ("limited", &counters.limited),
            ("ca_down", &counters.outages),
            ("failed", &counters.failed),
            ("lost", &counters.lost),
            ("own_fault", &counters.internal),
        ];
        let outcomes = outcomes.map(|(outcome, count)| (format!("{{outcome=\"{outcome}\"}}"), count.get()));
        family("ringway_certificate_orders_total", "counter", "Ended orders by outcome.", &outcomes);
        family(
            "ringway_certificate_orders_in_flight",
            "gauge",
            "Orders in flight at CAs.",
            &one(overview.orders_in_flight),
        );
        family(
            "ringway_certificate_orders_queued",
            "gauge",
            "Domains in the order queue.",
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
            "1 when the CA is healthy and orders are sent to it.",
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
            "Remaining budget of a CA's rate limit; of a limit per subject, the least.",
            &left,
        );
    }
}
