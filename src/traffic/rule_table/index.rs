//! Search structure of a table: rows by exact path and by prefix, and the rows with a pattern.

use std::collections::HashMap;

use super::Row;
use super::conditions::{PathTest, Request};

/// Position of a row: its rank.
pub(super) type Position = u32;

/// Search structure over the rows of a table.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: Buckets,
    /// With the empty prefix of rules for all paths.
    prefixes: Buckets,
    /// Lengths of the prefixes, the longest first.
    lengths: Box<[Length]>,
    /// Rows with a pattern.
    patterns: Box<[Position]>,
}

/// Rows by their path, in their order.
type Buckets = HashMap<Box<str>, Vec<Position>, ahash::RandomState>;

#[derive(Clone, Copy, Debug)]
struct Length {
    bytes: usize,
    /// First row with a prefix that is as long or shorter.
    first: Position,
}

impl Index {
    pub(super) fn new(rows: &[Row]) -> Self {
        let mut index = Self::default();
        let mut patterns = Vec::new();
        for (position, row) in (0..).zip(rows) {
            let (buckets, path) = match &row.conditions.path {
                PathTest::Any => (&mut index.prefixes, ""),
                PathTest::Prefix(prefix) => (&mut index.prefixes, &**prefix),
                PathTest::Exact(path) => (&mut index.exact, &**path),
                PathTest::Pattern(_) => {
                    patterns.push(position);
                    continue;
                }
            };
            match buckets.get_mut(path) {
                Some(bucket) => bucket.push(position),
                None => drop(buckets.insert(path.into(), vec![position])),
            }
        }
        index.patterns = patterns.into();
        let firsts = index.prefixes.iter().map(|(prefix, bucket)| (prefix.len(), bucket[0]));
        let mut firsts: Vec<(usize, Position)> = firsts.collect();
        firsts.sort_unstable();
        firsts.dedup_by_key(|(bytes, _)| *bytes);
        let mut first = Position::MAX;
        let mut lengths: Vec<Length> = firsts
            .into_iter()
            .map(|(bytes, position)| {
                first = first.min(position);
                Length { bytes, first }
            })
            .collect();
        lengths.reverse();
        index.lengths = lengths.into();
        index
    }

    /// Returns the first row that matches.
    pub(super) fn find(&self, rows: &[Row], request: &Request<'_>) -> Option<Position> {
        let path = request.path;
        let mut best = match self.exact.get(path) {
            Some(bucket) => first_of(rows, bucket, request, Position::MAX),
            None => Position::MAX,
        };
        let skipped = self.lengths.partition_point(|length| length.bytes > path.len());
        for &Length { bytes, first } in &self.lengths[skipped..] {
            if best < first {
                break;
            }
            if is_segment_end(path, bytes)
                && let Some(bucket) = self.prefixes.get(&path[..bytes])
            {
                best = first_of(rows, bucket, request, best);
            }
        }
        for &position in &self.patterns {
            if best < position {
                break;
            }
            if rows[position as usize].conditions.mismatch(request).is_none() {
                best = position;
            }
        }
        (best != Position::MAX).then_some(best)
    }
}

/// Returns the first row of a bucket that matches and comes before `best`, or else `best`.
fn first_of(rows: &[Row], bucket: &[Position], request: &Request<'_>, best: Position) -> Position {
    for &position in bucket {
        if position >= best {
            return best;
        }
        if rows[position as usize].conditions.field_mismatch(request).is_none() {
            return position;
        }
    }
    best
}

/// Whether the first `bytes` bytes of a path are whole segments of it: only they can be a prefix that
/// matches.
fn is_segment_end(path: &str, bytes: usize) -> bool {
    let path = path.as_bytes();
    bytes == path.len() || bytes == 0 || path[bytes] == b'/' || path[bytes - 1] == b'/'
}
