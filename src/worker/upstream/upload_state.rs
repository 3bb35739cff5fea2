//! What the two halves of an attempt tell each other: the one that sends the request, and the one that waits for its response.

use std::cell::Cell;

use ringway_model::Tick;

use crate::exchange::failure::Failure;

/// How the sending of the request stands, for the one who waits for its response.
#[derive(Default)]
pub(super) struct Sending {
    finished_at: Cell<Option<Tick>>,
    refused: Cell<bool>,
    failure: Cell<Option<Failure>>,
    stopped: Cell<bool>,
    followed: Cell<bool>,
    /// What is left of the request may still be sent when its answer is complete.
    may_outlast: bool,
    outlasts: Cell<bool>,
    /// The client was slow to take a part of the response.
    kept_waiting: Cell<bool>,
}

impl Sending {
    /// Of a request whose rest is worth sending even when the endpoint has answered already.
    pub(super) fn that_may_outlast_its_answer(may_outlast: bool) -> Self {
        Self { may_outlast, ..Self::default() }
    }

    /// Whether what is left of the request may still be sent when its answer is complete.
    pub(super) fn may_outlast(&self) -> bool {
        self.may_outlast
    }

    /// The response is complete. `goes_on`: both connections can carry another exchange, once the request is out.
    pub(super) fn set_answered(&self, goes_on: bool) {
        self.outlasts.set(self.may_outlast && goes_on);
    }

    /// The response is complete: whether the rest of the request goes on to be sent, so that neither connection is lost.
    pub(super) fn outlasts(&self) -> bool {
        self.outlasts.get()
    }

    /// When the request was out, or refused.
    pub(super) fn finished_at(&self) -> Option<Tick> {
        self.finished_at.get()
    }

    /// The client has sent more than this request.
    pub(super) fn set_followed(&self) {
        self.followed.set(true);
    }

    /// Whether the client has sent more than this request, so that it waits for answers although it may have ended its side.
    pub(super) fn is_followed(&self) -> bool {
        self.followed.get()
    }

    /// The request is out.
    pub(super) fn finish(&self, now: Tick) {
        self.finished_at.set(Some(now));
    }

    /// The endpoint takes no more of the request; it may have answered already.
    pub(super) fn refuse(&self, now: Tick) {
        self.refused.set(true);
        self.finish(now);
    }

    /// Nobody waits for the request any more: what comes of its sending is our own doing from here on.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    /// The client failed to send it.
    pub(super) fn fail(&self, failure: Failure) {
        if !self.stopped.get() {
            self.failure.set(Some(failure));
        }
    }

    /// What the client did wrong.
    pub(super) fn client_failure(&self) -> Option<Failure> {
        self.failure.get()
    }

    /// The client was slow to take a part of the response: the endpoint may have had enough of it.
    pub(super) fn keep_waiting(&self) {
        self.kept_waiting.set(true);
    }

    /// Whether it was.
    pub(super) fn has_kept_waiting(&self) -> bool {
        self.kept_waiting.get()
    }

    /// All of the request is out.
    pub(super) fn is_whole(&self) -> bool {
        self.finished_at.get().is_some() && !self.refused.get()
    }

    /// The endpoint takes no more.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.get()
    }
}
