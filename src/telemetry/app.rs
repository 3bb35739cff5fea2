//! Traffic of each app for the status: the sum of its routes and its pool.

use std::collections::HashMap;

use crate::registry::{Names, Registry, Traffic};
use crate::shard::{BUCKETS_AT, BUCKETS_US, COMMON_STATUSES, STATUS_NONE};

/// Upper bounds of the duration histograms, in microseconds; one more bucket holds longer durations.
pub const DURATION_LIMITS_US: [u64; BUCKETS_US.len()] = BUCKETS_US;

/// Totals of one app's requests since its metric slot was assigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppReading {
    /// Completed exchanges.
    pub requests: u64,
    /// Exchanges with a status of 500 to 599, from an instance or from ringway.
    pub errors: u64,
    /// Exchanges by their duration; see [`DURATION_LIMITS_US`].
    pub durations: [u64; BUCKETS_US.len() + 1],
}

impl AppReading {
    fn add(&mut self, traffic: &Traffic) {
        let common = COMMON_STATUSES.iter().copied().zip(traffic.words);
        let rare = traffic.rare.iter().map(|(status, count)| (*status, *count));
        for (status, count) in common.chain(rare) {
            self.requests += count;
            if status >= 500 {
                self.errors += count;
            }
        }
        self.requests += traffic.words[STATUS_NONE];
        for (total, count) in self.durations.iter_mut().zip(&traffic.words[BUCKETS_AT..]) {
            *total += count;
        }
    }
}

impl Registry {
    /// Returns the traffic of the apps that have metric slots, by id. Reads the shards without blocking the
    /// cores.
    pub fn apps(&self) -> HashMap<&str, AppReading> {
        let (routes, _) = self.routes.read(self.shards.iter().map(|shard| &shard.routes));
        let (pools, _) = self.pools.read(self.shards.iter().map(|shard| &shard.pools));
        let mut apps: HashMap<&str, AppReading> = HashMap::new();
        for (Names { pool, .. }, traffic) in &routes {
            apps.entry(pool).or_default().add(traffic);
        }
        for (Names { name, .. }, traffic) in &pools {
            apps.entry(name).or_default().add(traffic);
        }
        apps
    }
}

/// Estimates the quantile `q` (0 to 1) of a duration histogram, in microseconds: interpolated within a
/// bucket, and at most the last limit. `None` without exchanges.
pub fn quantile(limits_us: &[u64], counts: &[u64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, limit) in counts.iter().zip(limits_us) {
        let (count, limit) = (*count as f64, *limit as f64);
        if count > 0.0 && below + count >= rank {
            return Some(lower + (limit - lower) * ((rank - below) / count).clamp(0.0, 1.0));
        }
        below += count;
        lower = limit;
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, Ipv4Addr};

    use ringway_model::Timestamp;

    use super::*;
    use crate::{Event, Exchange, Observer, Protocol};

    fn exchange(route: u16, pool: u16, status: u16, duration_us: u64) -> Exchange<'static> {
        Exchange {
            time: Timestamp(0),
            request_id: "r",
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method: b"GET",
            host: b"shop.test",
            path: b"/",
            query: None,
            protocol: Protocol::Http11,
            status,
            bytes_in: 0,
            bytes_out: 0,
            duration_us,
            upstream_us: None,
            route,
            pool,
            endpoint: 0,
            route_id: None,
            app: None,
            tenant: None,
            instance: None,
            attempts: 1,
            failure: None,
            upstream_error: None,
            request_error: None,
            user_agent: None,
            referer: None,
            upgrade: None,
            tls: None,
            variant: None,
            queue_us: None,
            stages_us: 0,
            limited_by: None,
            retry: None,
            hedge: None,
            breaker: None,
            middleware: None,
            filter_failure: None,
            compression: None,
            cache: None,
            is_logged: true,
        }
    }

    #[test]
    fn an_app_is_the_sum_of_its_routes_and_its_pool() {
        let mut registry = Registry::new();
        let metrics = [0, 1].map(|core| registry.add_core(ringway_model::CoreId(core)));
        registry.name_pool(1, "shop");
        registry.name_route(1, "shop.test", "shop");
        registry.name_route(2, "www.shop.test", "shop");
        registry.name_pool(2, "blog");
        metrics[0].on_event(&Event::Exchange(&exchange(1, 1, 200, 900)));
        metrics[1].on_event(&Event::Exchange(&exchange(2, 1, 503, 1_100)));
        metrics[1].on_event(&Event::Exchange(&exchange(2, 1, 599, 11_000_000)));
        // A route without a slot is counted under its pool.
        metrics[0].on_event(&Event::Exchange(&exchange(0, 1, 404, 900)));
        let apps = registry.apps();
        let shop = apps["shop"];
        assert_eq!((shop.requests, shop.errors), (4, 2));
        assert_eq!((shop.durations[0], shop.durations[1], shop.durations[10]), (2, 1, 1));
        assert!(!apps.contains_key("blog"), "it has not counted yet");
    }

    #[test]
    fn quantiles_are_interpolated_and_capped_at_the_last_limit() {
        let limits = [1_000, 2_000, 4_000];
        assert_eq!(quantile(&limits, &[0, 0, 0, 0], 0.5), None);
        assert_eq!(quantile(&limits, &[10, 0, 0, 0], 0.5), Some(500.0));
        assert_eq!(quantile(&limits, &[50, 0, 50, 0], 0.5), Some(1_000.0));
        assert_eq!(quantile(&limits, &[0, 0, 100, 0], 0.99), Some(3_980.0));
        assert_eq!(quantile(&limits, &[98, 0, 0, 2], 0.99), Some(4_000.0), "longer than the last limit");
    }
}
