//! One request and its response: the phases of an exchange, in their order.
//!
//! ```text
//! decode ─► admit ─► match ─► limit rate ─► choose pool ─► request stages ─► (redirect, fixed response)
//!   ─► (cache) ─► [ select ─► connect ─► send ─► response head ], again while it is safe
//!   ─► response stages ─► deliver ─► finish
//! Each phase may end with an interrupt instead ─► response stages ─► local reply ─► finish
//! ```
//!
//! | phase           | where                                                              |
//! |-----------------|--------------------------------------------------------------------|
//! | decode          | [`session`](crate::session) reads the head; [`on_demand_hosts`]    |
//! | admit           | [`Exchange::admit`]                                                |
//! | match           | [`match_rule`]                                                     |
//! | limit rate      | [`rate_limit`]                                                     |
//! | choose pool     | [`match_rule`]                                                     |
//! | request stages  | [`stages`]                                                         |
//! | local action    | [`local_action`]: redirects, fixed responses, routes of scripts    |
//! | cache           | [`cache`]: stored responses, and storing; [`deliver_stored`]               |
//! | select          | [`attempts`]                                                       |
//! | connect to head | [`Attempt`](crate::upstream::Attempt)                              |
//! | response stages | [`stages`]                                                         |
//! | deliver         | [`deliver`]; [`tunnel`] after an upgrade                           |
//! | local reply     | [`local_reply`]; [`failure`] has the table of failures             |
//! | finish          | [`Exchange::finish`], [`stream_info`]                              |
//!
//! Bodies pass through in their own framing, or as data where a stage sees them ([`body_pipe`]). A feature is
//! a module of its phase or a stage, not a branch in [`Exchange::run`]. The snapshot is pinned once: a
//! configuration change never disturbs a request under way.

pub(crate) mod acme_challenge;
pub(crate) mod activity;
pub(crate) mod attempt_warnings;
mod attempts;
mod body_framing;
pub(crate) mod body_pipe;
pub(crate) mod cache;
mod call_message;
pub(crate) mod cause;
mod circuits;
pub(crate) mod date_line;
pub(crate) mod deadlines;
mod deliver;
mod deliver_stored;
pub(crate) mod disposition;
pub(crate) mod failure;
pub(crate) mod forwarded;
pub(crate) mod grpc;
mod hedge;
pub(crate) mod https_redirect;
mod load_permit;
pub(crate) mod load_queues;
mod local_action;
pub(crate) mod local_reply;
pub(crate) mod match_rule;
pub(crate) mod mirror;
pub(crate) mod on_demand_hosts;
mod overload;
pub(crate) mod passive_health;
pub(crate) mod proxied;
pub(crate) mod public_health;
mod rate_limit;
pub(crate) mod request_body;
pub(crate) mod request_source;
pub(crate) mod response_writer;
#[cfg(feature = "lua")]
mod scripts;
pub(crate) mod security_events;
pub(crate) mod stage_calls;
mod stage_services;
pub(crate) mod stage_waits;
mod stages;
pub(crate) mod stream_info;
pub(crate) mod tunnel;
pub(crate) mod tunnels;
pub(crate) mod via;

use std::rc::Rc;

use ringway_middleware::Run;
use ringway_net::{Stream, WriteRate};
use ringway_telemetry::Rejected;
use ringway_traffic::plan::Bucket;
use ringway_traffic::snapshot::Snapshot;
use ringway_wire::h1;
use ringway_wire::message::Method;

use self::cause::Cause;
use self::disposition::Disposition;
use self::failure::Failure;
use self::load_permit::LoadPermit;
use self::local_reply::{LocalReply, ReplyOptions};
use self::match_rule::Target;
use self::on_demand_hosts::Absent;
use self::request_body::{RequestBody, is_all_there, is_followed, take_out};
use self::stream_info::StreamInfo;
use crate::core::{ConnBuffers, Core, Tables};
use crate::limits;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;
use crate::session::limits_of;
use crate::upstream::{Transfer, UpstreamResponse};

