//! Match phase: from the request's host to its virtual host, rule and pool.
//!
//! ```text
//! challenge ─► reply     https_only ─► 421     no host ─► 404     bad path ─► 400     plain http ─► redirect
//! no rule ─► 404     policy of the rule: https, client certificate, WebSocket ─► 308, 421, 403     loop ─► 508
//! ```
//! The path of a host with a table of rules is normalised before: what is matched is what is forwarded, shown
//! to stages, and logged.

use std::sync::Arc;

use ringway_model::{HostPattern, Owner};
use ringway_traffic::plan::{PlanRequest, Reason, TrafficPlan, Variant};
use ringway_traffic::snapshot::{Pool, Snapshot};
use ringway_traffic::virtual_host::{Rule, Rules, Tenant, VirtualHost};
use ringway_wire::h1::RequestHead;
use ringway_wire::message::Method;
use ringway_wire::path::PathError;

use crate::accept::cert_selector;
use crate::accept::listener::Handler;
use crate::accept::tls_info::Unfit;
use crate::core::{ConnBuffers, Core};
use crate::exchange::failure::Failure;
use crate::exchange::forwarded::{self, Reach};
use crate::exchange::local_reply::LocalReply;
use crate::exchange::on_demand_hosts::Absent;
use crate::exchange::{Exchange, Interrupt, acme_challenge, grpc, https_redirect, security_events};
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;

/// Virtual host and rule of a request, found once in its pinned snapshot.
#[derive(Clone, Copy)]
pub(crate) struct Match<'a> {
    pub(crate) host: &'a Arc<VirtualHost>,
    pub(crate) rule: &'a Arc<Rule>,
}

impl<'a> Match<'a> {
    /// Tenant of the request.
    pub(crate) fn tenant(self) -> Option<&'a Tenant> {
        self.host.tenant_of(self.rule)
    }
}

