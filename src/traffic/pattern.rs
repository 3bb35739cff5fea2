//! Regular expressions of hosts and paths: a table each, compiled under limits.
//!
//! A pattern matches whole texts: `/v[0-9]+` matches `/v1` and neither `/v1/x` nor `/a/v1`, and anchors (`^`,
//! `$`) are allowed and change nothing. It matches bytes, without Unicode classes: hosts and paths are ASCII.
//! There is no backtracking, so that no request can make a match expensive.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

use ringway_model::limits::PATTERN_BYTES_MAX;

use crate::limits::{
    PATTERN_NESTING_MAX, PATTERN_PARSE_STEPS, PATTERN_REFUSED_STEPS, PATTERN_TABLE_BYTES_MAX,
};

/// Compiled regular expression that matches whole texts.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    dfa: dense::DFA<Vec<u32>>,
    literal: Box<[u8]>,
    steps: u64,
}

/// Reason why a regular expression was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// Longer than the limit.
    TooLong,
    /// Its table would be larger than the limit.
    TooLarge,
    /// Not a regular expression of the supported syntax, for this reason.
    Syntax(Box<str>),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "is longer than {PATTERN_BYTES_MAX} bytes"),
            Self::TooLarge => write!(
                f,
                "needs a table of more than {} KiB; use fewer or smaller repetitions",
                PATTERN_TABLE_BYTES_MAX / 1024
            ),
            Self::Syntax(reason) => write!(f, "is not a valid regular expression: {reason}"),
        }
    }
}

impl std::error::Error for PatternError {}

impl PatternError {
    /// Cost of finding it, as [`Pattern::steps`].
    pub(crate) fn steps(&self) -> u64 {
        match self {
            Self::TooLong => 0,
            Self::TooLarge => PATTERN_REFUSED_STEPS,
            Self::Syntax(_) => PATTERN_PARSE_STEPS,
        }
    }
}

impl Pattern {
    /// Compiles a regular expression. Cost: tens of microseconds, and tens of milliseconds for one that is
    /// refused for its size.
    ///
    /// # Errors
    /// [`PatternError`]
    pub fn new(text: &Arc<str>) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(PATTERN_NESTING_MAX);
        let parsed = syntax::parse_with(text, &syntax).map_err(|error| syntax_error(&error.to_string()))?;
        let nfa = thompson::Config::new().utf8(false).nfa_size_limit(Some(PATTERN_TABLE_BYTES_MAX));
        // All matches rather than the leftmost one, for only one that ends with the text counts.
        let table = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .dfa_size_limit(Some(PATTERN_TABLE_BYTES_MAX))
            .determinize_size_limit(Some(PATTERN_TABLE_BYTES_MAX));
        // Without Unicode, a parsed pattern is refused for its size only.
        let nfa = thompson::Compiler::new()
            .configure(nfa)
            .build_from_hir(&parsed)
            .map_err(|_| PatternError::TooLarge)?;
        let dfa = dense::Builder::new()
            .configure(table)
            .build_from_nfa(&nfa)
            .map_err(|_| PatternError::TooLarge)?;
        let literal = literal_beginning(&dfa);
        // Each transition is found by looking at no more than all states of the NFA.
        let transitions = dfa.memory_usage() / size_of::<u32>();
        let steps = PATTERN_PARSE_STEPS + transitions as u64 * nfa.states().len() as u64;
        Ok(Self { text: text.clone(), dfa, literal, steps })
    }

    /// Bound of the cost of its compilation, which is the same on all machines; some nanoseconds each.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Bytes that every match begins with.
    pub fn literal(&self) -> &[u8] {
        &self.literal
    }

    /// Whether it matches all of a text. Cost: a few nanoseconds per byte up to the first one that no match
    /// has.
    pub fn is_match(&self, text: &[u8]) -> bool {
        if !text.starts_with(&self.literal) {
            return false;
        }
        let Ok(mut state) = self.dfa.start_state(&anchored()) else { return false };
        for &byte in text {
            state = self.dfa.next_state(state, byte);
            if self.dfa.is_dead_state(state) {
                return false;
            }
        }
        self.dfa.is_match_state(self.dfa.next_eoi_state(state))
    }

    /// Whether it may match a path: a text that begins with a slash. Cost: a microsecond at most.
    pub fn may_match_path(&self) -> bool {
        let Ok(start) = self.dfa.start_state(&anchored()) else { return false };
        let slash = self.dfa.next_state(start, b'/');
        // The state after the slash also lives for a match that has ended before it.
        self.dfa.is_match_state(self.dfa.next_eoi_state(slash))
            || (0..=u8::MAX).any(|next| !self.dfa.is_dead_state(self.dfa.next_state(slash, next)))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

/// Patterns in use by their text: hosts and rules with the same text share one table. A clone shares them,
/// also with other threads.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_text: HashMap<Arc<str>, Weak<Pattern>, ahash::RandomState>,
    /// Number of texts at which those out of use are removed.
    purge_at: usize,
}

impl Known {
    fn get(&self, text: &str) -> Option<Arc<Pattern>> {
        self.by_text.get(text).and_then(Weak::upgrade)
    }
}

impl Patterns {
    /// Returns the compiled pattern of a text.
    ///
    /// # Errors
    /// [`PatternError`]
    pub fn compile(&self, text: &Arc<str>) -> Result<Arc<Pattern>, PatternError> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = known().get(text) {
            return Ok(pattern);
        }
        // Without the lock: another thread with other patterns does not wait.
        let pattern = Arc::new(Pattern::new(text)?);
        let mut known = known();
        if let Some(pattern) = known.get(text) {
            return Ok(pattern);
        }
        if known.by_text.len() >= known.purge_at {
            known.by_text.retain(|_, pattern| pattern.strong_count() > 0);
            known.purge_at = 2 * known.by_text.len() + PURGE_SPARE;
        }
        known.by_text.insert(text.clone(), Arc::downgrade(&pattern));
        Ok(pattern)
    }
}

/// Texts out of use that are not worth a scan.
const PURGE_SPARE: usize = 64;

fn anchored() -> start::Config {
    start::Config::new().anchored(Anchored::Yes)
}

/// Returns the bytes that every match begins with: as long as one byte alone leads on.
fn literal_beginning(dfa: &dense::DFA<Vec<u32>>) -> Box<[u8]> {
    let mut literal = Vec::new();
    let Ok(mut state) = dfa.start_state(&anchored()) else { return [].into() };
    while literal.len() < PATTERN_BYTES_MAX && !dfa.is_match_state(dfa.next_eoi_state(state)) {
        let next = |byte: &u8| !dfa.is_dead_state(dfa.next_state(state, *byte));
        let mut live = (0..=u8::MAX).filter(next);
        let (Some(byte), None) = (live.next(), live.next()) else { break };
        state = dfa.next_state(state, byte);
        literal.push(byte);
    }
    literal.into()
}

/// Returns the reason of a syntax error, which is shown below the pattern and a marker.
fn syntax_error(shown: &str) -> PatternError {
    let reason = shown.lines().last().unwrap_or_default();
    PatternError::Syntax(reason.trim_start_matches("error: ").into())
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
