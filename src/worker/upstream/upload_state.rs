//! State that the two directions of an attempt share: the upload of the request, and the response beside it.

use std::cell::Cell;

use ringway_model::Tick;

use crate::exchange::failure::Failure;

/// Progress of the upload, for the response's side. Reset at the beginning of an attempt.
#[derive(Debug, Default)]
pub(crate) struct UploadState {
    progress: Cell<Progress>,
    after_response: Cell<AfterResponse>,
    /// The client has sent more than this request.
    followed: Cell<bool>,
    /// The client was slow to take a part of the response.
    kept_waiting: Cell<bool>,
}

/// Stages of an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// Under way.
    #[default]
    Sending,
    /// The response ended first: errors from here on are caused by the cancellation.
    Stopped,
    /// The client failed to send its request.
    ClientFailed(Failure),
    /// The endpoint takes no more of the request; it may have sent a response.
    Refused(Tick),
    /// All of the request was sent.
    Sent(Tick),
}

/// Handling of an upload that is still under way at the end of the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AfterResponse {
    /// It is stopped.
    #[default]
    Stop,
    /// The rest is short: it may go on, to save both connections.
    MayGoOn,
    /// The response is complete, and the rest is sent.
    GoOn,
}

impl UploadState {
    /// Begins an attempt. `may_outlast`: the rest of the request is worth sending after the end of the
    /// response.
    pub(crate) fn begin(&self, may_outlast: bool) {
        self.progress.set(Progress::Sending);
        self.after_response.set(if may_outlast { AfterResponse::MayGoOn } else { AfterResponse::Stop });
        self.followed.set(false);
        self.kept_waiting.set(false);
    }

    /// Whether the rest of the request may be sent after the end of the response.
    pub(crate) fn may_outlast(&self) -> bool {
        self.after_response.get() != AfterResponse::Stop
    }

    /// Notes the end of the response. `reusable`: both connections can carry another exchange once the
    /// request is sent.
    pub(crate) fn end_response(&self, reusable: bool) {
        let go_on = reusable && self.may_outlast();
        self.after_response.set(if go_on { AfterResponse::GoOn } else { AfterResponse::Stop });
    }

    /// Whether the rest of the request is sent although the response is complete.
    pub(crate) fn outlasts(&self) -> bool {
        self.after_response.get() == AfterResponse::GoOn
    }

    /// Time at which the request was sent, or refused.
    pub(crate) fn finished_at(&self) -> Option<Tick> {
        match self.progress.get() {
            Progress::Sent(at) | Progress::Refused(at) => Some(at),
            Progress::Sending | Progress::Stopped | Progress::ClientFailed(_) => None,
        }
    }

    /// Notes that the client has sent more than this request.
    pub(crate) fn set_followed(&self) {
        self.followed.set(true);
    }

    /// Whether the client has sent more than this request: it waits for responses, even if it has ended its
    /// side.
    pub(crate) fn is_followed(&self) -> bool {
        self.followed.get()
    }

    /// Notes that all of the request was sent.
    pub(crate) fn finish(&self, now: Tick) {
        self.progress.set(Progress::Sent(now));
    }

    /// Notes that the endpoint takes no more of the request.
    pub(crate) fn refuse(&self, now: Tick) {
        self.progress.set(Progress::Refused(now));
    }

    /// Notes that the upload is cancelled.
    pub(crate) fn stop(&self) {
        if self.progress.get() == Progress::Sending {
            self.progress.set(Progress::Stopped);
        }
    }

    /// Notes that the client failed to send the request.
    pub(crate) fn fail(&self, failure: Failure) {
        if self.progress.get() == Progress::Sending {
            self.progress.set(Progress::ClientFailed(failure));
        }
    }

    /// Failure of the client to send the request.
    pub(crate) fn client_failure(&self) -> Option<Failure> {
        match self.progress.get() {
            Progress::ClientFailed(failure) => Some(failure),
            Progress::Sending | Progress::Stopped | Progress::Refused(_) | Progress::Sent(_) => None,
        }
    }

    /// Notes that the client was slow to take a part of the response: the endpoint may time out because of
    /// it.
    pub(crate) fn set_kept_waiting(&self) {
        self.kept_waiting.set(true);
    }

    /// Whether the client was slow to take a part of the response.
    pub(crate) fn has_kept_waiting(&self) -> bool {
        self.kept_waiting.get()
    }

    /// Whether all of the request was sent.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.progress.get(), Progress::Sent(_))
    }

    /// Whether the endpoint takes no more.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.progress.get(), Progress::Refused(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_after_the_cancellation_are_not_the_client_s() {
        let upload = UploadState::default();
        upload.stop();
        upload.fail(Failure::ClientClosed);
        assert_eq!((upload.client_failure(), upload.finished_at()), (None, None));
        // The last write may have gone out all the same.
        upload.finish(Tick(1));
        assert!(upload.is_whole());
    }

    #[test]
    fn only_a_short_rest_outlasts_a_response_that_keeps_both_connections() {
        for (may_outlast, reusable, outlasts) in
            [(true, true, true), (true, false, false), (false, true, false), (false, false, false)]
        {
            let upload = UploadState::default();
            upload.begin(may_outlast);
            assert!(!upload.outlasts());
            upload.end_response(reusable);
            assert_eq!(upload.outlasts(), outlasts, "{may_outlast} {reusable}");
        }
    }

    #[test]
    fn a_new_attempt_begins_without_the_state_of_the_last_one() {
        let upload = UploadState::default();
        upload.begin(true);
        upload.set_followed();
        upload.set_kept_waiting();
        upload.refuse(Tick(1));
        upload.begin(false);
        assert!(!upload.is_refused() && !upload.may_outlast() && upload.finished_at().is_none());
        assert!(!upload.is_followed() && !upload.has_kept_waiting());
    }
}
