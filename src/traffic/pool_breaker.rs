//! Circuit breaker over all endpoints of a pool.

use std::sync::Arc;

use ringway_model::CircuitBreaker;

/// Circuit breaker over all endpoints of a pool.
#[derive(Clone, Debug)]
pub struct PoolBreaker {
    /// The settings.
    pub settings: CircuitBreaker,
    /// State that outlives snapshots.
    pub state: Arc<PoolBreakerState>,
}

/// State of a [`PoolBreaker`].
#[derive(Debug, Default)]
pub struct PoolBreakerState {}

impl PoolBreaker {
    /// Settings with the state of `known`.
    pub fn new(settings: CircuitBreaker, known: Option<&Self>, _cores: usize) -> Self {
        Self { settings, state: known.map_or_else(Arc::default, |known| known.state.clone()) }
    }
}

/// By the settings.
impl PartialEq for PoolBreaker {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for PoolBreaker {}
