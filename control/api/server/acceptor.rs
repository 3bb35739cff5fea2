//! Listeners of all kinds, and their connections.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::Tick;
use ringway_net::tls::{TlsError, TlsStream, read_hello};
use ringway_net::{LingerLimits, Stream, SystemClock, TcpStream, WriteRate, clock, linger, spawn};
use ringway_tls::ClientCertificate;
use ringway_wire::h1::{ConnectionSignal, SimpleResponse, write_simple_response};
use rustls::ServerConfig;

use super::Settings;
use super::clients::Clients;
use crate::access::{AccessControl, Listener, Peer};
use crate::connection::{self, Timeouts};
use crate::limits;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::service::Service;

/// Connections that share a limit.
pub(super) struct Server<P> {
    service: Rc<Service<P>>,
    clients: Rc<Clients>,
    connections_max: usize,
    timeouts: Timeouts,
}

impl<P: Plane> Server<P> {
    pub(super) fn new(service: Rc<Service<P>>, connections_max: usize, settings: &Settings) -> Self {
        let timeouts = Timeouts { request: settings.request_timeout, idle: settings.idle_timeout };
        Self { service, clients: Rc::new(Clients::default()), connections_max, timeouts }
    }

    /// Completes requests in progress until `deadline`, and closes all connections.
    pub(super) async fn drain(&self, deadline: Tick) {
        self.clients.drain(deadline).await;
    }

    /// Serves a new connection in a task of its own.
    async fn serve_connection<S: Stream>(&self, stream: S, listener: &Rc<Listener>, peer: Peer) {
        if self.clients.count() >= self.connections_max && !self.clients.make_room(self.connections_max) {
            send_too_many_connections(stream, &self.service.draw_id().to_string()).await;
            return;
        }
        let stream = Rc::new(stream);
        let client = self.clients.enter(Rc::clone(&stream));
        let (listener, service) = (Rc::clone(listener), Rc::clone(&self.service));
        spawn(connection::serve(stream, (listener, peer), service, client, self.timeouts), |panic| {
            tracing::error!(%panic, "admin API connection task panicked; connection closed");
        });
    }
}

/// A new socket accepts this many bytes at once, so the write does not block.
async fn send_too_many_connections<S: Stream>(stream: S, id: &str) {
    let problem = Problem::new(Kind::Crowded, "too many connections to the admin API are open");
    send_problem(&stream, &problem, id, b"Retry-After: 1\r\n").await;
}

/// Sends an error response before any request.
async fn send_problem<S: Stream>(stream: &S, problem: &Problem, id: &str, fields: &[u8]) {
    let mut out = Vec::new();
    write_simple_response(
        &mut out,
        &SimpleResponse {
            status: problem.kind.status(),
            connection: ConnectionSignal::Close,
            fields,
            content_type: "application/problem+json",
            body: &problem.body(id),
            is_head: false,
        },
    );
    let deadline = clock::now().after(Duration::from_secs(1));
    let _ = stream.write_all(out, WriteRate::until(deadline)).await;
}

/// Future that accepts until its listener is closed.
pub(super) type Accepting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A listener of any kind.
pub(super) trait Acceptor<P> {
    /// Accepts until closed.
    fn accept_all(&self, server: Rc<Server<P>>) -> Accepting<'_>;
    fn close(&self);
}

impl<P: Plane> Acceptor<P> for ringway_net::Listener {
    fn accept_all(&self, server: Rc<Server<P>>) -> Accepting<'_> {
        Box::pin(accept_tcp(self, Listener::Tcp(self.local_addr()), server))
    }

    fn close(&self) {
        self.stop();
    }
}

async fn accept_tcp<P: Plane>(tcp: &ringway_net::Listener, listener: Listener, server: Rc<Server<P>>) {
    let listener = Rc::new(listener);
    loop {
        match tcp.accept().await {
            Ok((stream, address)) => {
                let peer = Peer { address: Some(address), ..Peer::default() };
                server.serve_connection(stream, &listener, peer).await;
            }
            Err(error) if is_transient(&error) => {}
            Err(_) => return,
        }
    }
}

