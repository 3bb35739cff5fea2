//! Request and response stages: the middleware of an exchange.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringway_middleware::{
    self as middleware, Chain, Edits, Flow, RequestCtx, RequestParts, RequestView, ResponseCtx,
    ResponseHeadView, Stage,
};
use ringway_net::Stream;
use ringway_telemetry::Compression;
use ringway_traffic::plan::Bucket;
use ringway_traffic::virtual_host::Rules;

use crate::core::ConnBuffers;
use crate::exchange::failure::Failure;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::match_rule::{self, Match, Target};
use crate::exchange::stage_services::CoreServices;
use crate::exchange::{Exchange, Interrupt, security_events};
use crate::limits;
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Runs the request stages, before an endpoint is chosen. A stage may edit the request, or reply to it.
    pub(super) async fn request_stages(&mut self, matched: Match<'a>) -> Result<(), Interrupt<'a>> {
        let stages = matched.rule.stages.as_ref();
        if stages.is_some() {
            self.stages = std::mem::take(&mut self.buffers.stages);
        }
        if let Rules::Table(table) = &matched.host.rules
            && table.is_partly_guarded()
        {
            let ConnBuffers { request, client_in, .. } = &*self.buffers;
            self.stages.remove_spelled(request, client_in, PATH_OVERRIDES);
        }
        let Some(stages) = stages else { return Ok(()) };
        let started_us = self.core.runtime.now_micros();
        loop {
            let flow = self.with_request(matched, |request| stages.on_request(request));
            match flow {
                Flow::Continue => return Ok(()),
                Flow::Limit(limit) => {
                    let limits = matched.rule.traffic.as_deref().map_or(&[][..], |of| &of.stage_limits);
                    if let Some(Some(limiter)) = limits.get(limit) {
                        self.count_against(limiter, matched)?;
                    }
                }
                // Boxed: it must not make every exchange larger.
                Flow::Wait => Box::pin(self.wait_for_stage(stages, matched, started_us)).await?,
                #[cfg(feature = "lua")]
                Flow::Script => Box::pin(self.script_stage(stages, matched)).await?,
                #[cfg(not(feature = "lua"))]
                Flow::Script => {
                    let message = "this program is built without Lua";
                    return Err(LocalReply::error(503, "middleware_unavailable", message).into());
                }
                Flow::Reply(reply) => return Err(self.replied(stages, matched, reply)),
            }
            self.stages.pass();
        }
    }

    /// Awaits the stage that the request stands at, for the rest of the time to its response head, and while
    /// the client is there.
    async fn wait_for_stage(
        &mut self,
        stages: &'a Chain,
        matched: Match<'a>,
        started_us: u64,
    ) -> Result<(), Interrupt<'a>> {
        let begun_us = self.core.runtime.now_micros();
        let spent = Duration::from_micros(begun_us.saturating_sub(started_us));
        let timeout = matched.rule.policy.head_timeout().saturating_sub(spent);
        self.has_paused = true;
        let services = self.services(matched);
        let mut run = std::mem::take(&mut self.stages);
        let mut request = RequestCtx::new(self.request_view(matched), &services, &mut run);
        let waited = self.beside_client(stages.wait(&mut request), timeout).await;
        self.stages = run;
        self.info.filter_failure = services.undecided.get().or(self.info.filter_failure);
        // Less than a microsecond is a wait, too.
        self.info.stages_us += self.core.runtime.now_micros().saturating_sub(begun_us).max(1);
        match waited {
            Waited::Decided(ControlFlow::Continue(())) => Ok(()),
            Waited::Decided(ControlFlow::Break(reply)) => Err(self.replied(stages, matched, reply)),
            Waited::ClientLeft => Err(Failure::ClientClosed.into()),
            Waited::TimedOut => {
                self.info.stage = stages.stage_of(&self.stages).map(Stage::name);
                Err(LocalReply::middleware_timeout().into())
            }
        }
    }

    /// Awaits a future until the timeout, or until the client has left; then it is dropped. A client of
    /// HTTP/2 is seen to leave at once, others within [`QUEUE_WATCH_INTERVAL`](limits::QUEUE_WATCH_INTERVAL),
    /// unless they have sent more than this request.
    async fn beside_client<F: Future>(&self, future: F, timeout: Duration) -> Waited<F::Output> {
        let (runtime, begun_us) = (&self.core.runtime, self.core.runtime.now_micros());
        let mut future = pin!(future);
        loop {
            let spent = Duration::from_micros(runtime.now_micros().saturating_sub(begun_us));
            let left = timeout.saturating_sub(spent);
            let mut gone = pin!(self.client.stream.left());
            let step = poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => gone.as_mut().poll(cx).map(|()| None),
            });
            match runtime.timeout(step, left.min(limits::QUEUE_WATCH_INTERVAL)).await {
                Some(Some(output)) => return Waited::Decided(output),
                Some(None) => return Waited::ClientLeft,
                None if left <= limits::QUEUE_WATCH_INTERVAL => return Waited::TimedOut,
                None if self.has_left().await => return Waited::ClientLeft,
                None => {}
            }
        }
    }

    /// The interrupt of a stage's reply, which is noted for the logs.
    pub(super) fn replied(
        &mut self,
        stages: &'a Chain,
        matched: Match<'a>,
        reply: middleware::LocalReply,
    ) -> Interrupt<'a> {
        if let Some(reason) = self.stages.refusal() {
            let route = matched.rule.name.clone();
            security_events::note_refusal(self.core, route, reason.name(), self.info.client);
        }
        self.info.stage = stages.stage_of(&self.stages).map(Stage::name);
        LocalReply::of_stage(reply).into()
    }

    fn services(&self, matched: Match<'a>) -> CoreServices<'a, R> {
        let Self { core, snapshot, .. } = *self;
        CoreServices {
            core,
            snapshot,
            route: &matched.rule.name,
            client: self.info.client,
            undecided: Cell::new(None),
        }
    }

    /// Calls `f` with the context of the request.
    fn with_request<T>(&mut self, matched: Match<'a>, f: impl FnOnce(&mut RequestCtx<'_>) -> T) -> T {
        let services = self.services(matched);
        let mut run = std::mem::take(&mut self.stages);
        let result = f(&mut RequestCtx::new(self.request_view(matched), &services, &mut run));
        self.stages = run;
        result
    }

    /// The request as stages see it.
    fn request_view(&self, matched: Match<'a>) -> RequestView<'_> {
        RequestView::new(self.request_parts(matched))
    }

    /// Parts of the request that stages and scripts see.
    pub(super) fn request_parts(&self, matched: Match<'a>) -> RequestParts<'_> {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        RequestParts {
            head: request,
            buf: client_in,
            client: self.info.client,
            is_secure: match_rule::is_secure(self.client, request, client_in),
            request_id: self.info.request_id_str(client_in),
            route: &matched.rule.name,
            app: matched.rule.app.as_ref().map_or("", |app| app.as_str()),
            tenant: matched.tenant().map(|tenant| tenant.id.as_str()),
            certificate: self.client.client_cert_subject(),
        }
    }

    /// Runs the response stages over the head of the endpoint's response. `None` without stages and cookie.
    pub(super) fn response_stages(&mut self, target: &Target<'a>) -> Option<Edits> {
        let scripted = self.edits_of_scripts();
        let Some(stages) = target.matched.rule.stages.as_ref() else {
            return self.with_bucket_cookie(scripted);
        };
        let edits = Some({
            let mut run = std::mem::take(&mut self.stages);
            let mut edits = scripted.unwrap_or_else(|| run.take_response_edits());
            let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
            let head = ResponseHeadView::Endpoint(response, upstream_in);
            let request = self.request_view(target.matched);
            stages.on_response(&mut ResponseCtx::new(request, head, &mut edits, &mut run));
            self.info.compression = run.not_compressed().map(Compression::Skipped);
            self.stages = run;
            edits
        });
        self.with_bucket_cookie(edits)
    }

    /// Edits of the response by scripts, which run behind all stages.
    fn edits_of_scripts(&mut self) -> Option<Edits> {
        #[cfg(feature = "lua")]
        return self.take_script_edits();
        #[cfg(not(feature = "lua"))]
        None
    }

    /// Runs the response stages over a local reply. `None` without stages and cookie, and before the match.
    pub(super) fn reply_stages(&mut self, reply: &LocalReply<'_>) -> Option<Edits> {
        let matched = self.info.matched?;
        let scripted = self.edits_of_scripts();
        let Some(stages) = matched.rule.stages.as_ref() else { return self.with_bucket_cookie(scripted) };
        let edits = Some({
            let mut run = std::mem::take(&mut self.stages);
            let mut edits = scripted.unwrap_or_default();
            let request = self.request_view(matched);
            stages.on_response(&mut ResponseCtx::new(request, reply.head(), &mut edits, &mut run));
            self.stages = run;
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

/// End of a wait.
enum Waited<T> {
    Decided(T),
    TimedOut,
    ClientLeft,
}

/// Fields that some servers take for the path or the method: they would get around what protects a path.
const PATH_OVERRIDES: &[&str] =
    &["x-original-url", "x-rewrite-url", "x-http-method", "x-http-method-override", "x-method-override"];
