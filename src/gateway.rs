//! Start and shutdown of both planes: listeners, one thread per worker, the control thread.
//!
//! ```text
//! spawn:    bind ─► load and compile (control thread) ─► start workers with the first snapshot ─► Handle
//! shutdown: Handle::shutdown ─► not ready ─► cores drain ─► store closed ─► threads joined
//! ```

mod cache;
mod error;
mod forward;
mod handle;
mod listener;
mod listeners;
mod workers;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use ringway_api::UnixSocket;
use ringway_bridge::{mailbox, slot, wake_pair};
use ringway_certs::CertificateSettings;
use ringway_control::{
    ConfigurationSettings, ControlSettings, EventHook, OwnEvent, Parts, TargetResolver, WorkerLink,
};
use ringway_middleware::{Builtins, Chain, Middleware, Stage};
use ringway_model::{Cidr, CoreId, limits};
use ringway_net::DriverChoice;
use ringway_store::{Memory, Store};
use ringway_telemetry::{LogHandle, Observer, Registry, Telemetry};
use ringway_tls::{ServerSettings, ServerTls};
use ringway_traffic::policy::Defaults;
use ringway_worker::{HttpMode, ListenerConfig, SharedCache};

pub use self::cache::CacheSettings;
pub use self::error::StartError;
pub use self::forward::ForwardProxy;
pub use self::handle::{Handle, RegisterError};
pub use self::listener::Listener;

use self::listeners::{Bound, api_service};
use self::workers::{Common, Wired, WorkerParts};

/// Builder of a gateway: settings with defaults, and [`Builder::spawn`].
pub struct Builder {
    workers: Option<usize>,
    driver: DriverChoice,
    pinned: bool,
    /// Absent: port 80, unless there are other listeners.
    http: Option<Vec<SocketAddr>>,
    http_sockets: Vec<TcpListener>,
    http_mode: HttpMode,
    https: Vec<SocketAddr>,
    https_sockets: Vec<TcpListener>,
    https_public_port: Option<u16>,
    listeners: Vec<Listener>,
    proxy_protocol: Vec<Cidr>,
    resolver: Option<Arc<dyn TargetResolver>>,
    tls: ServerSettings,
    certificates: Option<CertificateSettings>,
    admin: Option<Admin>,
    store: Box<dyn Store>,
    data: ringway_worker::Settings,
    control: ControlSettings,
    configuration: ConfigurationSettings,
    cache: Option<CacheSettings>,
    forward: Option<ForwardProxy>,
    stages: Vec<Stage>,
    builtins: Builtins,
    observer: Option<Arc<dyn Observer + Send + Sync>>,
    access_log: Option<LogHandle>,
}