impl<P: Plane> Acceptor<P> for ringway_net::UnixListener {
    fn accept_all(&self, server: Rc<Server<P>>) -> Accepting<'_> {
        Box::pin(async move {
            let listener = Rc::new(Listener::Unix);
            loop {
                match self.accept().await {
                    Ok(stream) => {
                        let peer = Peer { uid: stream.peer_uid().ok(), ..Peer::default() };
                        server.serve_connection(stream, &listener, peer).await;
                    }
                    Err(error) if is_transient(&error) => {}
                    Err(_) => return,
                }
            }
        })
    }

    fn close(&self) {
        self.stop();
    }
}

/// Listener of metrics and health probes.
pub(super) struct MetricsListener(pub(super) ringway_net::Listener);

impl<P: Plane> Acceptor<P> for MetricsListener {
    fn accept_all(&self, server: Rc<Server<P>>) -> Accepting<'_> {
        Box::pin(accept_tcp(&self.0, Listener::Metrics(self.0.local_addr()), server))
    }

    fn close(&self) {
        self.0.stop();
    }
}

/// Listener whose clients use TLS.
pub(super) struct TlsListener {
    listener: ringway_net::Listener,
    access: Rc<AccessControl>,
    handshakes: Rc<Cell<usize>>,
}

impl TlsListener {
    pub(super) fn new(listener: ringway_net::Listener, access: Rc<AccessControl>) -> Self {
        Self { listener, access, handshakes: Rc::default() }
    }
}

impl<P: Plane> Acceptor<P> for TlsListener {
    fn accept_all(&self, server: Rc<Server<P>>) -> Accepting<'_> {
        Box::pin(async move {
            let listener = Rc::new(Listener::Tcp(self.listener.local_addr()));
            loop {
                let (stream, address) = match self.listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) if is_transient(&error) => continue,
                    Err(_) => return,
                };
                // Without a configuration, and beyond the limit, the connection is closed.
                let Some(config) = self.access.tls_config() else { continue };
                if self.handshakes.get() >= limits::API_HANDSHAKES_MAX {
                    continue;
                }
                self.handshakes.update(|count| count + 1);
                let (listener, server) = (Rc::clone(&listener), Rc::clone(&server));
                let handshakes = Rc::clone(&self.handshakes);
                let serve = async move {
                    let result = handshake(stream, config).await;
                    handshakes.update(|count| count - 1);
                    match result {
                        Ok(stream) => {
                            let certificate = stream.peer_certificate_der();
                            let certificate = certificate.and_then(|der| ClientCertificate::from_der(&der));
                            let certificate = certificate.map(|certificate| certificate.subject.into());
                            let peer = Peer { address: Some(address), certificate, ..Peer::default() };
                            server.serve_connection(stream, &listener, peer).await;
                        }
                        Err(error) => {
                            tracing::debug!(%error, %address, "TLS handshake with the admin API failed")
                        }
                    }
                };
                let handshakes = Rc::clone(&self.handshakes);
                spawn(serve, move |panic| {
                    handshakes.update(|count| count.saturating_sub(1));
                    tracing::error!(%panic, "admin API handshake task panicked; connection closed");
                });
            }
        })
    }

    fn close(&self) {
        self.listener.stop();
    }
}

/// Performs the handshake. A client that speaks plain HTTP gets an error response.
async fn handshake(stream: TcpStream, config: Arc<ServerConfig>) -> Result<TlsStream, TlsError> {
    let deadline = clock::now().after(limits::API_HANDSHAKE_TIMEOUT);
    match read_hello(stream, deadline).await {
        Ok(hello) => hello.finish(config, deadline).await,
        Err(TlsError::NotTls(stream)) => {
            let problem =
                Problem::new(Kind::BadRequest, "this listener of the admin API uses TLS: use https://");
            send_problem(&stream, &problem, "", b"").await;
            linger(&stream, LingerLimits::UPLOAD, &SystemClock).await;
            Err(TlsError::Closed)
        }
        Err(error) => Err(error),
    }
}

/// Whether a listener is usable after an error: it is when descriptors or memory are short, and `accept` has
/// paused already.
fn is_transient(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    match error.kind() {
        ErrorKind::Interrupted => false,
        _ if matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS)) => {
            tracing::warn!(%error, "the admin API cannot accept a connection");
            true
        }
        _ => {
            tracing::error!(%error, "a listener of the admin API has failed");
            false
        }
    }
}
