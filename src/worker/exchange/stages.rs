//! Request and response stages: the middleware of an exchange.

use std::ops::ControlFlow;

use ringway_middleware::{Edits, Flow, RequestCtx, RequestView, ResponseCtx, ResponseHeadView};

use crate::core::ConnBuffers;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::match_rule::{Match, Target};
use crate::exchange::{Exchange, Interrupt};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Runs the request stages, before an endpoint is chosen. A stage may edit the request, or reply to it.
    pub(super) async fn request_stages(&mut self, target: &Target<'a>) -> Result<(), Interrupt<'a>> {
        let Match { host, rule } = target.matched;
        let Some(stages) = &rule.stages else { return Ok(()) };
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let (app, tenant) = (rule.app.as_str(), host.tenant.as_ref());
        let tenant = tenant.map(|tenant| tenant.id.as_str());
        let view = RequestView::new(request, client_in, self.info.client, app, tenant);
        let reply = match stages.on_request(&mut RequestCtx::new(view, &mut self.stages)) {
            Flow::Continue => return Ok(()),
            Flow::Reply(reply) => reply,
            Flow::Wait => {
                self.has_paused = true;
                // Boxed: it must not make every exchange larger.
                match Box::pin(stages.resume(&mut RequestCtx::new(view, &mut self.stages))).await {
                    ControlFlow::Continue(()) => return Ok(()),
                    ControlFlow::Break(reply) => reply,
                }
            }
        };
        Err(LocalReply::of_stage(reply).into())
    }

    /// Runs the response stages over the head of the endpoint's response. `None` without stages.
    pub(super) fn response_stages(&mut self, target: &Target<'a>) -> Option<Edits> {
        let stages = target.matched.rule.stages.as_ref()?;
        let mut edits = Edits::default();
        let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
        let head = ResponseHeadView::Endpoint(response, upstream_in);
        stages.on_response(&mut ResponseCtx::new(head, &mut edits, &mut self.stages));
        Some(edits)
    }

    /// Runs the response stages over a local reply. `None` without stages, and before the match.
    pub(super) fn reply_stages(&mut self, reply: &LocalReply<'_>) -> Option<Edits> {
        let stages = self.info.matched?.rule.stages.as_ref()?;
        let mut edits = Edits::default();
        stages.on_response(&mut ResponseCtx::new(reply.head(), &mut edits, &mut self.stages));
        Some(edits)
    }
}
