//! State of the attempt under way, shared by upload and response.

use std::cell::Cell;

use super::upload_state::UploadState;
use crate::exchange::activity::Activity;
use crate::exchange::cause;

/// State of the attempt under way. It lives beside the exchange rather than in it, so that an upload can go
/// on whatever phase the exchange is in.
#[derive(Default)]
pub(crate) struct Transfer {
    pub(crate) upload: UploadState,
    pub(crate) activity: Activity,
    /// The client has got an interim response: no other attempt may follow.
    pub(crate) has_answered: Cell<bool>,
    /// Cause of the attempt's failure, left by the part that failed.
    pub(crate) cause: cause::Slot,
}
