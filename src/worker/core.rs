//! What the sessions of one core share. Nothing in it is seen by another core, but how many connections it has.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringway_bridge::MailboxSender;
use ringway_model::CoreId;
use ringway_telemetry::{RequestIds, Telemetry};
use ringway_tls::ServerTls;
use ringway_traffic::balance::Cursors;
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::Snapshot;
use ringway_wire::h1::{RequestHead, ResponseHead};
use slab::Slab;

use crate::accept::cert_selector::{self, CertSelector};
use crate::accept::handshakes::Handshakes;
use crate::accept::pending_connection::Arrivals;
use crate::accept::rebalance::Rebalancer;
use crate::accept::secrets::{SecretSource, Secrets};
use crate::exchange::attempt_warnings::Warnings;
use crate::exchange::date_line::DateLine;
use crate::exchange::on_demand_hosts::Hosts;
use crate::exchange::tunnels::Tunnels;
use crate::h2::{Seats, WindowBudget};
use crate::runtime::Runtime;
use crate::session::downstream::DownstreamConn;
use crate::session::linger::Lingering;
use crate::settings::Settings;
use crate::upstream::{ConnectionPool, Files, UpstreamTlsConfigs};

/// One core's share of the data plane.
pub(crate) struct Core<R: Runtime> {
    pub(crate) id: CoreId,
    pub(crate) runtime: R,
    pub(crate) settings: Arc<Settings>,
    pub(crate) telemetry: Telemetry,
    pub(crate) reports: MailboxSender<Report>,
    pub(crate) cursors: RefCell<Cursors>,
    pub(crate) upstreams: RefCell<ConnectionPool<R::Stream>>,
    pub(crate) endpoint_files: Files,
    /// Whom to believe of the endpoints that speak TLS.
    pub(crate) trust: UpstreamTlsConfigs,
    pub(crate) request_ids: RefCell<RequestIds>,
    pub(crate) date_line: DateLine,
    pub(crate) clients: RefCell<Slab<Rc<DownstreamConn<R::Stream>>>>,
    /// Connections that are no clients yet.
    pub(crate) arrivals: Arrivals,
    /// Connections that are being told that there is no room.
    pub(crate) turned_away: Cell<usize>,
    pub(crate) seats: Seats,
    /// Requests under way on connections of HTTP/2.
    pub(crate) streams: Cell<usize>,
    /// By how much the windows of clients' connections may have grown.
    pub(crate) windows: WindowBudget,
    pub(crate) draining: Cell<bool>,
    pub(crate) tunnels: Tunnels,
    pub(crate) handshakes: Rc<Handshakes>,
    /// Requests that were answered and are still being sent.
    pub(crate) lingering: Lingering,
    /// Certificates and CAs.
    pub(crate) secrets: Secrets,
    pub(crate) cert_selector: CertSelector,
    /// Hosts that have no route yet, where somebody may know them.
    pub(crate) hosts: Option<Hosts>,
    /// Where clients reach this process over TLS, if they do.
    pub(crate) https_port: Option<u16>,
    /// Instances that were warned about lately.
    pub(crate) warnings: Warnings,
    /// The other cores, where there are any.
    pub(crate) rebalancer: Option<Rebalancer>,
    tables: RefCell<Rc<Tables>>,
    buffers: RefCell<Vec<ConnBuffers>>,
    /// How many of them nobody needed since the last look.
    buffers_spare: Cell<usize>,
}

impl<R: Runtime> Core<R> {
    #[allow(clippy::too_many_arguments)] // one place builds it, from the parts of a worker
    pub(crate) fn new(
        id: CoreId,
        runtime: R,
        settings: Arc<Settings>,
        telemetry: Telemetry,
        reports: MailboxSender<Report>,
        snapshot: Arc<Snapshot>,
        doors: Doors,
    ) -> Self {
        let upstreams = ConnectionPool::new(settings.connections_max);
        Self {
            id,
            runtime,
            settings,
            telemetry,
            reports,
            cursors: RefCell::new(Cursors::new(id)),
            upstreams: RefCell::new(upstreams),
            endpoint_files: Files::default(),
            trust: UpstreamTlsConfigs::new(),
            request_ids: RefCell::new(RequestIds::new()),
            date_line: DateLine::default(),
            clients: RefCell::new(Slab::new()),
            arrivals: Arrivals::default(),
            turned_away: Cell::new(0),
            seats: Seats::default(),
            streams: Cell::new(0),
            windows: WindowBudget::default(),
            draining: Cell::new(false),
            tunnels: Tunnels::default(),
            handshakes: Rc::default(),
            lingering: Lingering::default(),
            secrets: Secrets::new(id, doors.lookup),
            cert_selector: CertSelector::new(doors.tls),
            hosts: doors.resolves.then(|| Hosts::new(id)),
            https_port: doors.https_port,
            warnings: Warnings::default(),
            rebalancer: doors.rebalancer,
            tables: RefCell::new(Rc::new(Tables { snapshot })),
            buffers: RefCell::new(Vec::new()),
            buffers_spare: Cell::new(0),
        }
    }

