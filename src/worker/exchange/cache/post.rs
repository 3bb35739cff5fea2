//! Responses to POST that later GET requests get (RFC 9110 §9.3.3).

use ringway_cache::policy::{Bypass, Outcome, Times};
use ringway_traffic::cache_rule::CacheRule;

use super::lookup::Question;
use crate::exchange::disposition::Disposition;
use crate::exchange::{Exchange, Interrupt, Target};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Passes a POST on. Its response makes what is stored for its target invalid, and may take its place.
    pub(super) async fn post(
        &mut self,
        target: &Target<'a>,
        cache: &'a CacheRule,
        question: &Question,
    ) -> Result<Disposition, Interrupt<'a>> {
        let core = self.core;
        let outcome = Outcome::Bypass(Bypass::Method);
        self.info.cache = Some(outcome);
        let Some(state) = &core.cache else { return self.forward(target).await };
        let before = state.store.ticket(&question.scope);
        self.admit_load(target.matched).await?;
        let asked_at = core.runtime.timestamp();
        let mut response = self.fetch(target).await?;
        self.note_response_head(target);
        // Its own invalidation is none of those that came after it was sent.
        let is_current = before.is_current(&state.store);
        self.note_uncached(cache);
        let times = Times { asked_at, received_at: core.runtime.timestamp() };
        let lead = state.fills.lead_alone(&self.fill_request(cache, question, 0));
        let started = match is_current && self.transfer.upload.is_whole() {
            true => self.start(cache, question, lead.ticket(), times).ok(),
            false => None,
        };
        let Some((started, personal)) = started else {
            drop(lead);
            return self.deliver_response(target, response).await.map_err(Interrupt::Failure);
        };
        if let Some(body) = response.end_upload(self.client, self.transfer).await {
            self.body = Some(body);
        }
        let (writer, reader) = lead.stream(started);
        self.fill(target, response, writer);
        let followed = self.follow(target, reader, &question.facts, (outcome, &personal));
        followed.await.map_err(Interrupt::Failure)
    }
}
