//! A connection before its first request: what a load balancer says about it, then TLS.
//!
//! ```text
//! accept ─► [ PROXY header, from the balancers that send one ] ─► [ TLS ] ─► session
//! ```
//! Until then it is no client: it is counted here, bounded by its deadline, and ends unanswered when it goes wrong.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::rc::Rc;

use ringway_model::Tick;
use ringway_net::{Stream, TcpStream, spawn};
use ringway_telemetry::{ConnectionRefused, Observer, Panicked, RefusalReason};
use ringway_wire::proxy_protocol::{self, Header, HeaderError, Step};
use slab::Slab;

use crate::accept;
use crate::accept::listener::{Door, ListenerProtocol};
use crate::accept::tls_accept;
use crate::core::Core;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;
use crate::session::downstream::DownstreamConn;
use crate::transport::Transport;

/// The connections of a core that are no clients yet.
#[derive(Default)]
pub(crate) struct Arrivals {
    waiting: RefCell<Slab<Rc<TcpStream>>>,
}

impl Arrivals {
    /// Number of them.
    pub(crate) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Ends the wait of those that have not begun to say what they want.
    pub(crate) fn cancel_waits(&self) {
        for (_, stream) in self.waiting.borrow().iter() {
            stream.cancel_reads();
        }
    }
}

/// Serves a connection that is not served at once.
pub(crate) fn begin(core: &Rc<Core<MonoioRuntime>>, stream: TcpStream, peer: IpAddr, kind: ListenerProtocol) {
    let arrival = Arrival::new(core, stream);
    let panicked_on = core.clone();
    spawn(arrive(arrival, peer, kind), move |panic| {
        tracing::error!(core = panicked_on.id.0, %panic, "a connection's task panicked and was ended");
        panicked_on.telemetry.panicked(&Panicked { request_id: None });
    });
}

async fn arrive(arrival: Arrival, peer: IpAddr, kind: ListenerProtocol) {
    let core = arrival.core.clone();
    let deadline = core.runtime.now().after(core.handshakes.timeout());
    let mut client = peer;
    if core.settings.expects_proxy_header(peer) {
        match read_proxy_header(arrival.stream(), deadline).await {
            Ok(Header::Client(address)) => client = address.ip(),
            Ok(Header::Unknown) => {}
            Err(error) => {
                tracing::debug!(core = core.id.0, %peer, %error, "no PROXY header from a balancer");
                let reason = RefusalReason::ProxyHeader;
                core.telemetry.connection_refused(&ConnectionRefused { client_ip: peer, reason });
                return;
            }
        }
    }
    match kind {
        ListenerProtocol::Http(mode) => {
            let Some(stream) = arrival.into_stream() else { return };
            let client =
                DownstreamConn::new(Transport::Tcp(stream), client, Door::Http(mode), &core.settings);
            accept::serve(&core, client);
        }
        ListenerProtocol::Https => tls_accept::receive(arrival, client, deadline).await,
    }
}

/// Reads the header and not one byte of what follows it.
async fn read_proxy_header<S: Stream>(stream: &S, deadline: Tick) -> io::Result<Header> {
    let mut header = Vec::new();
    loop {
        let more = match proxy_protocol::parse(&header).map_err(invalid)? {
            Step::Done(header) => return Ok(header),
            Step::Need(more) => more,
        };
        // Reads fill the spare capacity, so that it must be no more than is wanted.
        let (read, bytes) = stream.read(Vec::with_capacity(more), deadline).await;
        if read? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        header.extend_from_slice(&bytes);
    }
}

fn invalid(error: HeaderError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// One of [`Arrivals`], counted while it lives.
pub(crate) struct Arrival {
    pub(crate) core: Rc<Core<MonoioRuntime>>,
    stream: Rc<TcpStream>,
    key: usize,
}

impl Arrival {
    fn new(core: &Rc<Core<MonoioRuntime>>, stream: TcpStream) -> Self {
        let stream = Rc::new(stream);
        let key = core.arrivals.waiting.borrow_mut().insert(stream.clone());
        core.publish_load();
        Self { core: core.clone(), stream, key }
    }

    /// The stream, still here.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The stream, for whoever has it from now on.
    pub(crate) fn into_stream(self) -> Option<TcpStream> {
        let stream = self.stream.clone();
        drop(self);
        // The table's and the arrival's are gone, and there were no others.
        Rc::into_inner(stream)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.core.arrivals.waiting.borrow_mut().remove(self.key);
        self.core.publish_load();
    }
}
