//! Simulated runtime and connector: network and clock of a run.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use ringway_model::{Tick, Timestamp};
use ringway_net::tls::TlsError;
use ringway_net::{PanicMessage, SenderLimits, Stream, WriteRate};
use ringway_traffic::snapshot::{EndpointId, Snapshot};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::engine::Engine;
use super::network::{End, SimStream, pair};
use super::origin;
use super::requests::Case;
use super::retries::{self, Outage};
use super::stage_calls::{self, Services};
use super::tenants::{self, Stage};
use crate::connector::{Acquired, Connector, Splice, SpliceError};
use crate::runtime::Runtime;

/// Runtime and connector of the one core of a run.
pub(super) struct Sim {
    pub(super) engine: Rc<Engine>,
    pub(super) case: Rc<Case>,
    pub(super) endpoints: Endpoints,
    /// Connections that the core holds.
    pub(super) live: Rc<Cell<usize>>,
    /// Number of the last connection.
    pub(super) connections: Rc<Cell<u64>>,
    pub(super) splices: bool,
}

/// Endpoints of a run.
pub(super) enum Endpoints {
    /// Those of the case.
    OfCase,
    /// Those of a run with tenants.
    OfTenants(Rc<Stage>),
    /// Those of a run with retries.
    Failing(Rc<Outage>),
    /// Those of a run with calls of a stage.
    Called(Rc<Services>),
}

impl Sim {
    /// Opens a connection between the core and a simulated peer.
    pub(super) fn connection(&self, peer: SocketAddr) -> (SimStream, End) {
        self.connections.set(self.connections.get() + 1);
        let (ours, theirs) = pair(&self.engine, self.connections.get(), self.case.is_calm);
        (SimStream::new(ours, peer, &self.live), theirs)
    }
}

impl Runtime for Sim {
    fn now(&self) -> Tick {
        Tick(self.engine.now() / 1_000)
    }

    fn now_micros(&self) -> u64 {
        self.engine.now()
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp(1_700_000_000_000 + self.engine.now() / 1_000)
    }

    async fn sleep(&self, duration: Duration) {
        self.engine.sleep(duration.as_micros() as u64).await;
    }

    async fn yield_now(&self) {
        self.engine.sleep(0).await;
    }

    fn spawn<F, P>(&self, future: F, _on_panic: P)
    where
        F: Future<Output = ()> + 'static,
        P: FnOnce(PanicMessage) + 'static,
    {
        // A panic is a finding here: it ends the run.
        self.engine.spawn(true, future);
    }
}

impl Connector for Sim {
    type Stream = SimStream;

    async fn connect(&self, address: SocketAddr, deadline: Tick) -> io::Result<SimStream> {
        let engine = &self.engine;
        let is_evil = engine.chance(self.case.evil / 2);
        if is_evil && engine.chance(30) {
            engine.note(|| format!("connect {address}: silence"));
            let until = deadline.0 * 1_000 + engine.below(100_000);
            engine.sleep(until.saturating_sub(engine.now())).await;
            return Err(ErrorKind::TimedOut.into());
        }
        engine.sleep(engine.below(2_000)).await;
        if is_evil {
            engine.note(|| format!("connect {address}: refused"));
            return Err(ErrorKind::ConnectionRefused.into());
        }
        if let Endpoints::OfTenants(stage) = &self.endpoints
            && stage.refuses()
        {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let (stream, end) = self.connection(address);
        engine.note(|| format!("connect {address}: connection {}", end.number()));
        match &self.endpoints {
            Endpoints::OfCase => {
                engine.spawn(false, origin::serve(engine.clone(), self.case.clone(), end, address))
            }
            Endpoints::OfTenants(stage) => engine.spawn(false, tenants::serve(stage.clone(), end)),
            Endpoints::Failing(outage) => engine.spawn(false, retries::serve(outage.clone(), end)),
            Endpoints::Called(services) => {
                engine.spawn(false, stage_calls::serve(services.clone(), end, address));
            }
        }
        Ok(stream)
    }

    async fn connect_tls(
        &self,
        _stream: SimStream,
        _config: Arc<ClientConfig>,
        _name: ServerName<'static>,
        _deadline: Tick,
    ) -> Result<SimStream, TlsError> {
        Err(TlsError::Io(ErrorKind::Unsupported.into()))
    }

    async fn acquire(&self, _endpoint: EndpointId, _deadline: Tick) -> Option<Acquired<SimStream>> {
        None
    }

    fn is_http2(&self, _stream: &SimStream) -> bool {
        false
    }

    fn start_http2(&self, _: EndpointId, _: SimStream, _: Duration) -> io::Result<SimStream> {
        Err(ErrorKind::Unsupported.into())
    }

    fn set_http1_only(&self, _endpoint: EndpointId) {}

    fn retain_endpoints(&self, _snapshot: &Snapshot) {}

    fn can_splice(&self, _from: &SimStream, _to: &SimStream) -> bool {
        self.splices
    }

    async fn splice(
        &self,
        from: &SimStream,
        to: &SimStream,
        bytes: u64,
        stall: Duration,
        sender: SenderLimits,
        progress: &Cell<Tick>,
    ) -> Result<(), Splice> {
        let (mut moved, mut kept_waiting) = (0, false);
        while moved < bytes {
            let fail = |error| Err(Splice { moved, error, kept_waiting });
            let part = (bytes - moved).min(64 * 1024) as usize;
            let (read, buf) = from.read(Vec::with_capacity(part), self.now().after(sender.stall)).await;
            let count = match read {
                Ok(0) => return fail(SpliceError::Sender),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::TimedOut => return fail(SpliceError::SenderStalled),
                Err(_) => return fail(SpliceError::Sender),
            };
            let begun = self.now();
            let (written, _) = to.write_all_range(buf, 0..count, WriteRate::stall(stall)).await;
            kept_waiting |= self.now().since(begun) >= limits::CLIENT_WAIT_NOTED;
            let fail = |error| Err(Splice { moved, error, kept_waiting });
            match written {
                Ok(()) => {
                    moved += count as u64;
                    progress.set(self.now());
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return fail(SpliceError::ReceiverStalled);
                }
                Err(_) => return fail(SpliceError::Receiver),
            }
        }
        Ok(())
    }
}
