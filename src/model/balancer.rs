//! Load balancing algorithms.

/// Load balancing algorithm of an app or pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balancer {
    /// All endpoints in turn, whatever their weights.
    #[default]
    RoundRobin,
    /// All endpoints in turn, by their weights.
    WeightedRoundRobin,
    /// The less busy one of two endpoints that are drawn by their weights.
    LeastRequest,
    /// The same endpoint for the same value of a property of the request.
    ConsistentHash,
}

impl Balancer {
    /// All values.
    pub const ALL: [Self; 4] =
        [Self::RoundRobin, Self::WeightedRoundRobin, Self::LeastRequest, Self::ConsistentHash];

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastRequest => "least_request",
            Self::ConsistentHash => "consistent_hash",
        }
    }

    /// Parses the name in documents.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|balancer| balancer.as_str() == text)
    }
}
