//! TLS on the way in: from a connection that was accepted to one that carries requests.
//!
//! ```text
//! wait ─► hello ─► whose certificate? ─► turn ─► handshake ─► session, or HTTP/2
//!   │       └─ no TLS: 400      └─ nobody's: unrecognized_name
//!   └─ too many of this client, or at all: closed
//! ```

use std::fmt::Write;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;

use crate::limits;
use ringway_model::{ClientAuth, Tick};
use ringway_net::tls::{TlsError, TlsStream, read_hello};
use ringway_net::{PeerState, Stream};
use ringway_telemetry::{HandshakeDone, HandshakeRefused, Observer};
use ringway_tls::ClientCertificate;
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::VirtualHost;

use crate::accept;
use crate::accept::handshakes::Crowded;
use crate::accept::listener::Door;
use crate::accept::pending_connection::Arrival;
use crate::core::Core;
use crate::exchange::Match;
use crate::exchange::failure::Failure;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;
use crate::session;
use crate::session::downstream::DownstreamConn;
use crate::transport::Transport;

/// What is known of a client because it speaks TLS.
#[derive(Debug)]
pub(crate) struct Secure {
    /// Whom it asked for, in lower case.
    server_name: Option<Box<str>>,
    /// What was demanded of it.
    client_auth: Option<ClientAuth>,
    /// The lines that tell a domain which demands certificates whose it was.
    client_lines: Box<[u8]>,
    /// `TLSv1.3` or `TLSv1.2`.
    pub(crate) protocol: &'static str,
}

impl Secure {
    fn new(server_name: Option<Box<str>>, client_auth: Option<ClientAuth>, stream: &TlsStream) -> Self {
        let certificate = match &client_auth {
            Some(_) => stream.peer_certificate_der().and_then(|der| ClientCertificate::from_der(&der)),
            None => None,
        };
        let client_lines = client_lines(certificate.as_ref());
        Self { server_name, client_auth, client_lines, protocol: stream.protocol() }
    }

    /// Whether a host may be served on this connection: the one that it was made for; others that are the same tenant's,
    /// for clients reuse connections (RFC 9113 §9.1.1); and none that demands of its clients what was not demanded here.
    pub(crate) fn check(&self, snapshot: &Snapshot, matched: Match<'_>) -> Result<(), Failure> {
        let Match { host, rule } = matched;
        if host.tls.client_auth.is_some() && host.tls.client_auth != self.client_auth {
            return Err(Failure::Misdirected);
        }
        let Some(name) = self.server_name.as_deref() else { return Ok(()) };
        if name == host.host.as_str() {
            return Ok(());
        }
        let is_same_app = |other: &VirtualHost| other.rules.iter().any(|of| of.app == rule.app);
        match snapshot.virtual_host(name) {
            Some(named) if is_same_app(named) && named.tenant == host.tenant => Ok(()),
            _ => Err(Failure::Misdirected),
        }
    }

    /// Header lines about the client's certificate for the host's app; none unless the host demands one.
    pub(crate) fn lines(&self, host: &VirtualHost) -> &[u8] {
        if host.tls.client_auth.is_some() { &self.client_lines } else { b"" }
    }
}

/// Nothing of a client's certificate can be forged: what clients send by these names is left out (wire: `OWN_IDENTITY`).
fn client_lines(certificate: Option<&ClientCertificate>) -> Box<[u8]> {
    let mut lines = String::new();
    match certificate {
        None => lines.push_str("X-Client-Cert-Verified: NONE\r\n"),
        Some(certificate) => {
            lines.push_str("X-Client-Cert-Verified: SUCCESS\r\n");
            if certificate.subject.len() <= limits::CLIENT_SUBJECT_BYTES_MAX {
                // Writing to a String cannot fail.
                let _ = write!(lines, "X-Client-Cert-Subject: {}\r\n", certificate.subject);
            }
            let _ = write!(lines, "X-Client-Cert-Fingerprint: {}\r\n", certificate.fingerprint);
        }
    }
    lines.into_bytes().into()
}

/// Why there is no TLS connection, in a word.
type Word = &'static str;

/// Makes a client of a connection, or ends it.
pub(crate) async fn receive(arrival: Arrival, client: IpAddr, deadline: Tick) {
    let core = arrival.core.clone();
    if let Err(reason) = shake_hands(&core, arrival, client, deadline).await {
        core.telemetry.handshake_refused(&HandshakeRefused { client_ip: client, reason });
    }
    // One handshake less, and perhaps one client more.
    core.publish_load();
}

async fn shake_hands(
    core: &Rc<Core<MonoioRuntime>>,
    arrival: Arrival,
    client: IpAddr,
    deadline: Tick,
) -> Result<(), Word> {
    let begun_us = core.runtime.now_micros();
    let mut entered = match core.handshakes.enter(client, core.runtime.now(), &core.settings) {
        Ok(entered) => entered,
        Err(crowded) => {
            arrival.stream().abort();
            return Err(crowded.word());
        }
    };
    // One that has said nothing yet may be ended without being heard.
    if arrival.stream().peek_state() == PeerState::Idle {
        arrival.stream().readable(deadline).await.map_err(|error| match core.draining.get() {
            true => "draining",
            false => word(&error.into()),
        })?;
    }
    if let Err(crowded) = entered.begin() {
        arrival.stream().abort();
        return Err(crowded.word());
    }
    let Some(stream) = arrival.into_stream() else { return Err("failed") };
    let hello = match read_hello(stream, deadline).await {
        Ok(hello) => hello,
        Err(TlsError::NotTls(stream)) => {
            // For people who typed `http://` and this port. The request is not read: what it asks for cannot be had here.
            session::turn_away(core, stream, Failure::PlainOnTls, deadline).await;
            return Err("plain_http");
        }
        Err(error) => return Err(word(&error)),
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
    drop(tables);
    let server_name = hello.server_name().map(Box::from);
    let handshake = core.handshakes.pace(pin!(hello.finish(selected.config, deadline))).await;
    let stream = handshake.map_err(Crowded::word)?.map_err(|error| word(&error))?;
    core.telemetry.handshake_done(&HandshakeDone {
        client_ip: client,
        protocol: stream.protocol(),
        resumed: stream.resumed(),
        duration_us: core.runtime.now_micros().saturating_sub(begun_us),
    });
    let is_http2 = stream.alpn() == Some(b"h2");
    let secure = Rc::new(Secure::new(server_name, selected.client_auth, &stream));
    let client = DownstreamConn::new(Transport::Tls(stream), client, Door::Https(secure), &core.settings);
    if is_http2 {
        accept::serve_http2(core, client);
    } else {
        accept::serve(core, client);
    }
    // Counted as one or the other without a gap: the drain waits for both.
    drop(entered);
    Ok(())
}

fn word(error: &TlsError) -> Word {
    match error {
        TlsError::NotTls(_) => "plain_http",
        TlsError::Closed => "closed",
        TlsError::TimedOut => "timeout",
        TlsError::TooLarge => "too_large",
        TlsError::Tls(rustls::Error::NoCertificatesPresented) => "client_certificate_missing",
        TlsError::Tls(rustls::Error::InvalidCertificate(_)) => "client_certificate_invalid",
        TlsError::Tls(rustls::Error::PeerIncompatible(_)) => "incompatible",
        TlsError::Tls(rustls::Error::AlertReceived(_)) => "refused_by_client",
        TlsError::Tls(_) => "malformed",
        _ => "failed",
    }
}

#[cfg(test)]
#[path = "tls_accept_tests.rs"]
mod tests;
