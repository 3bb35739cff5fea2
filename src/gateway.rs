//! Putting the planes together: listeners, one thread per worker, the control thread; and taking them apart.
//!
//! ```text
//! spawn: bind ─► load and compile (control thread) ─► start workers with the first snapshot ─► Handle
//! end:   Handle::shutdown ─► not ready ─► cores drain ─► store closed ─► threads joined
//! ```

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_api::{Listeners, UnixSocket};
use ringway_bridge::{MailboxReceiver, MailboxSender, ReplySender, mailbox, reply, slot, wake_pair};
use ringway_certs::Settings as CertificateSettings;
use ringway_control::{
    Client, ControlSettings, ControlThread, Parts, Pulse, Refusal, Service, State, Submission,
    TargetResolver, WorkerLink,
};
use ringway_filter::{Chain, Filter};
use ringway_model::{
    AppId, AppSpec, Change, Cidr, CoreId, DomainKind, DomainSpec, HealthCheck, Hostname, InstanceId,
    InstanceSpec, Target, TenantId, limits,
};
use ringway_net::{Driver, DriverChoice, clock};
use ringway_store::{Memory, Store};
use ringway_telemetry::{LogHandle, Observer, Registry, Telemetry};
use ringway_tls::{Loaded, ServerSettings, ServerTls, Wanted};
use ringway_traffic::report::Report;
use ringway_worker::{HttpMode, ListenerKind, Lookup};

/// A gateway to be: settings with sensible defaults, and [`Builder::spawn`].
pub struct Builder {
    workers: Option<usize>,
    driver: DriverChoice,
    pinned: bool,
    http: Vec<SocketAddr>,
    http_sockets: Vec<TcpListener>,
    http_mode: HttpMode,
    https: Vec<SocketAddr>,
    https_sockets: Vec<TcpListener>,
    https_public_port: Option<u16>,
    proxy_protocol: Vec<Cidr>,
    resolver: Option<Arc<dyn TargetResolver>>,
    tls: ServerSettings,
    certificates: Option<CertificateSettings>,
    admin: Option<Admin>,
    store: Box<dyn Store>,
    data: ringway_worker::Settings,
    control: ControlSettings,
    filters: Vec<Box<dyn Filter>>,
    observer: Option<Arc<dyn Observer + Send + Sync>>,
    access_log: Option<LogHandle>,
}