/// The same with the pool that serves it.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) matched: Match<'a>,
    pub(crate) pool: &'a Pool,
    /// Variant of the rule's canary.
    pub(crate) variant: Option<Variant>,
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Finds the rule of the request, or the reply that configuration gives without an endpoint.
    pub(super) fn match_rule(&mut self) -> Result<Match<'a>, Interrupt<'a>> {
        let Self { core, client, snapshot, .. } = *self;
        let ConnBuffers { request, client_in, .. } = &mut *self.buffers;
        let challenge = acme_challenge::token(request, client_in);
        if let Some(authorization) = challenge.and_then(|token| snapshot.challenge(token)) {
            return Err(LocalReply::challenge(authorization).into());
        }
        let handler = core.listeners.get(client.admission.listener).handler;
        if handler == Handler::AcmeOnly {
            return Err(match challenge {
                Some(_) => LocalReply::unknown_challenge().into(),
                None => LocalReply::https_only().into(),
            });
        }
        let is_challenge = challenge.is_some();
        let Some(host) = snapshot.virtual_host(request.host()) else { return Err(self.absent.into()) };
        if self.absent == Absent::Unresolved && host.host == HostPattern::Any {
            return Err(self.absent.into());
        }
        if let Rules::Table(table) = &host.rules {
            request.normalize_path(client_in, table.slashes()).map_err(Failure::BadPath)?;
        }
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let rule = host.rules.find(request, client_in);
        self.info.matched = rule.map(|rule| Match { host, rule });
        if handler == (Handler::Gateway { redirects_to_https: true })
            && !is_challenge
            && let Some(port) = redirect_port(core, client, self.buffers, snapshot, host)
        {
            let location = https_redirect::location(request, client_in, port);
            return Err(LocalReply::redirect(https_redirect::status(request.method()), &location).into());
        }
        let Some(matched) = self.info.matched else { return Err(LocalReply::no_route().into()) };
        if let Rules::Table(table) = &host.rules
            && table.is_ambiguous(matched.rule, request, client_in)
        {
            return Err(Failure::BadPath(PathError::OtherGuard).into());
        }
        if matched.rule.policy.requires_tls && !is_challenge && !is_secure(client, request, client_in) {
            return Err(self.require_tls(host));
        }
        client.check(snapshot, matched, request.host()).map_err(|unfit| self.refuse_unfit(unfit, matched))?;
        if matched.rule.policy.timeout.is_some() || matched.rule.policy.total_timeout.is_some() {
            let deadlines = &self.transfer.activity.deadlines;
            deadlines.begin(&matched.rule.policy, core.runtime.now());
            deadlines.lower(grpc::timeout(request, client_in));
        }
        if self.upgrade && !matched.rule.policy.admits_websocket {
            return Err(LocalReply::websocket_forbidden().into());
        }
        if core.settings.via.as_ref().is_some_and(|via| via.is_loop(request, client_in)) {
            return Err(LocalReply::loop_detected().into());
        }
        if forwarded::reach(request, client_in) == Reach::Here {
            return Err(LocalReply::methods().into());
        }
        Ok(matched)
    }

    /// Chooses the pool that serves a rule's requests; `None` for a rule with a reply of its own.
    pub(super) fn choose_pool(&mut self, matched: Match<'a>) -> Result<Option<Target<'a>>, Failure> {
        let Some(mut pool) = self.snapshot.pool_of(matched.rule) else { return Ok(None) };
        if let Some(plan) = matched.rule.traffic.as_ref().and_then(|traffic| traffic.plan.as_deref())
            && let Some(other) = self.choose_variant(plan)
        {
            pool = other;
        }
        self.info.pool = Some(pool);
        if pool.endpoints.is_empty() && matched.rule.owner == Owner::Resolver {
            return Err(Failure::NotRunning);
        }
        Ok(Some(Target { matched, pool, variant: self.info.variant }))
    }

    /// Chooses among the pools of a plan; `None` where its stable one serves the request.
    fn choose_variant(&mut self, plan: &TrafficPlan) -> Option<&'a Pool> {
        if !plan.splits() {
            return None;
        }
        let (core, now) = (self.core, self.core.runtime.now());
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let request = PlanRequest {
            head: request,
            buf: client_in,
            client: self.info.client,
            is_trusted: self.client.trusted,
            draw: core.cursors.borrow_mut().draw_evenly(),
        };
        let pool = |id| self.snapshot.pool(id);
        let choice = plan.choose(&request, |canary| pool(canary).is_some_and(|pool| pool.has_available(now)));
        if choice.reason == Reason::Fallback {
            plan.state.count_fallback(core.id.0.into());
        }
        self.info.variant = Some(choice.variant);
        self.new_bucket = choice.new_bucket;
        pool(choice.pool)
    }

    /// Returns the reply to a request that its connection may not serve.
    #[cold]
    fn refuse_unfit(&self, unfit: Unfit, matched: Match<'a>) -> Interrupt<'a> {
        if unfit != Unfit::OtherHost {
            let (route, client) = (matched.rule.name.clone(), self.info.client);
            security_events::note_refusal(self.core, route, security_events::CERTIFICATE_MISSING, client);
        }
        match unfit {
            Unfit::OtherHost => LocalReply::misdirected().into(),
            Unfit::NoCertificate => LocalReply::client_certificate_required().into(),
            Unfit::NoTls => LocalReply::https_only().into(),
        }
    }

    /// Returns the reply to a request without TLS whose rule requires it: a redirect where https is served
    /// and the request can be repeated.
    #[cold]
    fn require_tls(&self, host: &VirtualHost) -> Interrupt<'a> {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let port = redirect_port(self.core, self.client, self.buffers, self.snapshot, host);
        match (request.method(), port) {
            (Method::Get | Method::Head, Some(port)) => {
                LocalReply::redirect(308, &https_redirect::location(request, client_in, port)).into()
            }
            _ => LocalReply::https_only().into(),
        }
    }
}

/// Whether the client uses https, as far as is known: a trusted proxy says it.
pub(super) fn is_secure<S>(client: &DownstreamConn<S>, request: &RequestHead, client_in: &[u8]) -> bool {
    let claimed = client.trusted.then(|| forwarded::claims_https(request, client_in)).flatten();
    claimed.unwrap_or(client.tls_version().is_some())
}

/// Port of the redirect for a request that came without TLS; `None` when it is served here: its host cannot
/// be served over TLS (yet), or a trusted proxy has ended the client's TLS already.
fn redirect_port<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &ConnBuffers,
    snapshot: &Snapshot,
    host: &VirtualHost,
) -> Option<u16> {
    let port = core.https_port?;
    let is_secure_already =
        client.trusted && forwarded::claims_https(&buffers.request, &buffers.client_in) == Some(true);
    let is_servable = || {
        host.tls.certificate.is_some()
            || snapshot.certificate_files(buffers.request.host()).is_some()
            || cert_selector::is_covered_by_default(&core.secrets, snapshot, buffers.request.host())
    };
    (!is_secure_already && is_servable()).then_some(port)
}
