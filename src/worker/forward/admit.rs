//! Admission of a request to the forward proxy: the checks in their fixed order, up to the connection.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use ringway_forward::{ClientKey, Denial, Host, Kind, Policy};
use ringway_middleware::{PasswordHash, ProxyLogin};
use ringway_traffic::rate_limit::{Decision, KeySource};
use ringway_traffic::request_key::RequestFields;
use ringway_traffic::virtual_host::RuleId;
use ringway_wire::h1::{RequestHead, TargetForm};
use ringway_wire::message::{Framing, Method};

use super::connect::connect;
use super::{ForwardState, Rules, TunnelPermit};
use crate::core::{ConnBuffers, Core, Tables};
use crate::exchange::stage_waits;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;
use crate::upstream::File;

/// Admitted request.
pub(crate) enum Admitted<'c, R: Runtime> {
    /// An exchange, with the snapshot of its destination.
    Http {
        /// The snapshot.
        tables: Rc<Tables>,
        /// The rules by which it was admitted.
        rules: Rules,
    },
    /// A tunnel, connected.
    Tunnel {
        /// Connection to the target.
        upstream: R::Stream,
        /// Address that accepted.
        address: SocketAddr,
        /// Descriptor of the connection.
        file: File,
        /// Place among the tunnels of its client.
        permit: TunnelPermit<'c>,
    },
}

/// Checks a request, resolves its host, and connects a tunnel.
pub(crate) async fn admit<'c, R: Runtime>(
    core: &'c Core<R>,
    state: &'c ForwardState,
    client: &DownstreamConn<R::Stream>,
    buffers: &ConnBuffers,
) -> Result<Admitted<'c, R>, Denial> {
    let rules = state.rules();
    let policy = &*rules.policy;
    let ConnBuffers { request, client_in, .. } = buffers;
    check_client(core, state, client.peer, policy, buffers)?;
    check_form(core, request, client_in, policy)?;
    authenticate(core, state, client.peer, policy, buffers).await?;
    let kind = if request.method() == Method::Connect { Kind::Tunnel } else { Kind::Http };
    let port = match kind {
        Kind::Tunnel => request.port().ok_or(Denial::Request("a CONNECT names a port"))?,
        Kind::Http => request.port().unwrap_or(80),
    };
    let host = Host::parse(request.host()).map_err(|_| Denial::Numeric)?;
    policy.check_target(kind, &host, port)?;
    let addresses = match &host {
        Host::Name(name) => state.names.resolve(name, core.runtime.now()).await?,
        Host::Address(address) => Arc::from([*address]),
    };
    let addresses = policy.check_addresses(&host, &addresses, port)?;
    if addresses.iter().any(|address| policy.is_own(ringway_net::source_of(*address), *address)) {
        return Err(Denial::Own);
    }
    if kind == Kind::Http {
        let tables =
            state.tables(request.host(), &addresses, &rules).ok_or(Denial::Addresses("unspecified"))?;
        return Ok(Admitted::Http { tables, rules });
    }
    if core.draining.get() {
        return Err(Denial::Full);
    }
    let permit = state.begin_tunnel(client.peer, core.runtime.now()).ok_or(Denial::Tunnels)?;
    if !core.has_descriptor() {
        return Err(Denial::Full);
    }
    let file = core.endpoint_files.open();
    let deadline = core.runtime.now().after(core.settings.policy.connect_timeout);
    let (upstream, address) = connect(core, &addresses, deadline).await?;
    Ok(Admitted::Tunnel { upstream, address, file, permit })
}

/// Network, ban and rate of the client.
fn check_client<R: Runtime>(
    core: &Core<R>,
    state: &ForwardState,
    peer: IpAddr,
    policy: &Policy,
    buffers: &ConnBuffers,
) -> Result<(), Denial> {
    if !policy.admits_client(peer) {
        return Err(Denial::Client);
    }
    if let Some(retry_after) = state.clients.borrow().ban_left(ClientKey::from(peer), core.runtime.now()) {
        return Err(Denial::Banned { retry_after });
    }
    let Some(limiter) = &policy.rate else { return Ok(()) };
    let fields = RequestFields::received(&buffers.request, &buffers.client_in);
    let source = KeySource { rule: RuleId(0), client: peer, tenant: None, fields };
    match limiter.decide(&source, core.runtime.now_micros()) {
        Decision::Admitted { .. } => Ok(()),
        Decision::Limited { retry_after } => Err(Denial::Rate { retry_after }),
        Decision::Banned { retry_after } => Err(Denial::Banned { retry_after }),
    }
}

/// Form of the request: one for a proxy, and not one that this proxy has forwarded before.
fn check_form<R: Runtime>(
    core: &Core<R>,
    request: &RequestHead,
    client_in: &[u8],
    policy: &Policy,
) -> Result<(), Denial> {
    let limits = &policy.spec.limits;
    if request.target(client_in).len() > limits.url {
        return Err(Denial::Request("the target is too long"));
    }
    match (request.method(), request.target_form()) {
        (Method::Connect, _) if request.framing() != Framing::Empty => {
            Err(Denial::Request("a CONNECT has no body"))
        }
        (Method::Connect, _) => Ok(()),
        (Method::Trace, _) => Err(Denial::Request("TRACE is not served")),
        (_, TargetForm::Absolute) if !has_http_scheme(request.target(client_in)) => Err(Denial::Scheme),
        (_, TargetForm::Absolute) => {
            let has_passed = core.settings.via.as_ref().is_some_and(|via| via.has_passed(request, client_in));
            if has_passed { Err(Denial::Loop) } else { Ok(()) }
        }
        _ => Err(Denial::Request("this is a proxy: the target must be a URL, or the method CONNECT")),
    }
}

fn has_http_scheme(target: &str) -> bool {
    target.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"))
}

/// Verifies the credentials, where they are required.
async fn authenticate<R: Runtime>(
    core: &Core<R>,
    state: &ForwardState,
    peer: IpAddr,
    policy: &Policy,
    buffers: &ConnBuffers,
) -> Result<(), Denial> {
    let Some(users) = &policy.users else { return Ok(()) };
    let ConnBuffers { request, client_in, .. } = buffers;
    let mut values = request.field(client_in, "proxy-authorization");
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Denial::Credentials) };
    let Some(login) = ProxyLogin::parse(value) else { return Err(Denial::Credentials) };
    let now = core.runtime.timestamp().0 / 1000;
    if login.is_verified(&core.stages, users, now) {
        return Ok(());
    }
    let (hash, is_own) = match login.hash(users) {
        Some(PasswordHash::Own(hash)) => (hash, true),
        Some(PasswordHash::Dummy(hash)) => (hash, false),
        None => return Err(Denial::Credentials),
    };
    let verified = stage_waits::verify_password(core, hash, login.password().into());
    let verified = core.runtime.timeout(verified, crate::limits::FORWARD_PASSWORD_TIMEOUT).await.flatten();
    match verified {
        None => Err(Denial::Busy),
        Some(true) if is_own => {
            login.keep(&core.stages, users, now);
            Ok(())
        }
        Some(_) => {
            state.clients.borrow_mut().note_failure(ClientKey::from(peer), core.runtime.now());
            Err(Denial::Credentials)
        }
    }
}
