//! Rules with conditions of one virtual host, in their total order.

use std::cmp::Reverse;
use std::sync::Arc;

use ringway_model::{PathMatch, RouteMatch};
use ringway_wire::h1::RequestHead;

use crate::virtual_host::Rule;

/// Rules of a virtual host.
#[derive(Debug, PartialEq, Eq)]
pub struct RuleTable {
    entries: Box<[RuleEntry]>,
}

/// A rule with its conditions and its rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleEntry {
    /// Conditions on the request.
    pub matcher: RouteMatch,
    /// Rank before all other criteria, the highest first.
    pub priority: i32,
    /// Position in the documents.
    pub order: u32,
    /// The rule.
    pub rule: Arc<Rule>,
}

impl RuleTable {
    /// Sorts the rules. A pattern that does not compile matches nothing; it is refused before by the control
    /// plane.
    pub fn new(mut entries: Vec<RuleEntry>) -> Self {
        entries.sort_by_key(|entry| {
            let literal = match &entry.matcher.path {
                PathMatch::Any | PathMatch::Regex(_) => 0,
                PathMatch::Exact(path) => usize::MAX - path.len(),
                PathMatch::Prefix(path) => path.len(),
            };
            (Reverse(entry.priority), Reverse(literal), entry.order)
        });
        Self { entries: entries.into() }
    }

    /// Finds the rule of a request whose head is in `buf`.
    pub fn find(&self, request: &RequestHead, buf: &[u8]) -> Option<&Arc<Rule>> {
        let path = request.path(buf);
        let entry = self.entries.iter().find(|entry| match &entry.matcher.path {
            PathMatch::Any => true,
            PathMatch::Exact(exact) => **exact == *path,
            PathMatch::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')),
            PathMatch::Regex(_) => false,
        });
        entry.map(|entry| &entry.rule)
    }

    /// All rules, in the order in which they are tried.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.entries.iter().map(|entry| &entry.rule)
    }
}