/// What the admin API listens on and whom it lets in.
#[derive(Debug, Default)]
pub struct Admin {
    /// Addresses to bind. Any that is not on the loopback interface needs a token.
    pub addresses: Vec<SocketAddr>,
    /// Sockets that were handed over, bound and listening.
    pub sockets: Vec<TcpListener>,
    /// Unix sockets, made with [`ringway_api::bind_unix`] or handed over.
    pub unix: Vec<UnixSocket>,
    /// Token, host names, bounds.
    pub settings: ringway_api::Settings,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            workers: None,
            driver: DriverChoice::Auto,
            pinned: true,
            http: vec![(Ipv4Addr::UNSPECIFIED, 80).into(), (Ipv6Addr::UNSPECIFIED, 80).into()],
            http_sockets: Vec::new(),
            http_mode: HttpMode::default(),
            https: Vec::new(),
            https_sockets: Vec::new(),
            https_public_port: None,
            proxy_protocol: Vec::new(),
            resolver: None,
            tls: ServerSettings::default(),
            certificates: None,
            admin: None,
            store: Box::new(Memory::new()),
            data: ringway_worker::Settings::default(),
            control: ControlSettings::default(),
            filters: Vec::new(),
            observer: None,
            access_log: None,
        }
    }

    /// How many workers, 1 to [`limits::WORKERS_MAX`]. Default: one for each CPU that the process may use.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = Some(count);
        self
    }

    /// Which I/O driver. Default: io_uring, or epoll where it is blocked.
    pub fn driver(mut self, driver: DriverChoice) -> Self {
        self.driver = driver;
        self
    }

    /// Whether each worker is pinned to a CPU of its own, which is the default.
    pub fn pin(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Where clients are served. Default: port 80 on all IPv4 and IPv6 addresses. Port 0 takes any free one, the same
    /// for all addresses.
    pub fn http(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.http = addresses;
        self
    }

    /// Listening sockets that were handed over, beside [`Builder::http`]; all workers accept from each.
    pub fn http_sockets(mut self, sockets: Vec<TcpListener>) -> Self {
        self.http_sockets = sockets;
        self
    }

    /// What the listeners of [`Builder::http`] serve. Default: hosts that can be served over TLS are redirected there.
    pub fn http_mode(mut self, mode: HttpMode) -> Self {
        self.http_mode = mode;
        self
    }

    /// Where clients are served over TLS. Default: nowhere. Port 0 takes any free one, the same for all addresses.
    ///
    /// A name without a certificate is refused before anything is negotiated.
    pub fn https(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.https = addresses;
        self
    }

    /// Listening sockets for TLS that were handed over, beside [`Builder::https`].
    pub fn https_sockets(mut self, sockets: Vec<TcpListener>) -> Self {
        self.https_sockets = sockets;
        self
    }

    /// The port that redirects name, when clients do not reach [`Builder::https`] under its own: a container's published
    /// port, or a load balancer's.
    pub fn https_public_port(mut self, port: u16) -> Self {
        self.https_public_port = Some(port);
        self
    }

    /// Versions of TLS that clients may speak. Default: 1.2 and 1.3.
    pub fn tls(mut self, settings: ServerSettings) -> Self {
        self.tls = settings;
        self
    }

    /// Where certificates are kept and where they come from. Default: there are none, and every name is refused over TLS.
    pub fn certificates(mut self, settings: CertificateSettings) -> Self {
        self.certificates = Some(settings);
        self
    }

    /// Networks of load balancers that begin each connection with a PROXY header, version 1 or 2, and must; of others none
    /// is read. In addition to those of [`Builder::data`].
    pub fn proxy_protocol(mut self, networks: Vec<Cidr>) -> Self {
        self.proxy_protocol = networks;
        self
    }

    /// Who is asked about hosts that are not registered. Default: nobody, and they are unknown.
    pub fn resolver(mut self, resolver: Arc<dyn TargetResolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Serves the admin API. Default: there is none, and changes are made through the [`Handle`].
    pub fn admin(mut self, admin: Admin) -> Self {
        self.admin = Some(admin);
        self
    }

    /// Where the configuration is kept. Default: in memory.
    pub fn store(mut self, store: Box<dyn Store>) -> Self {
        self.store = store;
        self
    }

    /// Timeouts, limits and trust of the data plane.
    pub fn data(mut self, settings: ringway_worker::Settings) -> Self {
        self.data = settings;
        self
    }

    /// Health checks and leases.
    pub fn control(mut self, settings: ControlSettings) -> Self {
        self.control = settings;
        self
    }

    /// Adds a filter after those that are there.
    pub fn filter(mut self, filter: impl Filter) -> Self {
        self.filters.push(Box::new(filter));
        self
    }

    /// Is told of every event of the data plane.
    pub fn observer(mut self, observer: Arc<dyn Observer + Send + Sync>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Writes an access log.
    pub fn access_log(mut self, log: LogHandle) -> Self {
        self.access_log = Some(log);
        self
    }

    /// Starts everything. Returns when every worker serves; blocks for as long as loading the store takes.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub fn spawn(mut self) -> Result<Handle, StartError> {
        let cpus = ringway_net::cores();
        let workers = self.workers.unwrap_or(cpus.len()).min(limits::WORKERS_MAX);
        if workers == 0 {
            return Err(StartError::NoWorkers);
        }
        let (http, http_addresses) = bind(&self.http, &self.http_sockets, workers)?;
        let (https, https_addresses) = bind(&self.https, &self.https_sockets, workers)?;
        if http_addresses.is_empty() && https_addresses.is_empty() {
            return Err(StartError::NoListener);
        }
        let https_port =
            https_addresses.first().map(|address| self.https_public_port.unwrap_or(address.port()));
        let kind = ListenerKind::Http(self.http_mode);
        let listeners = http.into_iter().zip(https).map(|(http, https)| {
            let http = http.into_iter().map(|listener| (listener, kind));
            http.chain(https.into_iter().map(|listener| (listener, ListenerKind::Https))).collect()
        });
        let (services, admin_addresses) = self.admin.take().map(api_service).transpose()?.unwrap_or_default();

        let mut registry = Registry::new();
        let (inbox, reports) = ringway_control::inbox(workers).map_err(StartError::System)?;
        let filters = Chain::new(std::mem::take(&mut self.filters));
        self.data.proxy_protocol.append(&mut self.proxy_protocol);
        let data = Arc::new(self.data);
        let resolves = self.resolver.is_some();
        let mut links = Vec::with_capacity(workers);
        let mut parts = Vec::with_capacity(workers);
        // Its keys are random: gathering what the first random number needs takes the library 25 ms, and the store is
        // read meanwhile.
        let tls = self.tls;
        let tls = std::thread::Builder::new()
            .name("ringway-keys".to_owned())
            .spawn(move || ServerTls::new(tls))
            .map_err(StartError::System)?;
        let mut loaders = Vec::with_capacity(workers);
        let neighbours = ringway_worker::neighbours(workers).map_err(StartError::System)?;
        for ((index, listeners), neighbours) in listeners.enumerate().zip(neighbours) {
            let core = CoreId(index as u16);
            let (waker, wake) = wake_pair().map_err(StartError::System)?;
            let (loader, loaded) = mailbox(limits::CERTIFICATES_LOADED_MAX, waker.clone());
            loaders.push(loader);
            let (snapshots, snapshots_of_worker) = slot(waker.clone());
            let (orders, orders_of_worker) = mailbox(limits::ORDERS_MAX, waker);
            links.push(WorkerLink { core, snapshots, orders });
            let log = self.access_log.as_mut().map(|log| log.add_core(core));
            parts.push(WorkerParts {
                core,
                cpu: self.pinned.then(|| cpus[index % cpus.len()]),
                listeners,
                https_port,
                loaded,
                snapshots: snapshots_of_worker,
                orders: orders_of_worker,
                wake,
                neighbours,
                telemetry: Telemetry::new(registry.add_core(core), log, self.observer.clone()),
            });
        }
        let (certificates, wanted) = match self.certificates {
            Some(settings) => {
                let opened = ringway_certs::open(settings, loaders).map_err(StartError::Certificates)?;
                let wants = opened.wants();
                (Some(opened), wants)
            }
            // Instances that speak TLS are believed by files, too.
            None => (None, ringway_certs::lend(loaders).map_err(StartError::Certificates)?),
        };
        let log = self.access_log.map(Arc::new);
        let log_reading = log.clone().map(|log| Box::new(move || log.reading()) as Box<dyn Fn() -> _ + Send>);
        let control = ringway_control::start(Parts {
            store: self.store,
            links,
            inbox,
            registry,
            log: log_reading,
            certificates,
            resolver: self.resolver,
            settings: self.control,
            services,
        })
        .map_err(StartError::Control)?;

        let tls = tls.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let tls = Arc::new(tls.map_err(StartError::Tls)?);
        let mut threads = Vec::with_capacity(workers);
        let mut starts = Vec::with_capacity(workers);
        for part in parts {
            let (started, starting) = reply();
            let common = Common {
                driver: self.driver,
                tls: tls.clone(),
                filters: filters.clone(),
                settings: data.clone(),
                wanted: Some(wanted.clone()),
                resolves,
            };
            let thread =
                start_worker(part, common, &control, reports.clone(), started).map_err(StartError::System)?;
            threads.push(thread);
            starts.push(starting);
        }
        let mut driver = None;
        for starting in starts {
            match starting.wait(limits::WORKER_START_TIMEOUT) {
                Ok(Ok(started)) => driver = Some(started),
                Ok(Err(error)) => return Err(StartError::Worker(error)),
                Err(_) => return Err(StartError::Worker(ErrorKind::TimedOut.into())),
            }
        }
        wait_for_cores(&control.client)?;
        Ok(Handle {
            http_addresses,
            https_addresses,
            admin_addresses,
            driver,
            client: control.client.clone(),
            pulse: control.pulse.clone(),
            control,
            threads,
            log,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("http", &self.http)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// Waits until the control thread has heard of every core: from then on the process calls itself ready. A matter of
/// microseconds, for the cores have their first snapshot already.
fn wait_for_cores(client: &Client) -> Result<(), StartError> {
    let deadline = clock::now().after(limits::WORKER_START_TIMEOUT);
    loop {
        let status = client.status().map_err(|_| StartError::System(ErrorKind::BrokenPipe.into()))?;
        if status.state != State::Starting {
            return Ok(());
        }
        if clock::now() >= deadline {
            return Err(StartError::Worker(ErrorKind::TimedOut.into()));
        }
        std::thread::yield_now();
    }
}

/// What one worker has for itself.
struct WorkerParts {
    core: CoreId,
    cpu: Option<usize>,
    listeners: Vec<(TcpListener, ListenerKind)>,
    https_port: Option<u16>,
    loaded: MailboxReceiver<Loaded>,
    snapshots: ringway_bridge::SlotReceiver<Arc<ringway_traffic::snapshot::Snapshot>>,
    orders: ringway_bridge::MailboxReceiver<ringway_traffic::report::Order>,
    wake: ringway_bridge::WakeSource,
    neighbours: Option<ringway_worker::Neighbours>,
    telemetry: Telemetry,
}

/// What all workers have in common.
struct Common {
    driver: DriverChoice,
    tls: Arc<ServerTls>,
    filters: Chain,
    settings: Arc<ringway_worker::Settings>,
    wanted: Option<MailboxSender<Wanted>>,
    resolves: bool,
}

fn start_worker(
    part: WorkerParts,
    common: Common,
    control: &ControlThread,
    reports: MailboxSender<Report>,
    started: ReplySender<io::Result<Driver>>,
) -> io::Result<JoinHandle<()>> {
    let (core, snapshot) = (part.core, control.snapshot.clone());
    let parts = ringway_worker::Parts {
        id: core,
        cpu: part.cpu,
        driver: common.driver,
        listeners: part.listeners,
        https_port: part.https_port,
        tls: Some(common.tls),
        lookup: common.wanted.map(|wanted| Lookup { wanted, loaded: part.loaded }),
        neighbours: part.neighbours,
        resolves: common.resolves,
        snapshot,
        snapshots: part.snapshots,
        orders: part.orders,
        wake: part.wake,
        reports: reports.clone(),
        telemetry: part.telemetry,
        filters: common.filters,
        settings: common.settings,
    };
    std::thread::Builder::new().name(format!("worker-{core}")).spawn(move || {
        let started = std::cell::Cell::new(Some(started));
        let tell = |result| {
            if let Some(started) = started.take() {
                // Whoever waits for it gave up when it cannot be told.
                let _ = started.send(result);
            }
        };
        let run = || ringway_worker::run(parts, |driver| tell(Ok(driver)));
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(core = core.0, %error, "a worker ended");
                tell(Err(error));
                let _ = reports.send(Report::WorkerPanicked { core });
            }
            Err(_) => {
                tracing::error!(core = core.0, "a worker panicked and ended");
                let _ = reports.send(Report::WorkerPanicked { core });
            }
        }
    })
}

/// One set of listeners per worker, and the addresses that they have; both are empty when nothing is asked for.
fn bind(
    addresses: &[SocketAddr],
    sockets: &[TcpListener],
    workers: usize,
) -> Result<(Vec<Vec<TcpListener>>, Vec<SocketAddr>), StartError> {
    let mut tries = 0;
    let (mut sets, mut bound) = loop {
        tries += 1;
        match bind_addresses(addresses, workers) {
            // The port that the kernel named for one address is taken on another: it may name a better one.
            Err(StartError::Bind { error, .. })
                if error.kind() == ErrorKind::AddrInUse
                    && addresses.iter().all(|address| address.port() == 0)
                    && tries < limits::FREE_PORT_TRIES => {}
            result => break result?,
        }
    };
    for socket in sockets {
        for set in &mut sets {
            set.push(socket.try_clone().map_err(StartError::System)?);
        }
        bound.push(socket.local_addr().map_err(StartError::System)?);
    }
    Ok((sets, bound))
}

fn bind_addresses(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<(Vec<Vec<TcpListener>>, Vec<SocketAddr>), StartError> {
    let mut sets: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    let mut free_port = None;
    for address in addresses {
        let mut address = *address;
        let is_free = if address.port() == 0 {
            address.set_port(free_port.unwrap_or(0));
            ringway_net::check_free(address)
        } else {
            ringway_net::patiently(|| ringway_net::check_free(address))
        };
        match is_free {
            Ok(()) => {}
            // A machine without IPv6 serves IPv4.
            Err(error) if is_family_missing(&error) && addresses.len() > 1 => continue,
            Err(error) => return Err(StartError::Bind { address, error }),
        }
        for set in &mut sets {
            let listener = ringway_net::bind_reuseport(address, limits::LISTEN_BACKLOG)
                .map_err(|error| StartError::Bind { address, error })?;
            address = listener.local_addr().map_err(StartError::System)?;
            set.push(listener);
        }
        free_port = Some(address.port());
        bound.push(address);
    }
    Ok((sets, bound))
}

fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// The admin API as a service of the control thread, and where it listens. Bound here, so that a port that is taken
/// fails the start.
fn api_service(admin: Admin) -> Result<(Vec<Service>, Vec<SocketAddr>), StartError> {
    let Admin { addresses, sockets, unix, settings } = admin;
    let mut tcp = sockets;
    for address in addresses {
        ringway_api::check_bind(address, settings.token.as_ref()).map_err(StartError::OpenAdmin)?;
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        tcp.push(ringway_net::patiently(bind).map_err(|error| StartError::Bind { address, error })?);
    }
    let bound =
        tcp.iter().map(TcpListener::local_addr).collect::<io::Result<_>>().map_err(StartError::System)?;
    let listeners = Listeners { tcp, unix };
    let service: Service = Box::new(move |control| {
        Box::pin(async move {
            let plane = std::rc::Rc::new(control);
            // It ends with the control thread, which drops it.
            if let Err(error) = ringway_api::serve(listeners, plane, settings, std::future::pending()).await {
                tracing::error!(%error, "the admin API cannot be served");
            }
        })
    });
    Ok((vec![service], bound))
}

/// A running gateway. Dropping it leaves the gateway running until the process ends; see [`Handle::shutdown`].
#[derive(Debug)]
pub struct Handle {
    http_addresses: Vec<SocketAddr>,
    https_addresses: Vec<SocketAddr>,
    admin_addresses: Vec<SocketAddr>,
    driver: Option<Driver>,
    client: Client,
    pulse: Pulse,
    control: ControlThread,
    threads: Vec<JoinHandle<()>>,
    log: Option<Arc<LogHandle>>,
}

impl Handle {
    /// Where clients are served.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Where clients are served over TLS; empty when nowhere.
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https_addresses
    }

    /// Where the admin API listens; empty without one.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// The driver that the workers run on.
    pub fn driver(&self) -> Option<Driver> {
        self.driver
    }

    /// The control plane: every change, status and metrics, from any thread.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Registers an instance of an app, the app too if it is new. `target` is a URL such as `http://10.0.0.5:3001`;
    /// the instance is named after it.
    ///
    /// # Errors
    /// See [`RegisterError`]; nothing has changed then.
    pub fn register_app(&self, app: &str, target: &str) -> Result<(), RegisterError> {
        let app = AppId::parse(app).map_err(|error| RegisterError::Invalid("app", error.to_string()))?;
        let target =
            Target::parse(target).map_err(|error| RegisterError::Invalid("target", error.to_string()))?;
        let name = target.to_string().replace("http://", "").replace(['[', ']'], "");
        let id = InstanceId::parse(&format!("{app}@{name}"))
            .map_err(|error| RegisterError::Invalid("target", error.to_string()))?;
        let instance = InstanceSpec { id, app: app.clone(), target, health_check: HealthCheck::default() };
        let app = AppSpec { id: app, name: None, upstream_tls: None };
        self.submit(Change::Register { app, instance: Some(instance), domain: None })
    }

    /// Serves a domain by an app that is registered, for a tenant if one is given.
    ///
    /// # Errors
    /// See [`RegisterError`]; nothing has changed then.
    pub fn register_domain(
        &self,
        domain: &str,
        app: &str,
        tenant: Option<&str>,
    ) -> Result<(), RegisterError> {
        let name =
            Hostname::parse(domain).map_err(|error| RegisterError::Invalid("domain", error.to_string()))?;
        let app = AppId::parse(app).map_err(|error| RegisterError::Invalid("app", error.to_string()))?;
        let tenant = tenant
            .map(TenantId::parse)
            .transpose()
            .map_err(|error| RegisterError::Invalid("tenant", error.to_string()))?;
        let kind = if tenant.is_some() { DomainKind::Custom } else { DomainKind::Subdomain };
        self.submit(Change::AddDomain(DomainSpec {
            name,
            app,
            tenant,
            kind,
            cname_target: None,
            certificate: None,
            client_auth: None,
        }))
    }

    fn submit(&self, change: Change) -> Result<(), RegisterError> {
        self.client.submit(Submission::of(change)).map(drop).map_err(RegisterError::Refused)
    }

    /// Whether the control thread and all workers make progress: what a watchdog should be fed by.
    pub fn is_alive(&self) -> bool {
        self.pulse.is_young(limits::PULSE_AGE_MAX)
            && !self.control.is_finished()
            && self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Opens the access log's file anew, after it was rotated away.
    pub fn reopen_access_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Ends in an orderly way: listeners stop, requests under way finish within `drain`, the store is closed. Returns
    /// whether every connection ended by itself.
    ///
    /// # Errors
    /// When the control thread is not there any more.
    pub fn shutdown(self, drain: Duration) -> Result<bool, Refusal> {
        let drained = self.client.shutdown(drain)?;
        for thread in self.threads {
            // A worker's panic was logged when it happened.
            let _ = thread.join();
        }
        if let Err(error) = self.control.join() {
            tracing::error!(%error, "the control thread ended with an error");
        }
        if let Some(log) = self.log.and_then(Arc::into_inner) {
            log.finish(limits::LOG_FINISH_TIMEOUT);
        }
        Ok(drained.pending.is_empty())
    }
}

/// Why a gateway did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// It was told to have no worker.
    NoWorkers,
    /// It was told to listen nowhere.
    NoListener,
    /// An address cannot be bound.
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The admin API would be open to the network without a token.
    OpenAdmin(ringway_api::BindError),
    /// The default certificate cannot be served, or the loader's thread did not start.
    Certificates(ringway_certs::StartError),
    /// The system gives no randomness for TLS.
    Tls(ringway_tls::Error),
    /// The control thread did not start.
    Control(ringway_control::StartError),
    /// A worker did not start.
    Worker(io::Error),
    /// Descriptors, memory or threads are short.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers => f.write_str("there must be at least one worker"),
            Self::NoListener => f.write_str("there must be at least one address to listen on"),
            Self::Bind { address, error } => {
                write!(f, "cannot listen on {address}")?;
                match error.kind() {
                    ErrorKind::PermissionDenied => f.write_str(
                        ": ports below 1024 need CAP_NET_BIND_SERVICE (the systemd unit grants it); or use another port",
                    ),
                    ErrorKind::AddrInUse => f.write_str(": another process listens there"),
                    _ => Ok(()),
                }
            }
            Self::OpenAdmin(_) => {
                f.write_str("the admin API must not be open to the network without a token")
            }
            Self::Certificates(_) => f.write_str("the certificates cannot be used"),
            Self::Tls(_) => f.write_str("TLS cannot be used"),
            Self::Control(_) => f.write_str("the control plane did not start"),
            Self::Worker(_) => f.write_str("a worker did not start"),
            Self::System(_) => f.write_str("the system refused a resource"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoWorkers | Self::NoListener => None,
            Self::Bind { error, .. } | Self::Worker(error) | Self::System(error) => Some(error),
            Self::OpenAdmin(error) => Some(error),
            Self::Certificates(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Control(error) => Some(error),
        }
    }
}

/// Why something was not registered.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// An argument is not what it must be.
    Invalid(&'static str, String),
    /// The control plane refused.
    Refused(Refusal),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what, why) => write!(f, "the {what} {why}"),
            Self::Refused(_) => f.write_str("the registration was refused"),
        }
    }
}

impl std::error::Error for RegisterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(..) => None,
            Self::Refused(refusal) => Some(refusal),
        }
    }
}
