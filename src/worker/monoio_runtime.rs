//! Runtime and connector on monoio's sockets and the system clock.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use ringway_model::{Tick, Timestamp};
use ringway_net::tls::{self, TlsError};
use ringway_net::{IdleSet, PanicMessage, SenderLimits, SpliceFault, Stream, Wakeup, WriteRate, clock};
use ringway_traffic::snapshot::{EndpointId, Snapshot};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::connector::{Acquired, Connector, Splice, SpliceError};
use crate::h2::client::SharedConnections;
use crate::runtime::{IdleConn, Runtime};
use crate::transport::Transport;

/// Runtime on monoio, on either of its drivers.
pub(crate) struct MonoioRuntime {
    shared: SharedConnections,
    pub(crate) idle: IdleSet<IdleConn>,
}

impl MonoioRuntime {
    /// # Errors
    /// The system's.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { shared: SharedConnections::default(), idle: IdleSet::new()? })
    }
}

impl Connector for MonoioRuntime {
    type Stream = Transport;

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

    async fn acquire(&self, endpoint: EndpointId, deadline: Tick) -> Option<Acquired<Transport>> {
        self.shared.acquire(endpoint, deadline).await
    }

    fn is_http2(&self, stream: &Transport) -> bool {
        matches!(stream, Transport::Tls(tls) if tls.alpn() == Some(b"h2"))
    }

    fn start_http2(&self, endpoint: EndpointId, stream: Transport, stall: Duration) -> io::Result<Transport> {
        self.shared.start(endpoint, stream, stall)
    }

    fn set_http1_only(&self, endpoint: EndpointId) {
        self.shared.set_http1_only(endpoint);
    }

    fn is_excused(&self, stream: &Transport) -> bool {
        matches!(stream, Transport::H2(stream) if stream.is_excused())
    }

    fn retain_endpoints(&self, snapshot: &Snapshot) {
        self.shared.retain(|endpoint| snapshot.keeps_connections(endpoint));
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
        sender: SenderLimits,
        progress: &Cell<Tick>,
    ) -> Result<(), Splice> {
        let write_rate = WriteRate::stall(stall);
        let (Some(from_tcp), Some(to_tcp)) = (from.as_tcp(), to.as_tcp()) else {
            return copy(from, to, bytes, (sender.stall, stall), progress).await;
        };
        let spliced =
            ringway_net::splice_at_least(from_tcp, to_tcp, bytes, write_rate, sender, progress).await;
        let Err(error) = spliced else { return Ok(()) };
        let end = match error.fault {
            SpliceFault::Unavailable(_) => {
                return copy(from, to, bytes, (sender.stall, stall), progress).await;
            }
            SpliceFault::Read(error) if error.kind() == ErrorKind::TimedOut => SpliceError::SenderStalled,
            SpliceFault::Read(_) | SpliceFault::Eof => SpliceError::Sender,
            SpliceFault::Write(error) if error.kind() == ErrorKind::TimedOut => SpliceError::ReceiverStalled,
            SpliceFault::Write(_) => SpliceError::Receiver,
        };
        let kept_waiting = error.write_wait >= limits::CLIENT_WAIT_NOTED;
        Err(Splice { moved: error.moved, error: end, kept_waiting })
    }
}

impl Runtime for MonoioRuntime {
    #[cfg(feature = "lua")]
    fn cpu_micros(&self) -> u64 {
        clock::thread_cpu_micros()
    }

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

    async fn yield_now(&self) {
        ringway_net::yield_now().await;
    }

    fn spawn<F, P>(&self, future: F, on_panic: P)
    where
        F: Future<Output = ()> + 'static,
        P: FnOnce(PanicMessage) + 'static,
    {
        ringway_net::spawn(future, on_panic);
    }

    fn park(&self, stream: &Transport, idle: IdleConn) -> bool {
        let Transport::Tcp(tcp) = stream else { return false };
        self.idle.park(tcp, idle.deadline, idle).is_ok()
    }

    fn take_idle(&self) -> Vec<(Option<Transport>, IdleConn)> {
        let stream = |wakeup| match wakeup {
            Wakeup::Ready(stream, idle) => (Some(Transport::Tcp(stream)), idle),
            Wakeup::Expired(idle) => (None, idle),
        };
        self.idle.take_all().into_iter().map(stream).collect()
    }

    fn idle_count(&self) -> usize {
        self.idle.len()
    }
}

/// Copies through a buffer, where no pipe can be opened: never more than the bytes of the body.
async fn copy(
    from: &Transport,
    to: &Transport,
    bytes: u64,
    (read_stall, stall): (Duration, Duration),
    progress: &Cell<Tick>,
) -> Result<(), Splice> {
    let (mut moved, mut kept_waiting) = (0, false);
    while moved < bytes {
        let part = (bytes - moved).min(ringway_model::limits::BODY_BUFFER_BYTES as u64) as usize;
        let fail = |error| Splice { moved, error, kept_waiting };
        let (read, buf) = from.read(Vec::with_capacity(part), clock::now().after(read_stall)).await;
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