    /// Connections that are served or about to be.
    pub(crate) fn connections(&self) -> usize {
        self.clients.borrow().len() + self.runtime.parked() + self.arrivals.len() + self.handshakes.len()
    }

    /// Whether a file is left for another connection, be it to an endpoint or of a client. An idle connection to an endpoint makes room.
    pub(crate) fn has_file(&self) -> bool {
        let used = self.connections() + self.turned_away.get() + self.endpoint_files.count();
        used < self.settings.connection_files_max || self.upstreams.borrow_mut().close_one()
    }

    /// Lets the other cores know how many those are. To be called when there is one more or one less.
    pub(crate) fn publish_load(&self) {
        if let Some(rebalancer) = &self.rebalancer {
            rebalancer.tell(self.connections());
        }
    }

    /// The snapshot of this moment, pinned: it lives as long as the exchange that took it. No atomic operation.
    pub(crate) fn tables(&self) -> Rc<Tables> {
        self.tables.borrow().clone()
    }

    /// Routes by `snapshot` from the next exchange on.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.upstreams.borrow_mut().keep_only(&snapshot);
        self.runtime.keep_only(&snapshot);
        self.cursors.borrow_mut().keep_only(&snapshot);
        self.tunnels.handle_snapshot(&snapshot, self.runtime.now(), self.settings.drain_timeout);
        self.tables.replace(Rc::new(Tables { snapshot }));
        if let Some(hosts) = &self.hosts {
            hosts.handle_snapshot(&self.tables().snapshot);
        }
        self.prepare();
    }

    /// Asks for what the snapshot needs at any moment.
    pub(crate) fn prepare(&self) {
        cert_selector::prefetch_default(&self.secrets, &self.tables().snapshot, self.runtime.now());
    }

    /// Buffers for a connection that has something to do.
    pub(crate) fn take_buffers(&self) -> ConnBuffers {
        let mut kept = self.buffers.borrow_mut();
        let buffers = kept.pop().unwrap_or_default();
        self.buffers_spare.update(|spare| spare.min(kept.len()));
        buffers
    }

    /// Frees the buffers that nobody needed since this was last called.
    pub(crate) fn free_spare_buffers(&self) {
        let mut kept = self.buffers.borrow_mut();
        let spare = self.buffers_spare.get().min(kept.len());
        // Those that were used last are at the end, and likely still in the cache.
        kept.drain(..spare);
        self.buffers_spare.set(kept.len());
    }

    /// Buffers of a connection that falls idle or ends. A few are kept warm, the rest is freed, so that a peak's memory goes back.
    pub(crate) fn give_buffers(&self, mut buffers: ConnBuffers) {
        let mut kept = self.buffers.borrow_mut();
        if kept.len() < BUFFERS_KEPT_MAX {
            buffers.clear();
            kept.push(buffers);
        }
    }
}

/// What the doors of a core are made with.
pub(crate) struct Doors {
    pub(crate) https_port: Option<u16>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) lookup: Option<SecretSource>,
    pub(crate) resolves: bool,
    pub(crate) rebalancer: Option<Rebalancer>,
}

/// What a core routes by: its own handle on a snapshot that all cores share. Pinning it counts on this core's
/// memory only.
pub(crate) struct Tables {
    pub(crate) snapshot: Arc<Snapshot>,
}

/// Buffers of one session while it works. An idle connection holds none.
#[derive(Default)]
pub(crate) struct ConnBuffers {
    /// Bytes from the client: the head of the current request, what has come of its body, perhaps the next request.
    pub(crate) client_in: Vec<u8>,
    /// Bytes from the endpoint.
    pub(crate) upstream_in: Vec<u8>,
    /// Bytes about to be sent, to either side.
    pub(crate) out: Vec<u8>,
    /// Field lines added to the forwarded request head.
    pub(crate) added_headers: Vec<u8>,
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
}

impl ConnBuffers {
    fn clear(&mut self) {
        for buffer in [&mut self.client_in, &mut self.upstream_in, &mut self.out, &mut self.added_headers] {
            buffer.clear();
            if buffer.capacity() > crate::limits::RELAY_BUFFER_BYTES {
                *buffer = Vec::new();
            }
        }
        self.request.reset();
        self.response.reset();
    }
}

/// Scratches that a core keeps for the next connection: 256 of about 100 KiB at most, touched only as far as used.
const BUFFERS_KEPT_MAX: usize = 256;
