//! Overload phase: a permit of the route's limit of concurrent requests, perhaps after a wait.
//!
//! ```text
//! permit free ─► go on            queue has room ─► wait: a permit, queue_timeout, or the client leaves
//! queue full ─► 503
//! ```
//! The body stays unread meanwhile. The permit is held until the end of the response; upgraded connections
//! and streams of events, which last for hours and hardly load an endpoint, give it back at their head.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_net::Stream;
use ringway_traffic::overload::{Admission, LoadLimit};

use crate::exchange::failure::Failure;
use crate::exchange::load_permit::LoadPermit;
use crate::exchange::load_queues::Place;
use crate::exchange::local_reply::{LimitedBy, LocalReply};
use crate::exchange::match_rule::{Match, Target};
use crate::exchange::{Exchange, Interrupt};
use crate::limits;
use crate::runtime::Runtime;

/// Refusal of a request.
#[derive(Clone, Copy)]
enum Refusal {
    QueueFull,
    QueueTimedOut,
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Takes a permit, where the route has a limit of concurrent requests.
    #[inline]
    pub(super) async fn admit_load(&mut self, matched: Match<'a>) -> Result<(), Interrupt<'a>> {
        let limit = matched.rule.traffic.as_ref().and_then(|traffic| traffic.overload.as_ref());
        let Some(limit) = limit else { return Ok(()) };
        match limit.admit(self.core.id.0.into()) {
            Admission::Admitted => self.permit = Some(LoadPermit::new(self.core, limit)),
            Admission::Full => return Err(self.refuse_load(matched, limit, Refusal::QueueFull)),
            // Boxed: it must not make every exchange larger.
            Admission::Queued => Box::pin(self.wait_for_permit(matched, limit)).await?,
        }
        Ok(())
    }

    /// Notes that a response head has come, for an adaptive limit. Errors that come fast say nothing about
    /// load.
    #[inline]
    pub(super) fn note_response_head(&self, target: &Target<'a>) {
        if let Some(permit) = &self.permit
            && !target.pool.failures.statuses.has(self.buffers.response.status())
        {
            permit.note_response_head();
        }
    }

    async fn wait_for_permit(
        &mut self,
        matched: Match<'a>,
        limit: &'a Arc<LoadLimit>,
    ) -> Result<(), Interrupt<'a>> {
        let Self { core, client, .. } = *self;
        let begun_us = core.runtime.now_micros();
        let mut place = pin!(Place::join(core, limit, matched, begun_us));
        // The pinned snapshot may be old when the wait is over.
        self.has_paused = true;
        self.buffers.shrink();
        let timeout = limit.settings.queue_timeout.min(self.time_left(matched));
        let result = loop {
            let waited = Duration::from_micros(core.runtime.now_micros().saturating_sub(begun_us));
            let left = timeout.saturating_sub(waited);
            if left.is_zero() {
                break Err(self.refuse_load(matched, limit, Refusal::QueueTimedOut));
            }
            let mut gone = pin!(client.stream.left());
            let served = poll_fn(|cx| match place.as_mut().poll(cx) {
                Poll::Ready(permit) => Poll::Ready(Some(permit)),
                Poll::Pending => gone.as_mut().poll(cx).map(|()| None),
            });
            let served = core.runtime.timeout(served, left.min(limits::QUEUE_WATCH_INTERVAL)).await;
            if matches!(served, Some(None)) || self.has_left().await {
                break Err(Failure::ClientClosed.into());
            }
            if let Some(Some(permit)) = served {
                break Ok(permit);
            }
        };
        let waited_us = core.runtime.now_micros().saturating_sub(begun_us);
        self.info.queue_us = Some(waited_us);
        self.permit = Some(result?);
        Ok(())
    }

    /// Time that the policy leaves until the response head.
    fn time_left(&self, matched: Match<'a>) -> Duration {
        let deadlines = &self.transfer.activity.deadlines;
        deadlines.time_left(&matched.rule.policy, self.core.runtime.now()).unwrap_or(Duration::MAX)
    }

    #[cold]
    fn refuse_load(&mut self, matched: Match<'a>, limit: &'a LoadLimit, refusal: Refusal) -> Interrupt<'a> {
        self.info.limited_by = Some(LimitedBy { policy: &matched.rule.name, limit: &limit.description });
        let status = matched.rule.policy.unavailable_status.unwrap_or(503);
        let (code, message) = match refusal {
            Refusal::QueueFull => ("queue_full", "too many requests to this route are in progress or wait"),
            Refusal::QueueTimedOut => {
                ("queue_timeout", "too many requests to this route were in progress for too long")
            }
        };
        LocalReply::error(status, code, message).with_field("Retry-After", b"1").into()
    }
}
