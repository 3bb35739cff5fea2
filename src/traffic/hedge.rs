//! Second attempts of late requests.

use std::sync::Arc;

use ringway_model::Hedge;

/// Second attempts of late requests.
#[derive(Clone, Debug)]
pub struct Hedging {
    /// The settings.
    pub settings: Hedge,
    /// State that outlives snapshots.
    pub state: Arc<HedgeState>,
}

/// State of a [`Hedging`].
#[derive(Debug, Default)]
pub struct HedgeState {}

impl Hedging {
    /// Settings with the state of `known`.
    pub fn new(settings: Hedge, known: Option<&Self>, _cores: usize) -> Self {
        Self { settings, state: known.map_or_else(Arc::default, |known| known.state.clone()) }
    }
}

/// By the settings.
impl PartialEq for Hedging {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Hedging {}
