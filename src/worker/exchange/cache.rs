//! Cache phase: answers from the store of all cores, and the part of the cache in requests to the origin.
//!
//! ```text
//! look_up ─► Bypass ─► forwarded as without a cache; after an unsafe method: invalidation
//!    ├─────► Answer ─► head into the buffers ─► response stages ─► deliver_stored
//!    └─────► Ask ─► join the fill of the key ─► lead: fetch ─► 304 ─► freshen ─► Answer
//!                        │                        ├─► failure ─► stale Answer, or the failure
//!                        │                        ├─► storable ─► fill (a task reads the rest) ─► follow
//!                        │                        └─► other ─► deliver, for this request only
//!                        └─► wait ─► follow, Answer, lead, or go alone
//! ```
//! | step | where |
//! |---|---|
//! | look up, and judge | [`lookup`] |
//! | answer | [`answer`] |
//! | ask the origin, or wait for who does | [`ask`] |
//! | read the response into the store | [`fill`] |
//! | deliver it meanwhile | [`follow`] |
//! | store the response to a POST | [`post`] |
//! | refresh what was served stale | [`refresh`] |
//! | wake waiting tasks | [`waits`] |
//!
//! Decisions are those of `ringway_cache::policy`; here is their place in an exchange. What a request is to
//! the cache is the head that its origin would get: stages, rewrites and added fields are in it.

mod answer;
mod ask;
mod fill;
pub(crate) mod follow;
mod lookup;
mod post;
mod refresh;
pub(crate) mod state;
pub(crate) mod waits;

use std::sync::Arc;

use ringway_cache::KeyParts;
use ringway_cache::policy::{Bypass, Invalidation, Outcome, RequestTarget};
use ringway_traffic::cache_rule::CacheRule;

use self::lookup::Lookup;
pub(crate) use self::state::CacheState;
use crate::core::ConnBuffers;
use crate::exchange::disposition::Disposition;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::{Exchange, Interrupt, Target, match_rule};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Answers from the cache of a rule, or by the origin.
    pub(super) async fn through_cache(
        &mut self,
        target: &Target<'a>,
        cache: &'a Arc<CacheRule>,
    ) -> Result<Disposition, Interrupt<'a>> {
        self.prepare_request(target);
        match self.look_up(target, cache) {
            Lookup::Answer(mut answer) => {
                if let Some(permit) = answer.refresh.take() {
                    self.refresh(target, cache, (permit, answer.facts));
                }
                self.answer(target, answer).await.map_err(Interrupt::Failure)
            }
            Lookup::Ask(question) => self.ask(target, cache, question).await,
            Lookup::Post(question) => self.post(target, cache, &question).await,
            Lookup::PassOn(forward, reason) => self.pass_on(target, forward, reason).await,
            Lookup::OnlyIfCached => Err(LocalReply::only_if_cached().into()),
            Lookup::Bypass(bypass) => {
                self.info.cache = Some(Outcome::Bypass(bypass));
                self.forward(target).await
            }
        }
    }

    /// Notes the response to a request that the cache has passed on, whose head stands in the buffers.
    pub(super) fn note_uncached(&mut self, cache: &CacheRule) {
        if let Some(Outcome::Forwarded { status, .. }) = &mut self.info.cache {
            *status = self.buffers.response.status();
        }
        self.invalidate(cache);
    }

    /// Invalidates what a response to an unsafe method makes invalid (RFC 9111 §4.4).
    fn invalidate(&self, cache: &CacheRule) {
        let core = self.core;
        let Some(state) = &core.cache else { return };
        if self.info.cache != Some(Outcome::Bypass(Bypass::Method)) {
            return;
        }
        let scope = cache.scope(&state.store);
        let ConnBuffers { request, client_in, response, upstream_in, target: rewritten, .. } = &*self.buffers;
        let is_https = match_rule::is_secure(self.client, request, client_in);
        let sent = if rewritten.is_empty() { request.path_and_query(client_in) } else { rewritten };
        let of_request = RequestTarget {
            is_https,
            host: request.host(),
            port: request.port().unwrap_or(if is_https { 443 } else { 80 }),
            target: sent,
        };
        let source = (response, upstream_in.as_slice());
        let Some(invalidation) = Invalidation::of(request.method(), response.status(), &of_request, source)
        else {
            return;
        };
        let now = core.runtime.timestamp();
        for invalid in &invalidation.targets {
            let parts = KeyParts {
                scope: scope.id(),
                is_https,
                port: of_request.port,
                host: of_request.host,
                target: invalid.as_bytes(),
                pool: "",
            };
            state.store.invalidate(scope, &parts, &cache.settings, now);
        }
        if !invalidation.groups.is_empty() {
            let selector = ringway_cache::Selector::Groups {
                scope: scope.id(),
                host: of_request.host.into(),
                tags: invalidation.groups.into(),
            };
            state.store.purge_within(scope, selector, now);
        }
    }
}
