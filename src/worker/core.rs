//! State that the sessions of one core share. Other cores see its number of connections, and nothing else.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ringway_bridge::MailboxSender;
use ringway_middleware::{CoreState, Run};
use ringway_model::CoreId;
use ringway_telemetry::{RequestIds, Telemetry};
use ringway_tls::ServerTls;
use ringway_traffic::balance::Cursors;
use ringway_traffic::report::Report;
use ringway_traffic::samples::Samples;
use ringway_traffic::snapshot::{EndpointId, Snapshot};
use ringway_wire::h1::{RequestHead, ResponseHead};
use slab::Slab;

use crate::accept::cert_selector::{self, CertSelector};
use crate::accept::handshakes::HandshakeScheduler;
use crate::accept::listener::{ListenerConfig, Listeners};
use crate::accept::pending_connection::PendingConnections;
use crate::accept::rebalance::Rebalancer;
use crate::accept::secrets::{SecretSource, Secrets};
use crate::exchange::attempt_warnings::Warnings;
use crate::exchange::cache::CacheState;
use crate::exchange::date_line::DateLine;
use crate::exchange::load_queues::{self, LoadQueues};
use crate::exchange::mirror::Mirrors;
use crate::exchange::on_demand_hosts::Hosts;
use crate::exchange::security_events::SecurityEvents;
use crate::exchange::stage_calls::Calls;
use crate::exchange::stage_waits::StageWaits;
use crate::exchange::tunnels::Tunnels;
use crate::forward::{ForwardSource, ForwardState};
use crate::h2::{TaskPool, WindowBudget};
use crate::runtime::Runtime;
#[cfg(feature = "lua")]
use crate::scripts::Vms;
use crate::session::downstream_conn::DownstreamConn;
use crate::session::linger::Lingering;
use crate::settings::Settings;
use crate::upstream::{ConnectionPool, Files, UpstreamTlsConfigs};

/// State of one core of the data plane.
pub(crate) struct Core<R: Runtime> {
    pub(crate) id: CoreId,
    this: Weak<Self>,
    pub(crate) runtime: R,
    pub(crate) settings: Arc<Settings>,
    pub(crate) listeners: Listeners,
    pub(crate) telemetry: Telemetry,
    pub(crate) reports: MailboxSender<Report>,
    pub(crate) cursors: RefCell<Cursors>,
    pub(crate) upstreams: RefCell<ConnectionPool<R::Stream>>,
    pub(crate) endpoint_files: Files,
    pub(crate) upstream_tls: UpstreamTlsConfigs,
    pub(crate) request_ids: RefCell<RequestIds>,
    pub(crate) date_line: DateLine,
    pub(crate) clients: RefCell<Slab<Rc<DownstreamConn<R::Stream>>>>,
    /// Connections before their session.
    pub(crate) pending: PendingConnections,
    /// Connections that are being rejected with 503.
    pub(crate) rejections: Cell<usize>,
    /// Tasks of HTTP/2 requests.
    pub(crate) task_pool: TaskPool,
    /// HTTP/2 requests in progress.
    pub(crate) streams: Cell<usize>,
    /// Budget for the growth of HTTP/2 windows of clients.
    pub(crate) windows: WindowBudget,
    pub(crate) draining: Cell<bool>,
    pub(crate) tunnels: Tunnels,
    pub(crate) handshakes: Rc<HandshakeScheduler>,
    /// Requests whose rest is discarded after their response.
    pub(crate) lingering: Lingering,
    /// Certificates, keys and CAs.
    pub(crate) secrets: Secrets,
    pub(crate) cert_selector: CertSelector,
    /// Hosts without a route that wait for the resolver, where there is one.
    pub(crate) on_demand_hosts: Option<Hosts>,
    /// Samples of requests, for simulations of changes.
    pub(crate) samples: RefCell<Samples>,
    /// Port of `https` in redirects; none without `https` listeners.
    pub(crate) https_port: Option<u16>,
    /// Requests that wait for a permit of their route.
    pub(crate) load_queues: LoadQueues,
    /// State of middleware stages.
    pub(crate) stages: CoreState,
    /// Requests whose stage waits for the control plane.
    pub(crate) stage_waits: StageWaits,
    /// Calls of stages under way.
    pub(crate) calls: Calls,
    /// VMs of scripts.
    #[cfg(feature = "lua")]
    pub(crate) scripts: Vms,
    /// The cache; none where the process has none.
    pub(crate) cache: Option<CacheState>,
    /// The forward proxy; none where the process has none.
    pub(crate) forward: Option<ForwardState>,
    /// Copies of requests for other pools.
    pub(crate) mirrors: Mirrors,
    /// Rate limit of warnings about attempts.
    pub(crate) warnings: Warnings,
    /// Events of requests for the audit log.
    pub(crate) security_events: SecurityEvents,
    /// Link to the other cores; none for a single core.
    pub(crate) rebalancer: Option<Rebalancer>,
    tables: RefCell<Rc<Tables>>,
    buffers: RefCell<Vec<ConnBuffers>>,
    /// Buffers that no connection has used since the last call of `free_spare_buffers`.
    buffers_spare: Cell<usize>,
}

