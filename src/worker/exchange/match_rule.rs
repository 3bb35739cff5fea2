//! Match phase: from the request's host to its virtual host, rule and pool.
//!
//! ```text
//! challenge ─► reply     https_only ─► 421     no host ─► 404     plain http ─► redirect     loop ─► 508
//! ```

use ringway_model::Owner;
use ringway_traffic::snapshot::{Pool, Snapshot};
use ringway_traffic::virtual_host::{Rule, VirtualHost};

use crate::accept::cert_selector;
use crate::accept::listener::Handler;
use crate::core::{ConnBuffers, Core};
use crate::exchange::failure::Failure;
use crate::exchange::forwarded::{self, Reach};
use crate::exchange::local_reply::LocalReply;
use crate::exchange::{Exchange, Interrupt, acme_challenge, https_redirect};
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;

/// Virtual host and rule of a request, found once in its pinned snapshot.
#[derive(Clone, Copy)]
pub(crate) struct Match<'a> {
    pub(crate) host: &'a VirtualHost,
    pub(crate) rule: &'a Rule,
}

/// The same with the pool that serves it.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) matched: Match<'a>,
    pub(crate) pool: &'a Pool,
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Finds the rule of the request, or the reply that configuration gives without an endpoint.
    pub(super) fn match_rule(&mut self) -> Result<Match<'a>, Interrupt<'a>> {
        let Self { core, client, snapshot, .. } = *self;
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
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
        let Some(host) = snapshot.virtual_host(request.host()) else { return Err(self.absent.into()) };
        let Some(rule) = host.rules.find(request, client_in) else {
            return Err(LocalReply::no_route().into());
        };
        let matched = Match { host, rule };
        self.info.matched = Some(matched);
        if handler == (Handler::Gateway { redirects_to_https: true })
            && challenge.is_none()
            && let Some(port) = redirect_port(core, client, self.buffers, snapshot, host)
        {
            let location = https_redirect::location(request, client_in, port);
            return Err(LocalReply::redirect(https_redirect::status(request.method()), &location).into());
        }
        client.check(snapshot, matched, request.host())?;
        if core.settings.via.as_ref().is_some_and(|via| via.is_loop(request, client_in)) {
            return Err(LocalReply::loop_detected().into());
        }
        if forwarded::reach(request, client_in) == Reach::Here {
            return Err(LocalReply::methods().into());
        }
        Ok(matched)
    }

    /// Chooses the pool that serves a rule's requests.
    pub(super) fn choose_pool(&mut self, matched: Match<'a>) -> Result<Target<'a>, Interrupt<'a>> {
        let Some(pool) = self.snapshot.pool_of(matched.rule) else {
            return Err(LocalReply::no_route().into());
        };
        self.info.pool = Some(pool);
        if pool.endpoints.is_empty() && matched.rule.owner == Owner::Resolver {
            return Err(Failure::NotRunning.into());
        }
        Ok(Target { matched, pool })
    }
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
            || cert_selector::is_covered_by_default(&core.secrets, snapshot, buffers.request.host())
    };
    (!is_secure_already && is_servable()).then_some(port)
}
