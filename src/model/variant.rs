//! Variants of a route's requests.

/// Variant of a route with a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The present version.
    Stable,
    /// The next version.
    Canary,
    /// The pool of a cohort.
    Cohort,
}

impl Variant {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Stable, Self::Canary, Self::Cohort];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::Cohort => "cohort",
        }
    }
}
