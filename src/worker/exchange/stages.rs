//! Request and response stages: the middleware of an exchange.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::task::Poll;

use ringway_middleware::{Edits, Flow, RequestCtx, RequestView, ResponseCtx, ResponseHeadView};
use ringway_traffic::plan::Bucket;

use crate::core::ConnBuffers;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::match_rule::{self, Match, Target};
use crate::exchange::{Exchange, Interrupt};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Runs the request stages, before an endpoint is chosen. A stage may edit the request, or reply to it.
    pub(super) async fn request_stages(&mut self, matched: Match<'a>) -> Result<(), Interrupt<'a>> {
        let Match { rule, .. } = matched;
        let Some(stages) = &rule.stages else { return Ok(()) };
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let app = rule.app.as_ref().map_or("", |app| app.as_str());
        let tenant = matched.tenant().map(|tenant| tenant.id.as_str());
        let view = RequestView::new(request, client_in, self.info.client, app, tenant);
        let reply = match stages.on_request(&mut RequestCtx::new(view, &mut self.stages)) {
            Flow::Continue => return Ok(()),
            Flow::Reply(reply) => reply,
            Flow::Wait => {
                self.has_paused = true;
                let timeout = self.core.runtime.sleep(rule.policy.head_timeout());
                let mut request = RequestCtx::new(view, &mut self.stages);
                // Boxed: it must not make every exchange larger.
                match Box::pin(first(stages.resume(&mut request), timeout)).await {
                    Some(ControlFlow::Continue(())) => return Ok(()),
                    Some(ControlFlow::Break(reply)) => reply,
                    None => return Err(LocalReply::middleware_timeout().into()),
                }
            }
        };
        Err(LocalReply::of_stage(reply).into())
    }

    /// Runs the response stages over the head of the endpoint's response. `None` without stages and cookie.
    pub(super) fn response_stages(&mut self, target: &Target<'a>) -> Option<Edits> {
        let edits = target.matched.rule.stages.as_ref().map(|stages| {
            let mut edits = Edits::default();
            let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
            let head = ResponseHeadView::Endpoint(response, upstream_in);
            stages.on_response(&mut ResponseCtx::new(head, &mut edits, &mut self.stages));
            edits
        });
        self.with_bucket_cookie(edits)
    }

    /// Runs the response stages over a local reply. `None` without stages and cookie, and before the match.
    pub(super) fn reply_stages(&mut self, reply: &LocalReply<'_>) -> Option<Edits> {
        let edits = self.info.matched?.rule.stages.as_ref().map(|stages| {
            let mut edits = Edits::default();
            stages.on_response(&mut ResponseCtx::new(reply.head(), &mut edits, &mut self.stages));
            edits
        });
        self.with_bucket_cookie(edits)
    }

    /// Adds the cookie with the client's bucket, where its request brought none.
    fn with_bucket_cookie(&self, edits: Option<Edits>) -> Option<Edits> {
        let Some(bucket) = self.new_bucket else { return edits };
        self.add_bucket_cookie(edits, bucket)
    }

    #[cold]
    fn add_bucket_cookie(&self, edits: Option<Edits>, bucket: Bucket) -> Option<Edits> {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let is_secure = match_rule::is_secure(self.client, request, client_in);
        let plan = self.info.matched.and_then(|matched| matched.rule.traffic.as_ref()?.plan.as_deref());
        let Some(value) = plan.and_then(|plan| plan.set_cookie(bucket, is_secure)) else { return edits };
        let mut edits = edits.unwrap_or_default();
        // The name of the cookie was checked when the plan was read.
        let _ = edits.append("Set-Cookie", value.as_bytes());
        Some(edits)
    }
}

/// Awaits a future until the timeout ends; then it is dropped.
async fn first<F: Future>(future: F, timeout: impl Future<Output = ()>) -> Option<F::Output> {
    let (mut future, mut timeout) = (pin!(future), pin!(timeout));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timeout.as_mut().poll(cx).map(|()| None),
    })
    .await
}
