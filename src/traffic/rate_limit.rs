//! Rate limits: how many requests of a key are admitted, exactly, on all cores together.
//!
//! ```text
//! request ─► key (limit, route, client, …) ─► table ─► Decision: admitted, limited, banned
//! ```
//! [`RateLimiter`] is the compiled limit of a policy, [`Gcra`] has the arithmetic, [`RateLimitTable`] the
//! debts of the keys of all limits, and [`Bans`] what follows refusals.
//!
//! Property: of each key, at most `burst + rate × t` requests are admitted in a time `t`, and one more for
//! each further core that inserts the key at the same moment.

mod bans;
mod gcra;
mod limiter;
mod table;

use std::time::Duration;

pub use self::bans::Bans;
pub use self::gcra::Gcra;
pub use self::limiter::{KeySource, LimitScope, RateLimiter};
pub use self::table::{Key, RateLimitTable};

/// Limit of the requests of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Rate and burst.
    pub rate: Gcra,
    /// Bans of keys that go on after refusals.
    pub bans: Option<Bans>,
}

/// Decision on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may pass.
    Admitted {
        /// Debt of its key, with this request.
        debt_us: u64,
    },
    /// It is beyond the rate.
    Limited {
        /// Time until a request of the key is admitted.
        retry_after: Duration,
    },
    /// Its key is banned.
    Banned {
        /// Time until the ban ends.
        retry_after: Duration,
    },
}

impl Limit {
    /// Decides on a request, and counts it. A key that is refused writes to the table only while refusals are
    /// counted for a ban.
    #[inline]
    pub fn decide(&self, table: &RateLimitTable, key: Key, now_us: u64) -> Decision {
        if let Some(retry_after) = self.bans.and_then(|bans| bans.left(table, key, now_us)) {
            return Decision::Banned { retry_after };
        }
        let admitted = table.update(key, now_us, |debt, now| {
            let debt = debt.min(self.rate.capacity_us());
            self.rate.check(debt)?;
            let debt = debt + self.rate.step(now.after(debt));
            Ok((debt, debt))
        });
        match admitted {
            Ok(debt_us) => Decision::Admitted { debt_us },
            Err(retry_after) => match self.bans.and_then(|bans| bans.count(table, key, now_us)) {
                Some(retry_after) => Decision::Banned { retry_after },
                None => Decision::Limited { retry_after },
            },
        }
    }
}
