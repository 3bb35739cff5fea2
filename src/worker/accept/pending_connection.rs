//! Connections before their first request: the PROXY header, then the TLS handshake.
//!
//! ```text
//! accept ─► [ PROXY header, from load balancers that send one ] ─► [ TLS handshake ] ─► session
//! ```
//! They are counted here until a session has them. Each is bounded by a deadline and ends without a response
//! when it fails.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::rc::Rc;

use ringway_model::Tick;
use ringway_net::{Stream, TcpStream, spawn};
use ringway_telemetry::{ConnectionRefused, Panicked, RefusalReason};
use ringway_wire::proxy_protocol::{self, Header, HeaderError, Step};
use slab::Slab;

use crate::accept;
use crate::accept::listener::{Admission, ListenerProtocol};
use crate::accept::tls_accept;
use crate::core::Core;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;
use crate::transport::Transport;

/// Pending connections of a core.
#[derive(Default)]
pub(crate) struct PendingConnections {
    streams: RefCell<Slab<Rc<TcpStream>>>,
}

impl PendingConnections {
    /// Number of pending connections.
    pub(crate) fn len(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Ends the wait of those that have sent nothing yet.
    pub(crate) fn cancel_waits(&self) {
        for (_, stream) in self.streams.borrow().iter() {
            stream.cancel_reads();
        }
    }
}

/// Starts a task that reads what precedes the first request, and then serves the connection.
pub(crate) fn start(core: &Rc<Core<MonoioRuntime>>, stream: TcpStream, peer: IpAddr, admission: Admission) {
    let connection = PendingConnection::new(core, stream);
    let panicked_on = core.clone();
    spawn(establish(connection, peer, admission), move |panic| {
        tracing::error!(core = panicked_on.id.0, %panic, "connection task panicked; connection closed");
        panicked_on.telemetry.emit(Panicked { request_id: None });
    });
}

async fn establish(connection: PendingConnection, peer: IpAddr, admission: Admission) {
    let core = connection.core.clone();
    let deadline = core.runtime.now().after(core.handshakes.timeout());
    let mut client = peer;
    if core.settings.expects_proxy_header(peer) {
        match read_proxy_header(connection.stream(), deadline).await {
            Ok(Header::Client(address)) => client = address.ip(),
            Ok(Header::Unknown) => {}
            Err(error) => {
                tracing::debug!(core = core.id.0, %peer, %error, "PROXY header missing or malformed; connection closed");
                let reason = RefusalReason::ProxyHeader;
                core.telemetry.emit(ConnectionRefused { client_ip: peer, reason });
                return;
            }
        }
    }
    match core.listeners.get(admission.listener).protocol {
        ListenerProtocol::Http => {
            let Some(stream) = connection.into_stream() else { return };
            let stream = Transport::Tcp(stream);
            accept::serve(&core, DownstreamConn::new(stream, client, admission, None, &core.settings));
        }
        ListenerProtocol::Https => tls_accept::accept_tls(connection, client, admission, deadline).await,
    }
}

/// Reads the header, and not one byte of what follows it.
async fn read_proxy_header<S: Stream>(stream: &S, deadline: Tick) -> io::Result<Header> {
    let mut header = Vec::new();
    loop {
        let missing = match proxy_protocol::parse(&header).map_err(invalid)? {
            Step::Done(header) => return Ok(header),
            Step::Need(missing) => missing,
        };
        // A read fills the spare capacity, which must not exceed the missing bytes.
        let (read, bytes) = stream.read(Vec::with_capacity(missing), deadline).await;
        if read? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        header.extend_from_slice(&bytes);
    }
}

fn invalid(error: HeaderError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Connection in [`PendingConnections`], counted while it lives.
pub(crate) struct PendingConnection {
    pub(crate) core: Rc<Core<MonoioRuntime>>,
    stream: Rc<TcpStream>,
    key: usize,
}

impl PendingConnection {
    fn new(core: &Rc<Core<MonoioRuntime>>, stream: TcpStream) -> Self {
        let stream = Rc::new(stream);
        let key = core.pending.streams.borrow_mut().insert(stream.clone());
        core.publish_load();
        Self { core: core.clone(), stream, key }
    }

    /// Returns the stream.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Returns the stream, and takes the connection out of the count.
    pub(crate) fn into_stream(self) -> Option<TcpStream> {
        let stream = self.stream.clone();
        drop(self);
        // The handles of the table and of `self` are gone, and there were no others.
        Rc::into_inner(stream)
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        self.core.pending.streams.borrow_mut().remove(self.key);
        self.core.publish_load();
    }
}
