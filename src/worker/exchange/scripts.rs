//! Script phase: routes that Lua scripts declare, and the hooks around them.
//!
//! ```text
//! rule of scripts ─► route of the script ─► request hooks ─► handler ─► reply
//!                                                        └─► pool ─► forward ─► response hooks
//! any reply, of a hook too ─► response hooks of those that let the request pass ─► log hooks
//! ```

use std::sync::Arc;
use std::time::Duration;

use ringway_middleware::{self as middleware, Chain, Edits, ResponseHeadView, Stage};
use ringway_model::{FailMode, StageSpec, Tick};
use ringway_net::Stream;
use ringway_script::{
    BodyUnavailable, Call, Effects, Failure as ScriptFailure, FailureKind, Found, HookId, Outcome,
    Parameters, Progress, Rights, RouteTarget, ScriptRequest, Vm,
};
use ringway_traffic::scripts::{Admission, ScriptRoutes, Scripts};
use ringway_wire::message::Framing;

use crate::core::ConnBuffers;
use crate::exchange::disposition::Disposition;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::match_rule::{Match, Target};
use crate::exchange::{Exchange, Interrupt};
use crate::runtime::Runtime;

/// Scripts' part of an exchange.
pub(super) struct Scripted<'a> {
    scripts: &'a Arc<Scripts>,
    vm: Vm,
    /// Hooks that let the request pass, in this order, each with the request as it came to their stage.
    passed: Vec<(HookId, ScriptRequest)>,
    /// Path in place of the request's.
    path: Option<Box<str>>,
    /// Edits of the response by its hooks.
    response_edits: Option<Edits>,
    /// Hooks have seen a response.
    has_response: bool,
}

/// Destination that a script chose.
struct Chosen {
    pool: Box<str>,
    effects: Effects,
    /// Timeout of the response.
    timeout: Option<Duration>,
}

