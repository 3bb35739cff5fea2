//! Verdict of an attempt: one value that breakers, outlier detection, retry budgets, canaries and load limits
//! read.

/// Meaning of an attempt's result for the endpoint that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The endpoint did its work.
    Success,
    /// The endpoint failed: its connection, its response, or a status that its pool counts as a failure.
    Failure,
    /// The result says nothing about the endpoint: the client left or sent a bad body, a hedged attempt was
    /// cancelled, or ringway itself refused or gave up.
    Neutral,
}
