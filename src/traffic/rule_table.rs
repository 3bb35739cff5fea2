//! Rules of one host, and the search for the rule of a request.
//!
//! Rules have a total order, and the first one that matches a request serves it. In this order, a rule comes
//! before another one
//!
//! 1. with the higher `priority`,
//! 2. with an exact path,
//! 3. with more literal bytes in its path: a whole prefix, or what every match of a pattern begins with,
//! 4. with a pattern rather than a prefix,
//! 5. with a condition on the method,
//! 6. with more conditions on headers, and then on the query,
//! 7. that was declared earlier, and then by its id.
//!
//! ```text
//! few rules:  one after the other
//! more:       exact path ─► prefixes at segment ends, the longest first ─► patterns;  each only while a
//!             rule that comes earlier than the best one so far is left
//! ```
//! Both ways test the same conditions (`Conditions::mismatch`), and so does [`RuleTable::explain`]. Paths
//! are normalised before ([`RuleTable::slashes`]); prefixes match whole segments.

use std::cmp::Reverse;
use std::sync::Arc;

use ringway_model::{PathMatch, RouteId, RouteMatch};
use ringway_wire::h1::RequestHead;
use ringway_wire::path::Slashes;

use self::conditions::{Conditions, Request};
use self::index::Index;
use self::lenient::LenientRules;
use crate::limits::{PATTERN_STEPS_MAX, PATTERNS_PER_HOST_MAX};
use crate::pattern::{PatternError, Patterns};
use crate::route_path::{self, RoutePathError};
use crate::virtual_host::Rule;

mod conditions;
mod index;
mod lenient;

pub use self::conditions::{Mismatch, PathTest};

/// Rules of one host in their order.
#[derive(Debug)]
pub struct RuleTable {
    slashes: Slashes,
    rows: Box<[Row]>,
    /// Search structure of a table with more than [`LINEAR_ROWS_MAX`] rules.
    index: Option<Index>,
    /// The same rules by paths as lenient servers read them, where they protect their paths differently.
    lenient: Option<Box<LenientRules>>,
}

/// Rule with its conditions and its place in the order.
#[derive(Clone, Debug)]
pub struct RuleEntry {
    /// Conditions of a request.
    pub matcher: RouteMatch,
    /// Rules with a higher one come first.
    pub priority: i32,
    /// Position at which it was declared.
    pub order: u32,
    /// The rule.
    pub rule: Arc<Rule>,
}

/// Reason why a rule cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Its path.
    Path(RoutePathError),
    /// The path that replaces that of a request.
    Rewrite(RoutePathError),
    /// Its pattern.
    Pattern(PatternError),
    /// The pattern of its host.
    Host(PatternError),
    /// The host has more patterns than `PATTERNS_PER_HOST_MAX`.
    TooManyPatterns,
    /// The patterns of the configuration cost more than `PATTERN_STEPS_MAX`.
    PatternBudget {
        /// The field that is beyond it: `host` or `path_regex`.
        field: &'static str,
        /// Route with the costliest one.
        costliest: RouteId,
        /// Its steps.
        steps: u64,
    },
}

impl TableError {
    /// Field of the route that is refused.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::Rewrite(_) => "rewrite",
            Self::Pattern(_) | Self::TooManyPatterns => "path_regex",
            Self::Host(_) => "host",
            Self::PatternBudget { field, .. } => field,
        }
    }
}

impl std::fmt::Display for TableError {
    /// Writes the predicate of a sentence whose subject is the field.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(error) | Self::Rewrite(error) => error.fmt(f),
            Self::Pattern(error) | Self::Host(error) => error.fmt(f),
            Self::TooManyPatterns => {
                write!(f, "is one of more than {PATTERNS_PER_HOST_MAX} patterns of one host")
            }
            Self::PatternBudget { costliest, steps, .. } => write!(
                f,
                "exceeds the budget of {} million steps for compiling all regular expressions of a \
                 configuration; route {costliest} has the costliest one, with {steps} steps: use path_prefix, \
                 wildcard hosts, or fewer repetitions",
                PATTERN_STEPS_MAX / 1_000_000
            ),
        }
    }
}

impl std::error::Error for TableError {}

/// Rule that was left out of a table.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The reason.
    pub error: TableError,
}

/// Rule that was tested, with the first condition that the request does not meet.
#[derive(Clone, Debug)]
pub struct Tested<'t> {
    /// The rule.
    pub rule: &'t Arc<Rule>,
    /// `None` where the request meets all of its conditions.
    pub mismatch: Option<Mismatch<'t>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    conditions: Conditions,
    rule: Arc<Rule>,
}

