//! Connect phase of an attempt: a stream of a shared connection, an idle connection from the pool, or a new
//! one.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use ringway_model::{Scheme, Tick, UpstreamProtocol};
use ringway_net::tls::TlsError;
use ringway_tls::Alpn;
use ringway_traffic::policy::Policy;
use ringway_traffic::snapshot::{Endpoint, Pool};

use super::{File, Reuse, Transfer, UpstreamConn};
use crate::connector::Acquired;
use crate::core::Core;
use crate::exchange::cause::Cause;
use crate::exchange::failure::Failure;
use crate::runtime::Runtime;

/// Whether a connection has carried requests before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Pooled,
    New,
}

/// Protocol towards an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    /// HTTP/2 over TCP with prior knowledge (RFC 9113 §3.3).
    H2c,
    /// HTTP/2 over TLS.
    Http2,
    /// Over TLS, the version that the endpoint selects by ALPN.
    Negotiated,
}

impl Protocol {
    fn of(scheme: Scheme, of_pool: UpstreamProtocol) -> Self {
        match (scheme, of_pool) {
            (_, UpstreamProtocol::Http1) => Self::Http1,
            (Scheme::Http, UpstreamProtocol::Auto) => Self::Http1,
            (Scheme::H2c, _) | (Scheme::Http, UpstreamProtocol::Http2 | UpstreamProtocol::H2c) => Self::H2c,
            (Scheme::Https, UpstreamProtocol::Http2 | UpstreamProtocol::H2c) => Self::Http2,
            (Scheme::Https, UpstreamProtocol::Auto) => Self::Negotiated,
        }
    }

    fn needs_http2(self) -> bool {
        matches!(self, Self::H2c | Self::Http2)
    }
}

/// Versions of HTTP that a request may have towards its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// Those of its pool.
    OfPool,
    /// HTTP/1.1, on a connection for itself: a WebSocket. Servers that take it over HTTP/1.1 take it
    /// everywhere.
    Http1,
    /// HTTP/2: a call of gRPC.
    Http2,
}

/// An upstream connection, and whether it is new.
type Connected<S> = (Rc<UpstreamConn<S>>, Origin);

/// Connect phase of an attempt at `endpoint`.
pub(super) struct Connect<'x, R: Runtime> {
    pub(super) core: &'x Core<R>,
    pub(super) pool: &'x Pool,
    pub(super) endpoint: &'x Endpoint,
    pub(super) policy: &'x Policy,
    pub(super) transfer: &'x Transfer,
    pub(super) reuse: Reuse,
    pub(super) versions: Versions,
}

