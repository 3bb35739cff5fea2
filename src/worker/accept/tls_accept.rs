//! TLS handshakes of clients: from an accepted connection to one that carries requests.
//!
//! ```text
//! first byte ─► ClientHello ─► certificate by SNI ─► handshake, a few steps per driver turn ─► HTTP/1.1 or HTTP/2 session
//!   │             └─ not TLS: 400      └─ none: unrecognized_name
//!   └─ a limit of handshakes is reached: reset
//! ```

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;

use ringway_model::Tick;
use ringway_net::tls::{TlsError, read_hello};
use ringway_net::{PeerState, Stream};
use ringway_telemetry::{HandshakeDone, HandshakeRefused};

use crate::accept;
use crate::accept::handshakes::LimitExceeded;
use crate::accept::listener::Admission;
use crate::accept::pending_connection::PendingConnection;
use crate::accept::tls_info::TlsInfo;
use crate::core::Core;
use crate::exchange::failure::Failure;
use crate::exchange::security_events::{CERTIFICATE_INVALID, CERTIFICATE_MISSING, note_refusal};
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;
use crate::session;
use crate::session::downstream_conn::DownstreamConn;
use crate::transport::Transport;

/// Label of a failed handshake in metrics.
type Reason = &'static str;

/// Performs the handshake and serves the connection, or ends it.
pub(crate) async fn accept_tls(
    connection: PendingConnection,
    client: IpAddr,
    admission: Admission,
    deadline: Tick,
) {
    let core = connection.core.clone();
    if let Err(reason) = handshake(&core, connection, client, admission, deadline).await {
        core.telemetry.emit(HandshakeRefused { client_ip: client, reason });
    }
    // One handshake less, and one client more if it succeeded.
    core.publish_load();
}

async fn handshake(
    core: &Rc<Core<MonoioRuntime>>,
    connection: PendingConnection,
    client: IpAddr,
    admission: Admission,
    deadline: Tick,
) -> Result<(), Reason> {
    let started_us = core.runtime.now_micros();
    let mut permit = match core.handshakes.admit(client, core.runtime.now(), &core.settings) {
        Ok(permit) => permit,
        Err(exceeded) => {
            connection.stream().abort();
            return Err(exceeded.as_str());
        }
    };
    // A connection without a first byte is only waited for: the drain may end it.
    if connection.stream().peek_state() == PeerState::Idle {
        connection.stream().readable(deadline).await.map_err(|error| match core.draining.get() {
            true => "draining",
            false => reason(&error.into()),
        })?;
    }
    if let Err(exceeded) = permit.start() {
        connection.stream().abort();
        return Err(exceeded.as_str());
    }
    let Some(stream) = connection.into_stream() else { return Err("failed") };
    let hello = match read_hello(stream, deadline).await {
        Ok(hello) => hello,
        Err(TlsError::NotTls(stream)) => {
            // Plain HTTP on the TLS port, typed by a person. The request is not read: nothing can be served
            // for it here.
            session::reject_connection(core, stream, Failure::PlainOnTls, deadline).await;
            return Err("plain_http");
        }
        Err(error) => return Err(reason(&error)),
    };
    let tables = core.tables();
    let times = (core.runtime.now(), deadline);
    let selected =
        core.cert_selector.select(&core.secrets, &tables.snapshot, hello.server_name(), times).await;
    let selected = match selected {
        Ok(selected) => selected,
        Err(reason) => {
            hello.refuse(reason.alert(), deadline).await;
            return Err(reason.as_str());
        }
    };
    let host = hello.server_name().and_then(|name| tables.snapshot.virtual_host(name)).cloned();
    drop(tables);
    let server_name = hello.server_name().map(Box::from);
    let done = core.handshakes.schedule(pin!(hello.finish(selected.config, deadline))).await;
    let stream =
        done.map_err(LimitExceeded::as_str)?.map_err(|error| reason(&error)).inspect_err(|reason| {
            // Anybody may send a name: the event shows the host that the configuration has.
            if [CERTIFICATE_MISSING, CERTIFICATE_INVALID].contains(reason)
                && let Some(host) = host
            {
                note_refusal(core, host.host.to_string().into(), reason, client);
            }
        })?;
    core.telemetry.emit(HandshakeDone {
        client_ip: client,
        protocol: stream.protocol(),
        resumed: stream.resumed(),
        duration_us: core.runtime.now_micros().saturating_sub(started_us),
    });
    let is_http2 = stream.alpn() == Some(b"h2");
    let tls = Rc::new(TlsInfo::new(server_name, selected.client_auth, &stream));
    let stream = Transport::Tls(stream);
    let client = DownstreamConn::new(stream, client, admission, Some(tls), &core.settings);
    if is_http2 {
        accept::serve_http2(core, client);
    } else {
        accept::serve(core, client);
    }
    // Released after the client is registered: the drain waits for both, and must not see a gap.
    drop(permit);
    Ok(())
}

fn reason(error: &TlsError) -> Reason {
    match error {
        TlsError::NotTls(_) => "plain_http",
        TlsError::Closed => "closed",
        TlsError::TimedOut => "timeout",
        TlsError::TooLarge => "too_large",
        TlsError::Tls(rustls::Error::NoCertificatesPresented) => CERTIFICATE_MISSING,
        TlsError::Tls(rustls::Error::InvalidCertificate(_)) => CERTIFICATE_INVALID,
        TlsError::Tls(rustls::Error::PeerIncompatible(_)) => "incompatible",
        TlsError::Tls(rustls::Error::AlertReceived(_)) => "refused_by_client",
        TlsError::Tls(_) => "malformed",
        _ => "failed",
    }
}
