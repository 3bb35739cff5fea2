//! Mirror of a rule: copies of a share of its requests, for another pool.

use ringway_model::Mirror as MirrorSettings;
use ringway_wire::message::Method;

use crate::snapshot::PoolId;

/// Copies of the requests of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Pool that gets them.
    pub pool: PoolId,
    /// The settings.
    pub settings: MirrorSettings,
}

impl Mirror {
    /// Whether requests with this method are copied: by default those that change nothing.
    pub fn covers(&self, method: Method, name: &str) -> bool {
        match &*self.settings.methods {
            [] => matches!(method, Method::Get | Method::Head | Method::Options),
            methods => methods.iter().any(|known| **known == *name),
        }
    }

    /// Whether a request is of the share that is copied, by a `draw` that is uniform over all numbers.
    pub fn takes(&self, draw: u64) -> bool {
        let bucket = (u128::from(draw) * 10_000) >> 64;
        bucket < u128::from(self.settings.share.hundredths())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringway_model::{AppId, Percent, PoolRef};

    use super::*;

    fn mirror(share: Percent, methods: &[&str]) -> Mirror {
        let pool = PoolRef::Pool(AppId::parse("copies").expect("an id"));
        let methods = methods.iter().map(|name| (*name).into()).collect();
        let settings = MirrorSettings { pool, share, methods, timeout: Duration::from_secs(1) };
        Mirror { pool: PoolId(1), settings }
    }

    #[test]
    fn safe_methods_are_copied_unless_others_are_named() {
        let safe = mirror(Percent::ALL, &[]);
        let covered = |mirror: &Mirror, method: Method, name| mirror.covers(method, name);
        assert!(covered(&safe, Method::Get, "GET") && covered(&safe, Method::Head, "HEAD"));
        assert!(!covered(&safe, Method::Post, "POST") && !covered(&safe, Method::Delete, "DELETE"));
        let posts = mirror(Percent::ALL, &["POST"]);
        assert!(covered(&posts, Method::Post, "POST") && !covered(&posts, Method::Get, "GET"));
    }

    #[test]
    fn a_share_takes_as_much_of_evenly_spread_draws() {
        const STEP: u64 = u64::MAX / 10_000;
        for (percent, expected) in [(0, 0), (10, 1_000), (50, 5_000), (100, 10_000)] {
            let mirror = mirror(Percent::whole(percent), &[]);
            let taken = (0..10_000_u64).filter(|step| mirror.takes(step * STEP + STEP / 2)).count();
            assert_eq!(taken, expected, "{percent} %");
        }
    }
}
