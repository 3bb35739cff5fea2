//! The world as it is: monoio's sockets and this process's clock.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use ringway_model::{Tick, Timestamp};
use ringway_net::tls::{self, TlsError};
use ringway_net::{IdleSet, PanicMessage, Rate, SpliceFault, Stream, Wakeup, WriteRate, clock};
use ringway_traffic::snapshot::{EndpointId, Snapshot};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::h2::client::{Connections, Joined};
use crate::runtime::{Runtime, Splice, SpliceError};
use crate::session::idle::Silent;
use crate::transport::Transport;

/// The real world, on whichever driver the runtime has.
pub(crate) struct MonoioRuntime {
    connections: Connections,
    pub(crate) silent: IdleSet<Silent>,
}

impl MonoioRuntime {
    /// # Errors
    /// The system's.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { connections: Connections::default(), silent: IdleSet::new()? })
    }
}

impl Runtime for MonoioRuntime {
    type Stream = Transport;

    fn now(&self) -> Tick {
        clock::now()
    }

    fn now_micros(&self) -> u64 {
        clock::now_micros()
    }

    fn timestamp(&self) -> Timestamp {
        clock::timestamp()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        ringway_net::sleep(duration)
    }

    fn spawn<F, P>(&self, future: F, on_panic: P)
    where
        F: Future<Output = ()> + 'static,
        P: FnOnce(PanicMessage) + 'static,
    {
        ringway_net::spawn(future, on_panic);
    }

    async fn connect(&self, address: SocketAddr, deadline: Tick) -> io::Result<Transport> {
        ringway_net::connect(address, deadline).await.map(Transport::Tcp)
    }

    async fn connect_tls(
        &self,
        stream: Transport,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Tick,
    ) -> Result<Transport, TlsError> {
        match stream {
            Transport::Tcp(tcp) => tls::connect_tls(tcp, config, name, deadline).await.map(Transport::Tls),
            Transport::Tls(_) | Transport::H2(_) => Err(TlsError::Io(ErrorKind::InvalidInput.into())),
        }
    }

    async fn join(&self, endpoint: EndpointId, deadline: Tick) -> Option<Joined<Transport>> {
        self.connections.join(endpoint, deadline).await
    }

    fn agreed_on_http2(&self, stream: &Transport) -> bool {
        matches!(stream, Transport::Tls(tls) if tls.alpn() == Some(b"h2"))
    }

    fn begin_http2(&self, endpoint: EndpointId, stream: Transport, stall: Duration) -> io::Result<Transport> {
        self.connections.begin(endpoint, stream, stall)
    }

    fn note_http1(&self, endpoint: EndpointId) {
        self.connections.note_http1(endpoint);
    }

    fn is_excused(&self, stream: &Transport) -> bool {
        matches!(stream, Transport::H2(stream) if stream.is_excused())
    }

    fn keep_only(&self, snapshot: &Snapshot) {
        self.connections.keep_only(|endpoint| snapshot.has_endpoint(endpoint));
    }

    fn park(&self, stream: &Transport, silent: Silent) -> bool {
        let Transport::Tcp(tcp) = stream else { return false };
        self.silent.park(tcp, silent.until(), silent).is_ok()
    }

    fn take_parked(&self) -> Vec<(Option<Transport>, Silent)> {
        let parted = |left| match left {
            Wakeup::Ready(stream, silent) => (Some(Transport::Tcp(stream)), silent),
            Wakeup::Expired(silent) => (None, silent),
        };
        self.silent.take_all().into_iter().map(parted).collect()
    }

    fn parked(&self) -> usize {
        self.silent.len()
    }

    fn can_splice(&self, from: &Transport, to: &Transport) -> bool {
        from.as_tcp().is_some() && to.as_tcp().is_some()
    }

    async fn splice(
        &self,
        from: &Transport,
        to: &Transport,
        bytes: u64,
        stall: Duration,
        rate: Option<Rate>,
        progress: &Cell<Tick>,
    ) -> Result<(), Splice> {
        let pace = WriteRate::stall(stall);
        let (Some(from_tcp), Some(to_tcp)) = (from.as_tcp(), to.as_tcp()) else {
            return copy(from, to, bytes, stall, progress).await;
        };
        let spliced = ringway_net::splice_at_least(from_tcp, to_tcp, bytes, pace, rate, progress).await;
        let Err(error) = spliced else { return Ok(()) };
        let end = match error.fault {
            SpliceFault::Unavailable(_) => return copy(from, to, bytes, stall, progress).await,
            SpliceFault::Read(error) if error.kind() == ErrorKind::TimedOut => SpliceError::SenderStalled,
            SpliceFault::Read(_) | SpliceFault::Eof => SpliceError::Sender,
            SpliceFault::Write(error) if error.kind() == ErrorKind::TimedOut => SpliceError::ReceiverStalled,
            SpliceFault::Write(_) => SpliceError::Receiver,
        };
        let kept_waiting = error.write_wait >= limits::CLIENT_WAIT_NOTED;
        Err(Splice { moved: error.moved, error: end, kept_waiting })
    }
}

/// Without a pipe to be had (descriptors are short), bytes are copied: never more than belong to the body.
async fn copy(
    from: &Transport,
    to: &Transport,
    bytes: u64,
    stall: Duration,
    progress: &Cell<Tick>,
) -> Result<(), Splice> {
    let (mut moved, mut kept_waiting) = (0, false);
    while moved < bytes {
        let part = (bytes - moved).min(ringway_model::limits::BODY_BUFFER_BYTES as u64) as usize;
        let fail = |error| Splice { moved, error, kept_waiting };
        let (read, buf) = from.read(Vec::with_capacity(part), clock::now().after(stall)).await;
        let count = match read {
            Ok(0) => return Err(fail(SpliceError::Sender)),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                return Err(fail(SpliceError::SenderStalled));
            }
            Err(_) => return Err(fail(SpliceError::Sender)),
        };
        let begun = clock::now();
        let (written, _) = to.write_all(buf, WriteRate::stall(stall)).await;
        kept_waiting |= clock::now().since(begun) >= limits::CLIENT_WAIT_NOTED;
        let fail = |error| Splice { moved, error, kept_waiting };
        match written {
            Ok(()) => {
                moved += count as u64;
                progress.set(clock::now());
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                return Err(fail(SpliceError::ReceiverStalled));
            }
            Err(_) => return Err(fail(SpliceError::Receiver)),
        }
    }
    Ok(())
}
