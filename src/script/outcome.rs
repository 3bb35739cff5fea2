//! Outcome of a call.

use ringway_middleware::{Edits, LocalReply};

use crate::failure::Failure;

/// Outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Goes on: the hook returned nothing.
    Continue(Effects),
    /// Sends this reply.
    Reply(LocalReply),
    /// Sends the request to the pool in `effects`.
    Proxy(Effects),
    /// The call failed. Nothing of it applies.
    Failed(Failure),
}

/// Changes by a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Edits of the request's head, or of the response's: those that the call began with, and its own.
    pub edits: Edits,
    /// The pool that it chose, one that the request may use.
    pub pool: Option<Box<str>>,
    /// The path that it set, with its query.
    pub path: Option<Box<str>>,
}