/// Everything that one request holds.
pub(crate) struct Exchange<'a, R: Runtime> {
    core: &'a Core<R>,
    client: &'a DownstreamConn<R::Stream>,
    buffers: &'a mut ConnBuffers,
    /// The pinned configuration, and the snapshot in it.
    tables: &'a Rc<Tables>,
    snapshot: &'a Snapshot,
    /// Result of the resolver for a host without a route.
    absent: Absent,
    /// State of the attempt under way.
    transfer: &'a Transfer,
    info: StreamInfo<'a>,
    /// The request asks to become a WebSocket, validly.
    upgrade: bool,
    /// Edits, body transforms and state of the request stages.
    stages: Run,
    /// Bucket that the client should keep in a cookie.
    new_bucket: Option<Bucket>,
    /// A request stage has waited since the snapshot was pinned.
    has_paused: bool,
    /// Permit of the route's overload protection, where it has one.
    permit: Option<LoadPermit<'a, R>>,
    /// The request's body; `None` before it begins, and while it is uploaded.
    body: Option<RequestBody>,
    /// The part of scripts.
    #[cfg(feature = "lua")]
    scripted: Option<Box<scripts::Scripted<'a>>>,
}

/// Early end of an exchange.
pub(crate) enum Interrupt<'a> {
    /// Configuration answers the request without an endpoint.
    Reply(Box<LocalReply<'a>>),
    /// Something went wrong.
    Failure(Failure),
}

impl From<Failure> for Interrupt<'_> {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl<'a> From<LocalReply<'a>> for Interrupt<'a> {
    fn from(reply: LocalReply<'a>) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// Serves the request whose head stands parsed in `buffers`.
pub(crate) async fn serve<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    started_us: u64,
) -> Disposition {
    let absent = match on_demand_hosts::is_wanted(core, client, buffers) {
        // Boxed: it must not make every exchange larger.
        true => Box::pin(on_demand_hosts::wait(core, buffers.request.host())).await,
        false => Absent::Unknown,
    };
    core.sample(&buffers.request, &buffers.client_in);
    let (tables, transfer) = (core.tables(), Transfer::default());
    let mut exchange = Exchange::new(core, client, buffers, &tables, &transfer, started_us);
    exchange.absent = absent;
    let disposition = match exchange.run().await {
        Ok(disposition) => disposition,
        Err(interrupt) => exchange.reply(interrupt).await,
    };
    #[cfg(feature = "lua")]
    if exchange.scripted.is_some() {
        Box::pin(exchange.script_log()).await;
    }
    exchange.finish(disposition)
}

/// Rejects a request whose head could not be read: there is nothing to match.
pub(crate) async fn reject<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    failure: Failure,
    started_us: u64,
    is_grpc: bool,
) -> Disposition {
    let cause = Cause::of_request(failure, &buffers.request, &buffers.client_in);
    buffers.request.reset();
    let (tables, transfer) = (core.tables(), Transfer::default());
    let mut exchange = Exchange::new(core, client, buffers, &tables, &transfer, started_us);
    exchange.info.cause = cause;
    exchange.info.is_grpc = is_grpc;
    let disposition = exchange.reply(failure.into()).await;
    let (code, status) = (failure.code(), exchange.info.final_status());
    core.telemetry.emit(Rejected { client_ip: client.peer, code, status });
    exchange.info.report(core, exchange.buffers);
    match disposition {
        Disposition::Close if !failure.is_of_silent_client() => Disposition::CloseUnread,
        _ => disposition,
    }
}

impl<'a, R: Runtime> Exchange<'a, R> {
    fn new(
        core: &'a Core<R>,
        client: &'a DownstreamConn<R::Stream>,
        buffers: &'a mut ConnBuffers,
        tables: &'a Rc<Tables>,
        transfer: &'a Transfer,
        started_us: u64,
    ) -> Self {
        let info = StreamInfo::new(core, client, buffers, started_us);
        Self {
            core,
            client,
            buffers,
            tables,
            snapshot: &tables.snapshot,
            absent: Absent::Unknown,
            transfer,
            info,
            upgrade: false,
            stages: Run::default(),
            new_bucket: None,
            has_paused: false,
            permit: None,
            body: None,
            #[cfg(feature = "lua")]
            scripted: None,
        }
    }

