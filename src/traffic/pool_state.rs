//! State of a pool that all of its endpoints share.

/// State of a pool that all of its endpoints share.
#[derive(Debug, Default)]
pub struct PoolState {}

impl PoolState {
    /// The state of a new pool.
    pub fn new(_cores: usize) -> Self {
        Self::default()
    }
}