/// Listeners and access control of the admin API.
#[derive(Debug, Default)]
pub struct Admin {
    /// Addresses to bind. Any that is not on the loopback interface needs a token or client certificates.
    pub addresses: Vec<SocketAddr>,
    /// Listening sockets, as from a service manager.
    pub sockets: Vec<TcpListener>,
    /// Unix sockets, from [`ringway_api::bind_unix`] or a service manager.
    pub unix: Vec<UnixSocket>,
    /// Addresses to bind for metrics and health probes, which need no token there.
    pub metrics: Vec<SocketAddr>,
    /// Access control, limits.
    pub settings: ringway_api::Settings,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            workers: None,
            driver: DriverChoice::Auto,
            pinned: true,
            http: None,
            http_sockets: Vec::new(),
            http_mode: HttpMode::default(),
            https: Vec::new(),
            https_sockets: Vec::new(),
            https_public_port: None,
            listeners: Vec::new(),
            proxy_protocol: Vec::new(),
            resolver: None,
            tls: ServerSettings::default(),
            certificates: None,
            admin: None,
            store: Box::new(Memory::new()),
            data: ringway_worker::Settings::default(),
            control: ControlSettings::default(),
            configuration: ConfigurationSettings::default(),
            cache: Some(CacheSettings::default()),
            forward: None,
            stages: Vec::new(),
            builtins: Builtins::default(),
            observer: None,
            access_log: None,
        }
    }

    /// Sets the number of workers, 1 to [`limits::WORKERS_MAX`]. Default: one per CPU that the process may
    /// use.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = Some(count);
        self
    }

    /// Sets the I/O driver. Default: io_uring, or epoll where it is blocked.
    pub fn driver(mut self, driver: DriverChoice) -> Self {
        self.driver = driver;
        self
    }

    /// Sets whether each worker is pinned to a CPU of its own. Default: pinned.
    pub fn pin(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Sets the addresses of HTTP listeners. Default: port 80 on all IPv4 and IPv6 addresses, or none where
    /// [`Builder::listen`] adds listeners. Port 0 takes a free one, the same for all addresses.
    pub fn http(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.http = Some(addresses);
        self
    }

    /// Adds listening sockets to [`Builder::http`]; all workers accept from each.
    pub fn http_sockets(mut self, sockets: Vec<TcpListener>) -> Self {
        self.http_sockets = sockets;
        self
    }

    /// Sets the mode of the HTTP listeners. Default: hosts that can be served over TLS are redirected to
    /// HTTPS.
    pub fn http_mode(mut self, mode: HttpMode) -> Self {
        self.http_mode = mode;
        self
    }

    /// Sets the addresses of HTTPS listeners. Default: none. Port 0 takes a free one, the same for all
    /// addresses.
    ///
    /// A server name without a certificate is refused at the start of the handshake.
    pub fn https(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.https = addresses;
        self
    }

    /// Adds listening sockets to [`Builder::https`].
    pub fn https_sockets(mut self, sockets: Vec<TcpListener>) -> Self {
        self.https_sockets = sockets;
        self
    }

    /// Sets the port in redirects to HTTPS, where it is not the port of [`Builder::https`]: the published
    /// port of a container, or a load balancer's.
    pub fn https_public_port(mut self, port: u16) -> Self {
        self.https_public_port = Some(port);
        self
    }

    /// Adds a listener with timeouts and limits of its own. There may be several of each protocol.
    pub fn listen(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Sets the accepted TLS versions. Default: 1.2 and 1.3.
    pub fn tls(mut self, settings: ServerSettings) -> Self {
        self.tls = settings;
        self
    }

    /// Sets the store and the source of certificates. Default: none, and every server name is refused.
    pub fn certificates(mut self, settings: CertificateSettings) -> Self {
        self.certificates = Some(settings);
        self
    }

    /// Adds networks of load balancers that must begin each connection with a PROXY header, version 1 or 2,
    /// to those of [`Builder::data`]. Other peers may not send one.
    pub fn proxy_protocol(mut self, networks: Vec<Cidr>) -> Self {
        self.proxy_protocol = networks;
        self
    }

    /// Sets the resolver of hosts that are not registered. Default: none; such hosts are unknown.
    pub fn resolver(mut self, resolver: Arc<dyn TargetResolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Serves the admin API. Default: none; changes are made through the [`Handle`].
    pub fn admin(mut self, admin: Admin) -> Self {
        self.admin = Some(admin);
        self
    }

    /// Sets the store of the configuration. Default: in memory.
    pub fn store(mut self, store: Box<dyn Store>) -> Self {
        self.store = store;
        self
    }

    /// Sets timeouts, limits and trusted proxies of the data plane.
    pub fn data(mut self, settings: ringway_worker::Settings) -> Self {
        self.data = settings;
        self
    }

    /// Sets health checks and heartbeat timeouts.
    pub fn control(mut self, settings: ControlSettings) -> Self {
        self.control = settings;
        self
    }

    /// Sets the source of the operator's routes, pools and policies: a file or folder that was read already.
    /// Default: none; they come from the admin API alone.
    pub fn configuration(mut self, settings: ConfigurationSettings) -> Self {
        self.configuration = settings;
        self
    }

    /// Sets the store of responses; `None`: no route has a cache. Default: 256 MB and 10,000 responses.
    pub fn cache(mut self, settings: Option<CacheSettings>) -> Self {
        self.cache = settings;
        self
    }

    /// Serves the forward proxy. Default: none.
    pub fn forward(mut self, forward: ForwardProxy) -> Self {
        self.forward = Some(forward);
        self
    }

    /// Appends a middleware stage to all rules.
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.stages.push(Stage::Custom(Arc::new(middleware)));
        self
    }

    /// Adds a stage for plugins of the type `builtin` with this name; another one of the name is replaced.
    /// Only routes whose chains have such a plugin run it.
    pub fn builtin(mut self, name: &str, middleware: impl Middleware) -> Self {
        self.builtins.add(name, middleware);
        self
    }

    /// Sets the observer of data-plane events.
    pub fn observer(mut self, observer: Arc<dyn Observer + Send + Sync>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the access log.
    pub fn access_log(mut self, log: LogHandle) -> Self {
        self.access_log = Some(log);
        self
    }

    /// Starts the gateway. Blocks until the store is loaded and every worker serves.
    ///
    /// # Errors
    /// See [`StartError`]; no listener is served then.
    pub fn spawn(mut self) -> Result<Handle, StartError> {
        let cpus = ringway_net::cores();
        let count = self.workers.unwrap_or(cpus.len()).min(limits::WORKERS_MAX);
        if count == 0 {
            return Err(StartError::NoWorkers);
        }
        let Bound { workers: listeners, http_addresses, https_addresses, forward_addresses } =
            listeners::bind_all(&self.all_listeners(), &self.data, count)?;
        let https_port =
            https_addresses.first().map(|address| self.https_public_port.unwrap_or(address.port()));
        let audit = self.admin.as_ref().and_then(|admin| admin.settings.audit.clone());
        let admin = self.admin.take().map(api_service).transpose()?.unwrap_or_default();

        let mut registry = Registry::new();
        let (inbox, reports) = ringway_control::inbox(count).map_err(StartError::System)?;
        let cache = self.cache.map(|settings| settings.store());
        let mut wired = self
            .wire(&cpus, listeners, https_port, (&mut registry, cache.as_ref()))
            .map_err(StartError::System)?;
        let forward = match self.forward.take() {
            Some(forward) => {
                let own =
                    [&http_addresses, &https_addresses, &forward_addresses, &admin.addresses, &admin.metrics];
                let own_ports = own.into_iter().flatten().map(SocketAddr::port).collect();
                let (link, sources) = forward.start(own_ports, std::mem::take(&mut wired.forward))?;
                for (worker, source) in wired.workers.iter_mut().zip(sources) {
                    worker.forward = Some(source);
                }
                Some(link)
            }
            None => None,
        };
        // On a thread, beside reading the store: seeding the random generator for the ticket keys takes 25
        // ms.
        let tls = self.tls;
        let tls = std::thread::Builder::new()
            .name("ringway-keys".to_owned())
            .spawn(move || ServerTls::new(tls))
            .map_err(StartError::System)?;
        let (certificates, wanted) = match self.certificates {
            Some(settings) => {
                let opened =
                    ringway_certs::open(settings, wired.loaders).map_err(StartError::Certificates)?;
                let requests = opened.requests();
                (Some(opened), requests)
            }
            // The CA files of `https://` instances are loaded by the same thread.
            None => (None, ringway_certs::start_loader(wired.loaders).map_err(StartError::Certificates)?),
        };
        let log = self.access_log.map(Arc::new);
        let log_reading = log.clone().map(|log| Box::new(move || log.reading()) as Box<dyn Fn() -> _ + Send>);
        let resolves = self.resolver.is_some();
        self.control.defaults = Defaults {
            policy: Arc::new(self.data.policy.clone()),
            cache_ttl: self.cache.map(|cache| cache.default_ttl),
            stages: (!self.stages.is_empty()).then(|| Arc::new(Chain::new(self.stages))),
            builtins: Arc::new(self.builtins),
            ..self.control.defaults
        };
        // An access log without addresses is an operator's wish not to keep them.
        let shows_clients = log.as_ref().is_none_or(|log| log.shows_client_ip());
        let on_event = audit.clone().map(|audit| {
            Box::new(move |event: OwnEvent<'_>| audit.record_own(&event, shows_clients)) as EventHook
        });
        let control = ringway_control::start(Parts {
            store: self.store,
            links: wired.links,
            inbox,
            registry,
            log: log_reading,
            on_event,
            certificates,
            cache,
            resolver: self.resolver,
            settings: self.control,
            configuration: self.configuration,
            services: admin.services,
        })
        .map_err(StartError::Control)?;

        let tls = tls.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.data.proxy_protocol.append(&mut self.proxy_protocol);
        let common = Common {
            driver: self.driver,
            tls: Arc::new(tls.map_err(StartError::Tls)?),
            settings: Arc::new(self.data),
            wanted,
            resolves,
        };
        let (threads, driver) = workers::start(wired.workers, &common, &control, &reports)?;
        Ok(Handle {
            http_addresses,
            https_addresses,
            forward_addresses,
            forward,
            admin_addresses: admin.addresses,
            metrics_addresses: admin.metrics,
            audit,
            driver,
            client: control.client.clone(),
            liveness: control.liveness.clone(),
            control,
            threads,
            log,
        })
    }

    /// All listeners: the default ones, then those that were added.
    fn all_listeners(&mut self) -> Vec<Listener> {
        let is_alone = self.listeners.is_empty() && self.forward.is_none();
        let http = self.http.take().unwrap_or_else(|| match is_alone {
            true => vec![(Ipv4Addr::UNSPECIFIED, 80).into(), (Ipv6Addr::UNSPECIFIED, 80).into()],
            false => Vec::new(),
        });
        let http = Listener::http(http).sockets(std::mem::take(&mut self.http_sockets)).mode(self.http_mode);
        let https =
            Listener::https(std::mem::take(&mut self.https)).sockets(std::mem::take(&mut self.https_sockets));
        let forward = self.forward.as_ref().map(ForwardProxy::listener);
        [http, https].into_iter().chain(std::mem::take(&mut self.listeners)).chain(forward).collect()
    }

    /// Connects the workers with the control thread and with each other.
    fn wire(
        &mut self,
        cpus: &[usize],
        listeners: Vec<Vec<(TcpListener, ListenerConfig)>>,
        https_port: Option<u16>,
        (registry, cache): (&mut Registry, Option<&Arc<ringway_cache::Store>>),
    ) -> io::Result<Wired> {
        let mut wired = Wired::default();
        let rebalancers = ringway_worker::rebalancers(listeners.len())?;
        let wakes = listeners.iter().map(|_| wake_pair()).collect::<io::Result<Vec<_>>>()?;
        let wakers: Vec<_> = wakes.iter().map(|(waker, _)| waker.clone()).collect();
        let mut caches = cache.map(|store| {
            let (fills, wakeups) = ringway_worker::fill_wakeups(&wakers);
            let shared = SharedCache::new(store.clone(), fills);
            wakeups.into_iter().map(move |wakeups| (shared.clone(), wakeups))
        });
        let parts = listeners.into_iter().zip(rebalancers).zip(wakes);
        for (index, ((listeners, rebalancer), (waker, wake))) in parts.enumerate() {
            let core = CoreId(index as u16);
            let (loader, loaded) = mailbox(limits::CERTIFICATES_LOADED_MAX, waker.clone());
            wired.loaders.push(loader);
            let (snapshots, snapshots_of_worker) = slot(waker.clone());
            wired.forward.add(waker.clone());
            let (orders, orders_of_worker) = mailbox(limits::ORDERS_MAX, waker);
            wired.links.push(WorkerLink { core, snapshots, orders });
            let log = self.access_log.as_mut().map(|log| log.add_core(core));
            wired.workers.push(WorkerParts {
                core,
                cpu: self.pinned.then(|| cpus[index % cpus.len()]),
                listeners,
                https_port,
                loaded,
                snapshots: snapshots_of_worker,
                orders: orders_of_worker,
                wake,
                rebalancer,
                cache: caches.as_mut().and_then(Iterator::next),
                forward: None,
                telemetry: Telemetry::new(registry.add_core(core), log, self.observer.clone()),
            });
        }
        Ok(wired)
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