    /// Runs the phases from the decoded head to the end of the response.
    async fn run(&mut self) -> Result<Disposition, Interrupt<'a>> {
        self.admit()?;
        let matched = self.match_rule()?;
        self.limit_rate(matched)?;
        let target = self.choose_pool(matched)?;
        self.request_stages(matched).await?;
        let Some(target) = target else { return self.act(matched).await };
        if let Some(cache) = &matched.rule.cache {
            // Boxed: exchanges without a cache need not be larger for it.
            return Box::pin(self.through_cache(&target, cache)).await;
        }
        self.forward(&target).await
    }

    /// Gets a response of an endpoint, and delivers it.
    async fn forward(&mut self, target: &Target<'a>) -> Result<Disposition, Interrupt<'a>> {
        self.admit_load(target.matched).await?;
        let response = self.fetch(target).await?;
        let response = self.check_media_type(target, response)?;
        self.note_response_head(target);
        #[cfg(feature = "lua")]
        if self.scripted.is_some() {
            Box::pin(self.script_response()).await?;
        }
        if let Some(cache) = &target.matched.rule.cache {
            self.note_uncached(cache);
        }
        self.deliver_response(target, response).await.map_err(Interrupt::Failure)
    }

    /// Runs the response stages, and delivers the response.
    async fn deliver_response(
        &mut self,
        target: &Target<'a>,
        response: UpstreamResponse<'a, R>,
    ) -> Result<Disposition, Failure> {
        let edits = self.response_stages(target);
        let delivered = self.deliver(target, response, edits.as_ref()).await;
        if let Some(edits) = edits {
            self.stages.give_response_edits(edits);
        }
        delivered
    }

    /// Admits the request, or ends it by rules that need no route.
    fn admit(&mut self) -> Result<(), Interrupt<'a>> {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let is_ours = self.info.proxied.is_none();
        let health = self.core.settings.public_health.as_ref().filter(|_| is_ours);
        if health.is_some_and(|paths| paths.is_asked(request, client_in)) {
            return Err(LocalReply::health(self.core.draining.get()).into());
        }
        if matches!(request.method(), Method::Trace | Method::Connect) {
            return Err(LocalReply::method_not_allowed().into());
        }
        self.upgrade = match request.upgrade() {
            None => false,
            Some(h1::Upgrade::WebSocket) => true,
            Some(h1::Upgrade::InvalidWebSocket(error)) => return Err(Failure::BadUpgrade(error).into()),
        };
        Ok(())
    }

    /// Ends an interrupted exchange towards the client, as far as a response can still be sent.
    async fn reply(&mut self, interrupt: Interrupt<'a>) -> Disposition {
        if let Interrupt::Failure(failure) = interrupt {
            self.info.set_failure(failure);
        }
        if self.info.status.is_some() {
            // The response has begun: only a reset shows the client that it is incomplete.
            return Disposition::Reset;
        }
        let is_error = match &interrupt {
            Interrupt::Reply(reply) => reply.code().is_some(),
            Interrupt::Failure(_) => true,
        };
        if is_error && self.has_waited(self.info.started_us) && self.has_left().await {
            self.info.set_failure(Failure::ClientClosed);
            return Failure::ClientClosed.disposition();
        }
        let reply = match interrupt {
            Interrupt::Reply(reply) => reply,
            Interrupt::Failure(failure) => match failure.reply(self.unavailable_status()) {
                Some(reply) => Box::new(reply),
                None => return failure.disposition(),
            },
        };
        self.send_local_reply(&self.with_limits(*reply)).await
    }

    /// Whether the client's connection can carry another request after a response that no endpoint sends.
    fn keeps_connection(&self) -> bool {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        // A body that is not all there would be taken for the next request.
        let body_is_there = self.info.bytes_in == 0 && is_all_there(request, client_in);
        body_is_there && request.keep_alive() && !self.core.draining.get()
    }

    /// The reply with the limit that caused it, and the fields of the rate limit.
    fn with_limits(&self, mut reply: LocalReply<'a>) -> LocalReply<'a> {
        if let Some(by) = self.info.limited_by {
            reply = reply.with_limit(by);
        }
        if let Some((limiter, decision)) = &self.info.rate_limit {
            reply = reply.with_lines(|lines| limiter.push_fields(lines, decision));
        }
        reply
    }

    /// Status of the reply when no endpoint is available.
    fn unavailable_status(&self) -> u16 {
        let of_policy = self.info.matched.and_then(|matched| matched.rule.policy.unavailable_status);
        of_policy.unwrap_or(self.core.settings.unavailable_status)
    }

    /// Sends a local reply.
    async fn send_local_reply(&mut self, reply: &LocalReply<'_>) -> Disposition {
        #[cfg(feature = "lua")]
        if self.scripted.is_some() {
            Box::pin(self.script_reply(reply)).await;
        }
        let edits = self.reply_stages(reply);
        let Self { core, client, .. } = *self;
        let keep = reply.disposition() == Disposition::Keep && self.keeps_connection();
        let ConnBuffers { request, client_in, out, .. } = &mut *self.buffers;
        self.info.code = self.info.code.or(reply.code());
        let options = ReplyOptions::of(request, client_in, self.info.is_grpc, keep);
        out.clear();
        let id = self.info.request_id_str(client_in);
        let stages = edits.as_ref().map(|edits| (edits, self.stages.response_body()));
        let encoded = reply.encode(out, &options, id, core.runtime.timestamp(), stages);
        self.info.bytes_out = encoded.body_bytes as u64;
        self.info.status = Some(encoded.status);
        let rate = WriteRate::stall(limits_of(core, client).write_stall(self.info.policy(core)));
        let (sent, back) = client.stream.write_all(std::mem::take(out), rate).await;
        *out = back;
        out.clear();
        if sent.is_ok() && keep { Disposition::Keep } else { Disposition::Close }
    }

    /// Ends every exchange: one event, from which log line and metrics are made, and the connection's
    /// disposition.
    fn finish(&mut self, disposition: Disposition) -> Disposition {
        if let Some(body) = &self.body {
            self.info.bytes_in = self.info.bytes_in.max(body.received);
        }
        self.info.report(self.core, self.buffers);
        if self.info.matched.is_some_and(|matched| matched.rule.stages.is_some()) {
            self.stages.clear();
            self.buffers.stages = std::mem::take(&mut self.stages);
        }
        match disposition {
            Disposition::Keep => {
                take_out(self.buffers, self.body.take());
                Disposition::Keep
            }
            Disposition::Close if self.is_unread() => Disposition::CloseUnread,
            Disposition::Close if self.is_last() => Disposition::CloseNow,
            Disposition::Close | Disposition::CloseUnread | Disposition::CloseNow | Disposition::Reset => {
                disposition
            }
        }
    }

    /// Whether the client is known, or likely, to send more than was read: the rest of the request, what
    /// follows it, or another protocol that it asked for and did not wait for (RFC 9931).
    fn is_unread(&self) -> bool {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let body = self.body.as_ref();
        let is_there = body.map_or_else(|| is_all_there(request, client_in), RequestBody::is_complete);
        let is_read = is_there && !is_followed(request, client_in, body) && request.upgrade().is_none();
        !is_read
            && self.info.upgraded.is_none()
            && !self.info.failure.is_some_and(Failure::is_of_silent_client)
    }

    /// Whether the client has said that this was its last request (RFC 9112 §9.6).
    fn is_last(&self) -> bool {
        let request = &self.buffers.request;
        self.info.upgraded.is_none() && request.is_complete() && !request.keep_alive()
    }

    /// Whether the client has gone, as far as that is known without waiting. One system call.
    async fn has_left(&self) -> bool {
        request_body::has_left(self.client, self.buffers, self.body.as_ref()).await
    }

    /// Whether so much time has passed since then that the client may have left.
    fn has_waited(&self, since_us: u64) -> bool {
        let waited = self.core.runtime.now_micros().saturating_sub(since_us);
        u128::from(waited) >= limits::CLIENT_WATCH_DELAY.as_micros()
    }
}
