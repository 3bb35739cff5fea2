//! Requests to the forward proxy: as exchanges, for one kind of reply, log line and end.
//!
//! ```text
//! admit (`forward`) ─┬─ http://: the phases of any exchange, with a snapshot made for the destination
//!                    ├─ CONNECT: 200 ─► relay
//!                    └─ Denial: local reply
//! ```

use std::net::SocketAddr;

use ringway_forward::Denial;
use ringway_net::{Stream, WriteRate};
use ringway_telemetry::{Upgrade, UpgradeEnded, Upgraded};
use ringway_wire::message::Method;

use super::disposition::Disposition;
use super::local_reply::LocalReply;
use super::match_rule::Target;
use super::{Exchange, Interrupt};
use crate::core::{ConnBuffers, Core};
use crate::forward::{self, Admitted, Ends, Rules};
use crate::runtime::Runtime;
use crate::session::downstream_conn::{DownstreamConn, Phase};
use crate::upstream::{Transfer, UpstreamResponse};

/// Facts about a request to the forward proxy.
pub(crate) struct Proxied {
    /// Rules by which it was admitted.
    rules: Rules,
    /// Address that a tunnel reached.
    pub(super) address: Option<Box<str>>,
    /// Reason of its refusal, for the log.
    pub(super) refusal: Option<Box<str>>,
}