impl<R: Runtime> Connect<'_, R> {
    /// Takes a stream of a shared connection, or a pooled connection, or connects to the endpoint's addresses
    /// one after the other. All of it together has one connect timeout, handshakes included.
    pub(super) async fn run(&self) -> Result<Connected<R::Stream>, Failure> {
        let (core, endpoint) = (self.core, self.endpoint);
        let deadline = core.runtime.now().after(self.policy.connect_timeout);
        let deadline = deadline.min(self.transfer.activity.deadlines.head());
        let protocol = self.protocol();
        let may_share = protocol != Protocol::Http1;
        let mut permit = None;
        // A shared connection that has failed takes no more requests: this is always another one.
        if may_share {
            match core.runtime.acquire(endpoint.id, deadline).await {
                Some(Acquired::Stream(stream)) => {
                    return Ok((upstream(endpoint, stream, None), Origin::Pooled));
                }
                Some(Acquired::Connect(acquired)) => permit = acquired,
                None => return Err(Failure::ConnectTimedOut),
            }
        }
        let pooled = match self.reuse {
            // Kept since its pool had another protocol.
            Reuse::Allowed if protocol.needs_http2() => None,
            Reuse::Allowed => core.upstreams.borrow_mut().checkout(endpoint.id, core.runtime.now()),
            Reuse::Never => None,
        };
        if let Some(upstream) = pooled {
            return Ok((upstream, Origin::Pooled));
        }
        if !core.has_descriptor() {
            return Err(Failure::Exhausted);
        }
        // Counted before it is there: many may be on their way.
        let file = core.endpoint_files.open();
        let stream = self.open(deadline).await?;
        let is_http2 = match protocol {
            Protocol::Http1 => false,
            Protocol::H2c => true,
            Protocol::Http2 | Protocol::Negotiated => core.runtime.is_http2(&stream),
        };
        if protocol == Protocol::Http2 && !is_http2 {
            return Err(Failure::UpstreamNoHttp2);
        }
        let stream = if is_http2 {
            let stall = self.policy.body_progress_timeout;
            core.runtime.start_http2(endpoint.id, stream, stall).map_err(|_| {
                self.transfer.cause.set(endpoint.addresses.first().map(|address| Cause::of_http2(*address)));
                Failure::ConnectFailed
            })?
        } else {
            if may_share {
                core.runtime.set_http1_only(endpoint.id);
            }
            stream
        };
        drop(permit);
        Ok((upstream(endpoint, stream, (!is_http2).then_some(file)), Origin::New))
    }

    /// The protocol of the endpoint: that of its pool, where its scheme and the request leave a choice.
    fn protocol(&self) -> Protocol {
        let scheme = self.endpoint.target.scheme();
        match self.versions {
            Versions::OfPool => {}
            Versions::Http1 => return Protocol::Http1,
            Versions::Http2 => return Protocol::of(scheme, UpstreamProtocol::Http2),
        }
        let of_pool = self.pool.traffic.as_ref().map(|traffic| traffic.settings.protocol);
        Protocol::of(scheme, of_pool.unwrap_or_default())
    }

    /// Connects to the first address that accepts.
    async fn open(&self, deadline: Tick) -> Result<R::Stream, Failure> {
        let endpoint = self.endpoint;
        let mut failure = Failure::ConnectFailed;
        for address in &endpoint.addresses {
            match self.open_address(*address, deadline).await {
                Ok(stream) if endpoint.target.scheme() == Scheme::Https => {
                    let alpn = match self.protocol() {
                        Protocol::Http1 | Protocol::H2c => Alpn::Http1,
                        Protocol::Http2 => Alpn::Http2,
                        Protocol::Negotiated => Alpn::Http2OrHttp1,
                    };
                    // In a box, for it would be the largest part of the future of every exchange.
                    return Box::pin(self.handshake(*address, stream, alpn, deadline)).await;
                }
                Ok(stream) => return Ok(stream),
                Err(error) if is_ours(&error) => return Err(Failure::Exhausted),
                Err(error) => {
                    self.transfer.cause.set(Some(Cause::of_connect(*address, &error)));
                    if error.kind() == std::io::ErrorKind::TimedOut {
                        return Err(Failure::ConnectTimedOut);
                    }
                    failure = match is_without_port(&error, *address) {
                        true => Failure::PortsExhausted,
                        false => Failure::ConnectFailed,
                    };
                }
            }
        }
        Err(failure)
    }

    /// Connects to an address, by a punctual timeout where the attempt has one: a wait for a connection may
    /// be dropped.
    async fn open_address(&self, address: SocketAddr, deadline: Tick) -> std::io::Result<R::Stream> {
        let runtime = &self.core.runtime;
        let connecting = runtime.connect(address, deadline);
        let Some(left) = self.transfer.activity.deadlines.attempt_left(|| runtime.now_micros()) else {
            return connecting.await;
        };
        let connected = Box::pin(runtime.timeout(connecting, left)).await;
        connected.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into()))
    }

    /// TLS handshake on a new connection. A failed one does not fall through to the next address: that would
    /// be tried the next time, and be a way in.
    async fn handshake(
        &self,
        address: SocketAddr,
        stream: R::Stream,
        alpn: Alpn,
        deadline: Tick,
    ) -> Result<R::Stream, Failure> {
        let (core, pool, endpoint) = (self.core, self.pool, self.endpoint);
        let now = core.runtime.now();
        let Some((config, name)) =
            core.upstream_tls.of(&core.secrets, pool, endpoint, alpn, (now, deadline)).await
        else {
            return Err(Failure::UpstreamTlsUnloadable);
        };
        core.runtime.connect_tls(stream, config, name, deadline).await.map_err(|error| {
            self.transfer.cause.set(Some(Cause::of_tls(address, &error)));
            match error {
                TlsError::TimedOut => Failure::ConnectTimedOut,
                _ => Failure::UpstreamTlsFailed,
            }
        })
    }
}

/// A stream without a descriptor of its own belongs to a connection that other requests use, too.
fn upstream<S>(endpoint: &Endpoint, stream: S, file: Option<File>) -> Rc<UpstreamConn<S>> {
    let is_shared = file.is_none();
    Rc::new(UpstreamConn {
        stream,
        endpoint: endpoint.id,
        is_shared,
        requests: Cell::new(0),
        keep_alive: Cell::new(None),
        _file: file,
    })
}

/// Whether this machine is short of descriptors or memory: no endpoint is to blame for it, and none would do
/// better.
fn is_ours(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Whether all local ports for connections to this address are in use: many requests do that, not the
/// endpoint. On hosts without IPv6, its loopback address has the same error.
fn is_without_port(error: &std::io::Error, address: SocketAddr) -> bool {
    let is_loopback = address.is_ipv6() && address.ip().is_loopback();
    error.raw_os_error() == Some(libc::EADDRNOTAVAIL) && !is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_not_blamed_for_our_own_shortage() {
        let is = |code| is_ours(&std::io::Error::from_raw_os_error(code));
        assert!(is(libc::EMFILE) && is(libc::ENFILE) && is(libc::ENOBUFS) && is(libc::ENOMEM));
        assert!(!is(libc::ECONNREFUSED) && !is(libc::EHOSTUNREACH) && !is(libc::ECONNRESET));
        // A fault of this address only: another one may work.
        assert!(!is(libc::EADDRNOTAVAIL));
        let is_without_port = |code, address: &str| {
            is_without_port(&std::io::Error::from_raw_os_error(code), address.parse().expect("an address"))
        };
        assert!(is_without_port(libc::EADDRNOTAVAIL, "127.0.0.1:80"));
        assert!(is_without_port(libc::EADDRNOTAVAIL, "[2001:db8::1]:80"));
        assert!(!is_without_port(libc::EADDRNOTAVAIL, "[::1]:80"));
        assert!(!is_without_port(libc::ECONNREFUSED, "127.0.0.1:80"));
    }
}