/// Parts that a core is built from.
pub(crate) struct CoreParts {
    pub(crate) id: CoreId,
    pub(crate) settings: Arc<Settings>,
    pub(crate) listeners: Vec<ListenerConfig>,
    pub(crate) telemetry: Telemetry,
    pub(crate) reports: MailboxSender<Report>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) https_port: Option<u16>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) secrets: Option<SecretSource>,
    /// Whether hosts without a route are resolved on demand.
    pub(crate) resolves_hosts: bool,
    pub(crate) rebalancer: Option<Rebalancer>,
    pub(crate) cache: Option<CacheState>,
    pub(crate) forward: Option<ForwardSource>,
}

impl<R: Runtime> Core<R> {
    /// Keeps the head of a request as a sample, if it is due.
    #[inline]
    pub(crate) fn sample(&self, request: &RequestHead, buf: &[u8]) {
        let mut samples = self.samples.borrow_mut();
        if samples.is_due() {
            samples.record(request, buf);
        }
    }

    pub(crate) fn new(runtime: R, parts: CoreParts) -> Rc<Self> {
        Rc::new_cyclic(|this| Self::build(this.clone(), runtime, parts))
    }

    fn build(this: Weak<Self>, runtime: R, parts: CoreParts) -> Self {
        let CoreParts { id, settings, snapshot, .. } = parts;
        let upstreams = ConnectionPool::new(settings.connections_max);
        let listeners = Listeners::new(parts.listeners, &settings);
        let forward = parts.forward.map(|source| ForwardState::new(id, source, &settings.policy));
        Self {
            id,
            this,
            runtime,
            settings,
            listeners,
            telemetry: parts.telemetry,
            reports: parts.reports,
            cursors: RefCell::new(Cursors::new(id)),
            upstreams: RefCell::new(upstreams),
            endpoint_files: Files::default(),
            upstream_tls: UpstreamTlsConfigs::new(),
            request_ids: RefCell::new(RequestIds::new()),
            date_line: DateLine::default(),
            clients: RefCell::new(Slab::new()),
            pending: PendingConnections::default(),
            rejections: Cell::new(0),
            task_pool: TaskPool::default(),
            streams: Cell::new(0),
            windows: WindowBudget::default(),
            draining: Cell::new(false),
            tunnels: Tunnels::default(),
            handshakes: Rc::new(HandshakeScheduler::new()),
            lingering: Lingering::default(),
            secrets: Secrets::new(id, parts.secrets),
            cert_selector: CertSelector::new(parts.tls),
            on_demand_hosts: parts.resolves_hosts.then(|| Hosts::new(id)),
            samples: RefCell::default(),
            https_port: parts.https_port,
            load_queues: LoadQueues::default(),
            stages: CoreState::default(),
            stage_waits: StageWaits::default(),
            calls: Calls::default(),
            #[cfg(feature = "lua")]
            scripts: Vms::default(),
            cache: parts.cache,
            forward,
            mirrors: Mirrors::default(),
            warnings: Warnings::default(),
            security_events: SecurityEvents::default(),
            rebalancer: parts.rebalancer,
            tables: RefCell::new(Rc::new(Tables { snapshot })),
            buffers: RefCell::new(Vec::new()),
            buffers_spare: Cell::new(0),
        }
    }

    /// Returns a handle for a task that outlives its caller.
    pub(crate) fn handle(&self) -> Rc<Self> {
        self.this.upgrade().expect("a core that is borrowed is alive")
    }

    /// Number of client connections: served, idle, pending, and in handshakes.
    pub(crate) fn connections(&self) -> usize {
        self.clients.borrow().len() + self.runtime.idle_count() + self.pending.len() + self.handshakes.len()
    }

