//! State of scripts that all cores share, and that outlives bundles.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringway_script::{Dictionaries, Dictionary, RateLimit};

use super::ScriptBreaker;
use crate::rate_limit::{Decision, Gcra, Limit, RateLimitTable};

/// State of scripts by name: dictionaries, debts of rate limits, circuit breakers.
#[derive(Debug, Default)]
pub struct ScriptState {
    dictionaries: Dictionaries,
    limits: Arc<RateLimitTable>,
    breakers: Mutex<HashMap<Box<str>, Arc<ScriptBreaker>>>,
    counters: Mutex<BTreeMap<Box<str>, f64>>,
}

impl ScriptState {
    pub(crate) fn new(limits: Arc<RateLimitTable>) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The dictionary of this name.
    pub fn dictionary(&self, name: &str) -> Option<Arc<Dictionary>> {
        self.dictionaries.get(NAMESPACE, name)
    }

    /// Counts a request of a key against a limit: 40 to 70 ns.
    ///
    /// # Errors
    /// It is beyond the limit: the time until it would be admitted.
    pub fn take(&self, limit: &RateLimit, key: &[u8], now_us: u64) -> Result<(), Duration> {
        let key = self.limits.text_key(("script", &limit.name), key);
        let gcra = Limit { rate: Gcra::new(limit.requests, limit.per, limit.burst), bans: None };
        match gcra.decide(&self.limits, key, now_us) {
            Decision::Admitted { .. } => Ok(()),
            Decision::Limited { retry_after } | Decision::Banned { retry_after } => Err(retry_after),
        }
    }

    /// Adds to a counter; beyond `COUNTERS_MAX` names, new ones are not counted.
    pub fn count(&self, name: &str, by: f64) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counters.len();
        match counters.get_mut(name) {
            Some(value) => *value += by,
            None if count < COUNTERS_MAX => _ = counters.insert(name.into(), by),
            None => {}
        }
    }

    /// Counters of scripts by name.
    pub fn counters(&self) -> Vec<(Box<str>, f64)> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.iter().map(|(name, value)| (name.clone(), *value)).collect()
    }

    /// Prepares the table of limits, which takes milliseconds the first time.
    pub(crate) fn prepare(&self) {
        self.limits.prepare();
    }

    pub(super) fn breaker(&self, script: &str) -> Arc<ScriptBreaker> {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.entry(script.into()).or_default().clone()
    }
}

/// Counters of a namespace.
const COUNTERS_MAX: usize = 64;

/// The operator's namespace.
const NAMESPACE: &str = "";
