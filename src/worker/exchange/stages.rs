//! Request and response stages: the middlewares of an exchange.

use ringway_middleware::{Edits, RequestView, ResponseView, Verdict};

use crate::core::ConnBuffers;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::match_rule::{Match, Target};
use crate::exchange::{Exchange, Interrupt};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Runs the request stages, before an endpoint is chosen. A stage may edit the request, or reply to it.
    pub(super) fn request_stages(&mut self, target: &Target<'a>) -> Result<(), Interrupt<'a>> {
        let Match { host, rule } = target.matched;
        let Some(stages) = &rule.stages else { return Ok(()) };
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let (app, tenant) = (rule.app.as_str(), host.tenant.as_ref());
        let tenant = tenant.map(|tenant| tenant.id.as_str());
        let view = RequestView::new(request, client_in, self.info.client, app, tenant);
        match stages.on_request(&view, &mut self.edits) {
            Verdict::Continue => Ok(()),
            Verdict::Respond(status) => Err(LocalReply::filtered(status).into()),
        }
    }

    /// Runs the response stages over the head of the response. `None` without stages.
    pub(super) fn response_stages(&self, target: &Target<'a>) -> Option<Edits> {
        let stages = target.matched.rule.stages.as_ref()?;
        let mut edits = Edits::default();
        let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
        stages.on_response(&ResponseView::new(response, upstream_in), &mut edits);
        Some(edits)
    }
}