impl RuleTable {
    /// Orders rules and builds the search structure. Rules that cannot be compiled are returned with the
    /// reason, and left out.
    ///
    /// Cost: some microseconds a rule, and the compilation of patterns that are not in use yet.
    pub fn new(entries: Vec<RuleEntry>, slashes: Slashes, patterns: &Patterns) -> (Self, Vec<Rejected>) {
        let (mut ranked, mut rejected) = (Vec::with_capacity(entries.len()), Vec::new());
        let mut pattern_count = 0;
        for RuleEntry { matcher, priority, order, rule } in entries {
            pattern_count += usize::from(matches!(matcher.path, PathMatch::Regex(_)));
            let path = match path_test(&matcher.path, slashes, patterns) {
                Ok(PathTest::Pattern(_)) if pattern_count > PATTERNS_PER_HOST_MAX => {
                    rejected.push(Rejected { rule, error: TableError::TooManyPatterns });
                    continue;
                }
                Ok(path) => path,
                Err(error) => {
                    rejected.push(Rejected { rule, error });
                    continue;
                }
            };
            let rank = Rank {
                priority: Reverse(priority),
                is_not_exact: !matches!(path, PathTest::Exact(_)),
                literal_bytes: Reverse(path.literal_bytes()),
                is_no_pattern: !matches!(path, PathTest::Pattern(_)),
                is_any_method: matcher.methods.is_empty(),
                headers: Reverse(matcher.headers.len()),
                query: Reverse(matcher.query.len()),
                order,
            };
            let RouteMatch { methods, headers, query, .. } = matcher;
            ranked.push((rank, Row { conditions: Conditions { path, methods, headers, query }, rule }));
        }
        ranked.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.rule.name.cmp(&other.rule.name)));
        let rows: Box<[Row]> = ranked.into_iter().map(|(_, row)| row).collect();
        let index = (rows.len() > LINEAR_ROWS_MAX).then(|| Index::new(&rows));
        let lenient = LenientRules::new(&rows).map(Box::new);
        (Self { slashes, rows, index, lenient }, rejected)
    }

    /// Handling of empty segments, with which the paths of its requests are to be normalised.
    pub fn slashes(&self) -> Slashes {
        self.slashes
    }

    /// Finds the rule of a request whose path is normal. No allocation; some tens of nanoseconds among
    /// thousands of rules.
    #[inline(never)]
    pub fn find(&self, head: &RequestHead, buf: &[u8]) -> Option<&Arc<Rule>> {
        let request = Request::new(head, buf);
        first_match(&self.rows, self.index.as_ref(), &request).map(|row| &row.rule)
    }

    /// Whether its rules protect their paths differently, so that what a request is taken for matters.
    #[inline]
    pub fn is_partly_guarded(&self) -> bool {
        self.lenient.is_some()
    }

    /// Whether an endpoint that is lenient about paths could take the request, for which `found` is the rule,
    /// for one of another rule with other protection. No cost where rules do not differ in it.
    #[inline]
    pub fn is_ambiguous(&self, found: &Rule, head: &RequestHead, buf: &[u8]) -> bool {
        self.lenient.as_ref().is_some_and(|lenient| lenient.is_ambiguous(found, &Request::new(head, buf)))
    }

    /// Tests all rules in their order. The first one without a mismatch is the one that [`find`](Self::find)
    /// returns.
    pub fn explain<'t>(&'t self, head: &RequestHead, buf: &[u8]) -> Vec<Tested<'t>> {
        let request = Request::new(head, buf);
        let test = |row: &'t Row| Tested { rule: &row.rule, mismatch: row.conditions.mismatch(&request) };
        self.rows.iter().map(test).collect()
    }

    /// All rules, in their order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rows.iter().map(|row| &row.rule)
    }
}

impl PartialEq for RuleTable {
    /// The search structure follows from the rows.
    fn eq(&self, other: &Self) -> bool {
        self.slashes == other.slashes && self.rows == other.rows
    }
}

impl Eq for RuleTable {}

/// The first row that matches.
fn first_match<'t>(rows: &'t [Row], index: Option<&Index>, request: &Request<'_>) -> Option<&'t Row> {
    match index {
        Some(index) => Some(&rows[index.find(rows, request)? as usize]),
        None => rows.iter().find(|row| row.conditions.mismatch(request).is_none()),
    }
}

/// Place in the order; see the head of this module.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: Reverse<i32>,
    is_not_exact: bool,
    literal_bytes: Reverse<usize>,
    is_no_pattern: bool,
    is_any_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    order: u32,
}

fn path_test(path: &PathMatch, slashes: Slashes, patterns: &Patterns) -> Result<PathTest, TableError> {
    let normal = |text: &str| route_path::normal(text, slashes).map_err(TableError::Path);
    Ok(match path {
        PathMatch::Any => PathTest::Any,
        PathMatch::Exact(text) => PathTest::Exact(normal(text)?),
        PathMatch::Prefix(text) => match normal(text)? {
            root if &*root == "/" => PathTest::Any,
            prefix => PathTest::Prefix(prefix),
        },
        PathMatch::Regex(text) => PathTest::Pattern(patterns.compile(text).map_err(TableError::Pattern)?),
    })
}

/// Rules that are tested one after the other: beyond, hashing is faster.
const LINEAR_ROWS_MAX: usize = 8;

#[cfg(test)]
#[path = "rule_table_tests.rs"]
mod tests;
