//! Rewriting of the target that an endpoint gets.
//!
//! The path of a request is normal before it is matched, and stays so when it is rewritten: nothing that was
//! matched becomes another path on the way. The query stays as received.

use std::sync::Arc;

use ringway_model::{self as model, PathMatch, RewriteStage};
use ringway_wire::path::Slashes;

use crate::route_path::{self, RoutePathError};

/// Rewriting of the path of a rule's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Replaces this number of bytes, which are whole segments, by another beginning.
    Beginning {
        /// Bytes of the path that are replaced.
        bytes: usize,
        /// Begins with a slash, or is empty.
        by: Arc<str>,
    },
    /// Replaces the path.
    Path(Arc<str>),
}

impl Rewrite {
    /// Compiles the rewriting of a route with this condition on the path; `None` where nothing is rewritten.
    /// A beginning can be replaced where the rule has a prefix or an exact path.
    ///
    /// # Errors
    /// [`RoutePathError`] of the replacement or of the condition.
    pub fn new(
        rewrite: &model::Rewrite,
        matched: &PathMatch,
        slashes: Slashes,
    ) -> Result<Option<Self>, RoutePathError> {
        let by = match rewrite {
            model::Rewrite::Keep => return Ok(None),
            model::Rewrite::ReplacePath(path) => {
                return Ok(Some(Self::Path(route_path::normal(path, slashes)?)));
            }
            model::Rewrite::StripPrefix => "".into(),
            model::Rewrite::ReplacePrefix(by) => route_path::normal(by, slashes)?,
        };
        let bytes = match matched {
            PathMatch::Any | PathMatch::Regex(_) => 0,
            PathMatch::Exact(path) => route_path::normal(path, slashes)?.len(),
            // A slash at the end of a prefix is the beginning of what follows it.
            PathMatch::Prefix(prefix) => route_path::normal(prefix, slashes)?.trim_end_matches('/').len(),
        };
        Ok((bytes > 0 || !by.is_empty()).then_some(Self::Beginning { bytes, by }))
    }

    /// Compiles the rewriting of a stage.
    ///
    /// # Errors
    /// [`RoutePathError`] of the replacement.
    pub fn of_stage(stage: &RewriteStage, slashes: Slashes) -> Result<Self, RoutePathError> {
        Ok(match stage {
            RewriteStage::StripPrefix(prefix) => {
                let bytes = route_path::normal(prefix, slashes)?.trim_end_matches('/').len();
                Self::Beginning { bytes, by: "".into() }
            }
            RewriteStage::AddPrefix(by) => Self::Beginning {
                bytes: 0,
                by: route_path::normal(by, slashes)?.trim_end_matches('/').into(),
            },
            RewriteStage::ReplacePath(path) => Self::Path(route_path::normal(path, slashes)?),
        })
    }

    /// Appends the rewritten `target`, a path with its query, to `out`. The result begins with one slash.
    ///
    /// Cost: one copy; no allocation while `out` has room.
    pub fn apply(&self, out: &mut String, target: &str) {
        let path_bytes = target.find('?').unwrap_or(target.len());
        let (path, query) = target.split_at(path_bytes);
        match self {
            Self::Path(path) => out.push_str(path),
            Self::Beginning { bytes, by } => {
                let rest = path.get(*bytes..).unwrap_or_default().trim_start_matches('/');
                // The rest behind the prefix, if only a slash.
                let has_more = path.len() > *bytes;
                match has_more {
                    true => {
                        out.push_str(by.trim_end_matches('/'));
                        out.push('/');
                        out.push_str(rest);
                    }
                    false if by.is_empty() => out.push('/'),
                    false => out.push_str(by),
                }
            }
        }
        out.push_str(query);
    }
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