/// Serves the request to the forward proxy whose head stands parsed in `buffers`.
pub(crate) async fn serve<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    started_us: u64,
) -> Disposition {
    let Some(state) = &core.forward else { return Disposition::Close };
    let rules = state.rules();
    let admitted = forward::admit(core, state, client, buffers).await;
    let (tables, transfer) = match &admitted {
        Ok(Admitted::Http { tables, .. }) => (tables.clone(), Transfer::default()),
        Ok(Admitted::Tunnel { .. }) | Err(_) => (core.tables(), Transfer::default()),
    };
    let mut exchange = Exchange::new(core, client, buffers, &tables, &transfer, started_us);
    exchange.info.proxied = Some(Box::new(Proxied { rules, address: None, refusal: None }));
    let disposition = match admitted {
        Ok(Admitted::Http { rules, .. }) => {
            if let Some(proxied) = &mut exchange.info.proxied {
                proxied.rules = rules;
            }
            match exchange.run().await {
                Ok(disposition) => disposition,
                Err(interrupt) => exchange.reply(interrupt).await,
            }
        }
        Ok(Admitted::Tunnel { upstream, address, file, permit }) => {
            let disposition = exchange.tunnel(upstream, address).await;
            drop((file, permit));
            disposition
        }
        Err(denial) => {
            let reply = exchange.denied(&denial);
            exchange.reply(reply).await
        }
    };
    exchange.finish(disposition)
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Checks the media type of a response of the forward proxy; a response that is blocked is given up.
    pub(super) fn check_media_type(
        &mut self,
        target: &Target<'a>,
        response: UpstreamResponse<'a, R>,
    ) -> Result<UpstreamResponse<'a, R>, Interrupt<'a>> {
        let Some(proxied) = self.info.proxied.as_ref().filter(|proxied| proxied.rules.policy.checks_types())
        else {
            return Ok(response);
        };
        let ConnBuffers { response: head, upstream_in, request, .. } = &*self.buffers;
        // A response without content has no type.
        if request.method() == Method::Head || !head.framing().has_body() {
            return Ok(response);
        }
        let value = head.field(upstream_in, "content-type").next();
        match proxied.rules.policy.check_content_type(value) {
            Ok(()) => Ok(response),
            Err(denial) => {
                self.give_up_response(target, response);
                Err(self.denied(&denial))
            }
        }
    }

    /// Notes a refusal, and makes its reply.
    fn denied(&mut self, denial: &Denial) -> Interrupt<'a> {
        let name = self.proxy_name();
        let Some(proxied) = &mut self.info.proxied else { return LocalReply::method_not_allowed().into() };
        proxied.refusal = Some(denial.to_string().into());
        let answer = &proxied.rules.policy.spec.blocked_answer;
        let mut reply = match denial.is_blocked_domain() {
            true => LocalReply::error(answer.status, denial.code(), answer.body.to_string()),
            false => LocalReply::error(denial.status(), denial.code(), denial.message()),
        };
        if let Some(error) = denial.proxy_status() {
            let value = format!("{name}; error={error}");
            reply = reply.with_field("Proxy-Status", value.as_bytes());
        }
        if let Some(seconds) = denial.retry_after() {
            reply = reply.with_field("Retry-After", seconds.to_string().as_bytes());
        }
        if let (Denial::Credentials, Some(auth)) = (denial, &proxied.rules.policy.spec.auth) {
            let realm: String = auth.realm.chars().filter(|char| !matches!(char, '"' | '\\')).collect();
            let value = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
            reply = reply.with_field("Proxy-Authenticate", value.as_bytes());
        }
        // Bytes behind a CONNECT are for a tunnel that there is not, and must not be read as a request
        // (RFC 9931).
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let is_followed = request.method() == Method::Connect && client_in.len() > request.len();
        if !denial.keeps_connection() || is_followed {
            reply = reply.closing();
        }
        reply.into()
    }

    /// Name of this proxy in `Proxy-Status` and `X-Proxy-ID`.
    fn proxy_name(&self) -> &'a str {
        self.core.settings.via.as_ref().map_or("ringway", |via| via.pseudonym())
    }

    /// Answers a CONNECT with 200, and relays.
    async fn tunnel(&mut self, upstream: R::Stream, address: SocketAddr) -> Disposition {
        let (core, client) = (self.core, self.client);
        if let Some(proxied) = &mut self.info.proxied {
            proxied.address = Some(address.to_string().into());
        }
        core.telemetry.emit(Upgraded { kind: Upgrade::Connect, route: 0 });
        client.phase.set(Phase::Tunnel);
        self.info.upgraded = Some(Upgrade::Connect);
        self.info.status = Some(200);
        // No framing fields (RFC 9110 §9.3.6).
        let head =
            format!("HTTP/1.1 200 Connection established\r\nX-Proxy-ID: {}\r\n\r\n", self.proxy_name());
        let (sent, _) = client
            .stream
            .write_all(head.into_bytes(), WriteRate::stall(core.settings.policy.body_progress_timeout))
            .await;
        if sent.is_err() {
            return Disposition::Close;
        }
        // The head stays where it is: the event at the end is made from it.
        let early = self.buffers.client_in.split_off(self.buffers.request.len());
        self.buffers.shrink();
        let ends = Ends { client: &client.stream, target: &upstream };
        let (bytes_in, bytes_out) = Box::pin(forward::relay(core, ends, early)).await;
        self.info.bytes_in = bytes_in;
        self.info.bytes_out = bytes_out;
        core.telemetry.emit(UpgradeEnded { kind: Upgrade::Connect, route: 0, bytes_in, bytes_out });
        Disposition::Close
    }

    /// Writes the fields that a request of the forward proxy gets: the client's address only where the
    /// operator wants it, for it is one of an inner network.
    pub(super) fn write_proxy_headers(&mut self) -> bool {
        let Some(proxied) = &self.info.proxied else { return false };
        let discloses = proxied.rules.policy.spec.disclose_client;
        let name = self.proxy_name();
        let client = self.client;
        let ConnBuffers { added_headers, request, client_in, .. } = &mut *self.buffers;
        added_headers.clear();
        if discloses {
            added_headers.extend_from_slice(&client.address_lines);
            super::forwarded::push_host_lines(added_headers, request, None);
        }
        super::forwarded::push_reach_line(added_headers, request, client_in);
        if let Some(via) = &self.core.settings.via {
            added_headers.extend_from_slice(via.line(request.version(), client.is_http2));
        }
        added_headers.extend_from_slice(format!("X-Proxy-ID: {name}\r\n").as_bytes());
        true
    }
}