/// End of the request hooks.
enum Hooked {
    /// They let the request pass, with these effects.
    Passed(Effects),
    /// One has answered it.
    Replied(middleware::LocalReply),
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Runs the script's route for the request, and forwards the request if that chooses a pool.
    pub(super) async fn run_script(
        &mut self,
        matched: Match<'a>,
        routes: &'a ScriptRoutes,
    ) -> Result<Disposition, Interrupt<'a>> {
        let chosen = self.script_route(matched, routes).await?;
        let pool = self.snapshot.pool_of_app(&chosen.pool).ok_or_else(LocalReply::script_failed)?;
        self.info.pool = Some(pool);
        if chosen.timeout.is_some() {
            let deadlines = &self.transfer.activity.deadlines;
            deadlines.begin(&matched.rule.policy, self.core.runtime.now());
            deadlines.lower(chosen.timeout);
        }
        *self.stages.edit_request() = chosen.effects.edits;
        self.forward(&Target { matched, pool, variant: None }).await
    }

    /// Runs the request hooks of the stage `lua` that the request stands at.
    pub(super) async fn script_stage(
        &mut self,
        stages: &'a Chain,
        matched: Match<'a>,
    ) -> Result<(), Interrupt<'a>> {
        let Some(StageSpec::Lua(stage)) = stages.stage_of(&self.stages).and_then(Stage::spec) else {
            return Ok(());
        };
        let hooked = match self.snapshot.scripts.as_ref() {
            Some(scripts) => {
                // A stage changes header fields, and leaves path and pool to the route.
                let rights = Rights { pools: Some(Arc::from([])), sets_path: false };
                let hooks = scripts.bundle.declarations().script(&stage.script).map(|script| &*script.hooks);
                match (hooks, self.begin_script(matched, scripts, Vec::new(), rights)) {
                    (Some(hooks), Some(request)) => self.request_hooks(hooks, &request).await,
                    _ => Err(LocalReply::script_failed()),
                }
            }
            None => Err(LocalReply::script_failed()),
        };
        match hooked {
            Ok(Hooked::Passed(effects)) => *self.stages.edit_request() = effects.edits,
            Ok(Hooked::Replied(reply)) => return Err(self.replied(stages, matched, reply)),
            Err(_) if stage.fail_mode == FailMode::Open => {}
            Err(reply) => return Err(reply.into()),
        }
        Ok(())
    }

    async fn script_route(
        &mut self,
        matched: Match<'a>,
        routes: &'a ScriptRoutes,
    ) -> Result<Chosen, Interrupt<'a>> {
        let scripts = &routes.scripts;
        let declarations = scripts.bundle.declarations();
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let table = scripts.bundle.tables().get(&routes.host);
        let Some(table) = table else { return Err(LocalReply::no_route().into()) };
        let found = table.find(declarations, request.method_str(client_in), request.path(client_in));
        let parameters = match &found {
            Found::Route(_, parameters) => parameters.clone(),
            Found::Fallback(..) => Vec::new(),
            Found::NotFound => return Err(LocalReply::no_route().into()),
            Found::MethodNotAllowed(allowed) => return Err(LocalReply::other_method(allowed).into()),
        };
        let rights = Rights { pools: None, sets_path: !matched.rule.is_guarded() };
        let request = self.begin_script(matched, scripts, parameters, rights);
        let request = request.ok_or_else(LocalReply::script_failed)?;
        let mut effects = match self.request_hooks(found.hooks(), &request).await? {
            Hooked::Passed(effects) => effects,
            Hooked::Replied(reply) => return Err(LocalReply::of_stage(reply).into()),
        };
        let (call, script) = match &found {
            Found::Route(route, _) => match &route.target {
                RouteTarget::Handler(handler) => (Call::Handler(*handler), route.script),
                RouteTarget::Proxy(proxy) => {
                    let pool = effects.pool.take().unwrap_or_else(|| proxy.pool.as_str().into());
                    self.set_script_path(effects.path.take(), proxy.strip_prefix.as_deref());
                    return Ok(Chosen { pool, effects, timeout: proxy.timeout });
                }
            },
            Found::Fallback(fallback, _) => (Call::Handler(fallback.handler), fallback.script),
            Found::NotFound | Found::MethodNotAllowed(_) => return Err(LocalReply::no_route().into()),
        };
        match self.call_script(call, script, &request).await? {
            Outcome::Reply(reply) => Err(LocalReply::of_stage(reply).into()),
            Outcome::Proxy(mut effects) => {
                let pool = effects.pool.take().ok_or_else(LocalReply::script_failed)?;
                self.set_script_path(effects.path.take(), None);
                Ok(Chosen { pool, effects, timeout: None })
            }
            Outcome::Continue(_) | Outcome::Failed(_) => Err(LocalReply::script_failed().into()),
        }
    }

    /// The request for calls of scripts; `None` where the scripts cannot be loaded.
    fn begin_script(
        &mut self,
        matched: Match<'a>,
        scripts: &'a Arc<Scripts>,
        parameters: Parameters,
        rights: Rights,
    ) -> Option<ScriptRequest> {
        let vm = self.core.scripts.get(self.core, scripts)?;
        let edits = self.stages.request_edits().clone();
        let identity = self.stages.identity().cloned();
        let request = ScriptRequest::new(&self.request_parts(matched), edits, identity, parameters, rights);
        self.has_paused = true;
        self.scripted.get_or_insert_with(|| {
            Box::new(Scripted {
                scripts,
                vm,
                passed: Vec::new(),
                path: None,
                response_edits: None,
                has_response: false,
            })
        });
        Some(request)
    }

    /// Runs request hooks until one answers the request.
    async fn request_hooks(
        &mut self,
        hooks: &[HookId],
        request: &ScriptRequest,
    ) -> Result<Hooked, LocalReply<'a>> {
        let scripted = self.scripted.as_ref().ok_or_else(LocalReply::script_failed)?;
        let declarations = scripted.scripts.bundle.declarations();
        let mut effects = Effects { edits: self.stages.request_edits().clone(), ..Effects::default() };
        for hook in hooks {
            let declared = &declarations.hooks[hook.index()];
            if declared.on_request {
                match self.call_script(Call::Request(*hook), declared.script, request).await? {
                    Outcome::Continue(next) => effects = next,
                    Outcome::Reply(reply) => return Ok(Hooked::Replied(reply)),
                    Outcome::Proxy(_) | Outcome::Failed(_) => return Err(LocalReply::script_failed()),
                }
            }
            if let Some(scripted) = &mut self.scripted {
                scripted.passed.push((*hook, request.clone()));
            }
        }
        Ok(Hooked::Passed(effects))
    }

    /// Sets the path of the forwarded request: that of a script, or the request's without a prefix.
    fn set_script_path(&mut self, path: Option<Box<str>>, strip_prefix: Option<&str>) {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let path = path.or_else(|| {
            let rest = request.path_and_query(client_in).strip_prefix(strip_prefix?)?;
            Some(match rest.starts_with('/') {
                true => rest.into(),
                false => format!("/{rest}").into(),
            })
        });
        if let Some(scripted) = &mut self.scripted {
            scripted.path = path;
        }
    }

    /// Path that a script has set for the forwarded request.
    pub(super) fn script_path(&self) -> Option<&str> {
        self.scripted.as_ref()?.path.as_deref()
    }

    /// Edits of the response by hooks of scripts.
    pub(super) fn take_script_edits(&mut self) -> Option<Edits> {
        self.scripted.as_mut()?.response_edits.take()
    }

    /// Runs the response hooks over the head of an endpoint's response.
    pub(super) async fn script_response(&mut self) -> Result<(), Interrupt<'a>> {
        Ok(self.response_hooks(None).await?)
    }

    /// Runs the response hooks over a local reply, unless they have seen a response. One that fails leaves
    /// the reply as it is.
    pub(super) async fn script_reply(&mut self, reply: &LocalReply<'_>) {
        if self.scripted.as_ref().is_some_and(|scripted| !scripted.has_response) {
            // The failure is logged; the client gets the reply that it was about.
            let _ = self.response_hooks(Some(reply)).await;
        }
    }

    /// Runs the response hooks over a local reply, or else the endpoint's response.
    async fn response_hooks(&mut self, local: Option<&LocalReply<'_>>) -> Result<(), LocalReply<'a>> {
        let Some(scripted) = &mut self.scripted else { return Ok(()) };
        scripted.has_response = true;
        let declarations = scripted.scripts.bundle.declarations();
        let passed = scripted.passed.clone();
        let mut edits = Edits::default();
        for (hook, request) in passed.iter().rev() {
            let declared = &declarations.hooks[hook.index()];
            // Log hooks see the response too.
            if !declared.on_response && !declared.on_log {
                continue;
            }
            let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
            let endpoint = ResponseHeadView::Endpoint(response, upstream_in);
            request.set_response(local.map_or(endpoint, LocalReply::head), edits.clone());
            if declared.on_response
                && let Outcome::Continue(effects) =
                    self.call_script(Call::Response(*hook), declared.script, request).await?
            {
                edits = effects.edits;
            }
        }
        if let Some(scripted) = &mut self.scripted {
            scripted.response_edits = Some(edits);
        }
        Ok(())
    }

    /// Runs the log hooks, when the client has its response.
    pub(super) async fn script_log(&mut self) {
        let Some(scripted) = &self.scripted else { return };
        let declarations = scripted.scripts.bundle.declarations();
        let passed = scripted.passed.clone();
        for (hook, request) in &passed {
            let declared = &declarations.hooks[hook.index()];
            if declared.on_log {
                // The failure is logged; the client has its response.
                let _ = self.call_script(Call::Log(*hook), declared.script, request).await;
            }
        }
    }

    /// Runs a call to its end. A failed one becomes the reply to the client.
    async fn call_script(
        &mut self,
        call: Call,
        script: usize,
        request: &ScriptRequest,
    ) -> Result<Outcome, LocalReply<'a>> {
        let Some(scripted) = &self.scripted else { return Err(LocalReply::script_failed()) };
        let (core, scripts) = (self.core, scripted.scripts);
        let began_us = core.runtime.now_micros();
        let breaker = scripts.breakers.get(script);
        if let Some(Admission::Refused { wait_us }) = breaker.map(|breaker| breaker.admit(began_us)) {
            return Err(LocalReply::script_unavailable(Duration::from_micros(wait_us)));
        }
        let mut running = scripted.vm.call(call, request);
        let outcome = loop {
            match running.next().await {
                Progress::Body(bytes_max) => {
                    let body = self.read_whole_body(bytes_max).await;
                    request.set_body(body);
                }
                Progress::Done(outcome) => break outcome,
            }
        };
        let spent_us = core.runtime.now_micros().saturating_sub(began_us);
        self.info.stages_us += spent_us;
        let Outcome::Failed(failure) = &outcome else {
            if let Some(breaker) = breaker {
                breaker.succeed();
            }
            return Ok(outcome);
        };
        Err(self.script_failed(scripts, script, failure))
    }

    /// The reply for a failed call, which is counted and logged.
    #[cold]
    fn script_failed(&self, scripts: &Scripts, script: usize, failure: &ScriptFailure) -> LocalReply<'a> {
        let now_us = self.core.runtime.now_micros();
        let id = scripts.bundle.declarations().scripts.get(script).map_or("", |script| &*script.id);
        let request_id = self.info.request_id_str(&self.buffers.client_in);
        self.core.scripts.log_failure(now_us, id, request_id, failure);
        if failure.kind == FailureKind::Busy {
            return LocalReply::script_busy();
        }
        if let Some(breaker) = scripts.breakers.get(script)
            && breaker.fail(failure.kind.is_kill(), now_us)
        {
            tracing::error!(script = id, "circuit breaker of a script opens: it failed again and again");
        }
        LocalReply::script_failed()
    }

    /// Reads the content of a request, which stays in the buffers to be forwarded. One without a length, or
    /// with more than `bytes_max` bytes, is not available.
    async fn read_whole_body(&mut self, bytes_max: usize) -> Result<Vec<u8>, BodyUnavailable> {
        let head_bytes = self.buffers.request.len();
        let length = match self.buffers.request.framing() {
            Framing::Empty => 0,
            Framing::Length(length) => usize::try_from(length).map_err(|_| BodyUnavailable)?,
            Framing::Chunked | Framing::UntilClose => return Err(BodyUnavailable),
        };
        if length > bytes_max {
            return Err(BodyUnavailable);
        }
        let end = head_bytes + length;
        let deadline: Tick = self.core.runtime.now().after(BODY_TIMEOUT);
        while self.buffers.client_in.len() < end {
            let mut buf = std::mem::take(&mut self.buffers.client_in);
            let missing = end - buf.len();
            buf.reserve(missing);
            let (result, back) = self.client.stream.read(buf, deadline).await;
            self.buffers.client_in = back;
            if !result.is_ok_and(|count| count > 0) {
                return Err(BodyUnavailable);
            }
        }
        Ok(self.buffers.client_in[head_bytes..end].to_vec())
    }
}

/// Time for the content of a request that a script reads.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