    /// Whether a file descriptor is free for another connection, of a client or to an endpoint. Closes an
    /// idle connection to an endpoint where there is none.
    pub(crate) fn has_descriptor(&self) -> bool {
        let used = self.connections() + self.rejections.get() + self.endpoint_files.count();
        used < self.settings.connection_files_max || self.upstreams.borrow_mut().close_one()
    }

    /// Publishes the number of connections to the other cores. To be called after each change of it.
    pub(crate) fn publish_load(&self) {
        if let Some(rebalancer) = &self.rebalancer {
            rebalancer.publish(self.connections());
        }
    }

    /// Returns the current snapshot, pinned: it lives as long as the exchange that took it. No atomic
    /// operation.
    pub(crate) fn tables(&self) -> Rc<Tables> {
        self.tables.borrow().clone()
    }

    /// Routes by `snapshot` from the next exchange on.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.upstreams.borrow_mut().keep_only(&snapshot);
        self.runtime.retain_endpoints(&snapshot);
        self.cursors.borrow_mut().keep_only(&snapshot);
        self.tunnels.handle_snapshot(&snapshot, self.runtime.now(), self.settings.drain_timeout);
        self.tables.replace(Rc::new(Tables { snapshot }));
        if let Some(hosts) = &self.on_demand_hosts {
            hosts.handle_snapshot(&self.tables().snapshot);
        }
        self.prefetch_secrets();
        load_queues::handle_snapshot(self);
        #[cfg(feature = "lua")]
        self.scripts.handle_snapshot(self, self.tables().snapshot.scripts.as_deref());
    }

    /// Whether requests may still go to an endpoint, so that a connection to it is worth keeping.
    pub(crate) fn keeps_connections(&self, endpoint: EndpointId) -> bool {
        endpoint.is_destination() || self.tables().snapshot.keeps_connections(endpoint)
    }

    /// Requests the secrets that the snapshot may need at any moment.
    pub(crate) fn prefetch_secrets(&self) {
        cert_selector::prefetch_default(&self.secrets, &self.tables().snapshot, self.runtime.now());
    }

    /// Takes buffers for a connection that has become active.
    pub(crate) fn take_buffers(&self) -> ConnBuffers {
        let mut kept = self.buffers.borrow_mut();
        let buffers = kept.pop().unwrap_or_default();
        self.buffers_spare.update(|spare| spare.min(kept.len()));
        buffers
    }

    /// Frees the buffers that were not used since the last call.
    pub(crate) fn free_spare_buffers(&self) {
        let mut kept = self.buffers.borrow_mut();
        let spare = self.buffers_spare.get().min(kept.len());
        // The most recently used are at the end, and likely still in the CPU cache.
        kept.drain(..spare);
        self.buffers_spare.set(kept.len());
    }

    /// Returns the buffers of a connection that falls idle or ends. A bounded number is kept, the rest is
    /// freed.
    pub(crate) fn give_buffers(&self, mut buffers: ConnBuffers) {
        let mut kept = self.buffers.borrow_mut();
        if kept.len() < BUFFERS_KEPT_MAX {
            buffers.clear();
            kept.push(buffers);
        }
    }
}

/// A core's own handle on the snapshot that all cores share: pinning it changes a counter in this core's
/// memory only.
pub(crate) struct Tables {
    pub(crate) snapshot: Arc<Snapshot>,
}

/// Buffers of an active session. An idle connection has none.
#[derive(Default)]
pub(crate) struct ConnBuffers {
    /// Bytes from the client: the head of the current request, what has come of its body, perhaps the next
    /// request.
    pub(crate) client_in: Vec<u8>,
    /// Bytes from the endpoint.
    pub(crate) upstream_in: Vec<u8>,
    /// Bytes about to be sent, to either side.
    pub(crate) out: Vec<u8>,
    /// Field lines added to the forwarded request head.
    pub(crate) added_headers: Vec<u8>,
    /// Target of the forwarded request, where it is rewritten; empty otherwise.
    pub(crate) target: String,
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    /// Buffers of middleware, while no exchange uses them.
    pub(crate) stages: Run,
}

impl ConnBuffers {
    /// Frees the memory that a request does not need while it waits, before anything of it was sent.
    pub(crate) fn shrink(&mut self) {
        self.client_in.shrink_to_fit();
        for buffer in [&mut self.upstream_in, &mut self.out, &mut self.added_headers] {
            *buffer = Vec::new();
        }
    }

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

/// Buffers that a core keeps for the next connection: 256 of about 100 KiB at most, touched only as far as
/// used.
const BUFFERS_KEPT_MAX: usize = 256;
