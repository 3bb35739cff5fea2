//! Reads flags, environment and the configuration's static values into [`Settings`]: flag before environment
//! before configuration before default, all problems at once.
//!
//! ```text
//! Flags ──────┐
//! environment ┼─► read ─► Reading { rows (value and origin), warnings, Settings or problems }
//! Statics ────┤                      │                                   │
//! Machine ────┘                `ringway check`                     `ringway run`
//! ```
//! Pure except for the file of a token; [`Machine`] holds the rest of what depends on the machine.

mod listeners;
mod reader;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway::{CacheSettings, HttpMode, PublicHealth, Via};
use ringway_config::limits::{BURST_MAX, BURST_TIME_MAX, CACHE_BYTES_MAX, CACHE_TTL_MAX, RATE_MAX};
use ringway_model::{Cidr, RateLimit, RateLimitKey, Target, Webhook, WebhookSecret, WebhookUrl, limits};
use ringway_net::DriverChoice;
use ringway_telemetry::{LogFields, LogFormat};
use tracing_subscriber::filter::Targets;

use super::access;
use super::catalogue;
use super::flags::Flags;
use super::origin::{ConfigurationProblem, Origin, Problem, Row, TokenProblem, Value, Warning};
use super::parse::{self, OnBadConfig, Output, Storage, ValueError};
use super::resolver::ResolverUrl;
use super::statics::Statics;
use super::tls::{Given, Tls};
use listeners::Listed;
pub(crate) use listeners::{ListedListener, ListenerLimits, Protocol};
use reader::{Decision, Reader};

/// All settings of the operator, checked by themselves; whether the machine can run them shows at the start.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) on_bad_config: OnBadConfig,
    pub(crate) watches_config: bool,
    /// Public listeners without TLS. Port 0: one free port for all of them.
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) http_mode: HttpMode,
    /// Limits of each listener of `http` and `tls`.
    pub(crate) listener_limits: ListenerLimits,
    /// Listeners of the configuration's list.
    pub(crate) listeners: Vec<ListedListener>,
    /// Limits of heads of all listeners.
    pub(crate) heads: HeadLimits,
    /// TLS and certificates; absent when none of their settings is given.
    pub(crate) tls: Option<Tls>,
    /// Name server of domain checks and of the forward proxy.
    pub(crate) dns_resolver: Option<SocketAddr>,
    pub(crate) trusted_proxies: Vec<Cidr>,
    pub(crate) proxy_protocol: Vec<Cidr>,
    /// Resolver of hosts that are not registered.
    pub(crate) resolver: Option<ResolverUrl>,
    /// Webhook of the operator for certificate events.
    pub(crate) certificate_webhook: Option<Webhook>,
    /// TLS handshakes per second of one client on one worker; 0 is no limit.
    pub(crate) handshake_rate: u32,
    pub(crate) body_bytes_max: Option<u64>,
    /// Limit of each worker; absent when not set.
    pub(crate) connections_max: Option<usize>,
    /// Store of responses; `None` where it is switched off.
    pub(crate) cache: Option<CacheSettings>,
    /// Rate limit of each client on all rules without one.
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) unavailable_status: u16,
    pub(crate) via: Option<Via>,
    pub(crate) public_health: Option<PublicHealth>,
    pub(crate) head_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_head_timeout: Duration,
    pub(crate) body_progress_timeout: Duration,
    /// `Duration::MAX` is no limit.
    pub(crate) stream_idle_timeout: Duration,
    /// Bytes per second; 0 is no limit.
    pub(crate) body_rate_min: u64,
    pub(crate) drain_timeout: Duration,
    pub(crate) api: Vec<SocketAddr>,
    pub(crate) api_socket: Option<PathBuf>,
    pub(crate) api_access: AccessSettings,
    /// Listeners of metrics and health probes.
    pub(crate) metrics: Vec<SocketAddr>,
    pub(crate) audit_log: Option<PathBuf>,
    pub(crate) storage: Storage,
    /// Directory of the store; for [`Storage::Fjall`] alone.
    pub(crate) db_path: PathBuf,
    pub(crate) health_interval: Duration,
    pub(crate) health_timeout: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) log_levels: Targets,
    pub(crate) log_format: LogFormat,
    pub(crate) log_output: Option<Output>,
    pub(crate) access_log: Option<Output>,
    pub(crate) access_log_fields: LogFields,
    pub(crate) workers: usize,
    pub(crate) driver: DriverChoice,
}

/// Backend of requests that no other route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultBackend {
    pub(crate) target: Target,
    /// Timeout to the head of a response; absent: the default one.
    pub(crate) timeout: Option<Duration>,
}

/// Limits of request and response heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    pub(crate) bytes_max: usize,
    pub(crate) uri_bytes_max: usize,
    pub(crate) fields_max: usize,
}

/// Configuration that the operator has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Configuration {
    /// A file or a folder with settings, routes, pools and policies.
    Full(PathBuf),
    /// A file or a folder with settings only.
    Static(PathBuf),
}

/// Result of reading flags, environment and configuration.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Every setting, in the order of the catalogue.
    pub(crate) rows: Vec<Row>,
    pub(crate) warnings: Vec<Warning>,
    /// The settings, or all problems.
    pub(crate) outcome: Result<Settings, Vec<Problem>>,
}

/// Facts of the machine that defaults depend on.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) stdout_is_terminal: bool,
    pub(crate) stderr_is_terminal: bool,
    /// CPUs that the process may use.
    pub(crate) cpus: usize,
    /// Whether this process may keep its state in [`SYSTEM_STATE`].
    pub(crate) system_state_is_ours: bool,
    pub(crate) read_file: fn(&Path) -> io::Result<String>,
}

/// Bearer token of the admin API; never shown.
pub(crate) use ringway_api::{AccessSettings, Token};

/// Directory of a service's state on a Linux machine (FHS).
pub(crate) const SYSTEM_STATE: &str = "/var/lib/ringway";
/// Directory of the store within it.
const STORE_NAME: &str = "routes.db";
/// Directory of the certificates beside the store.
const CERTIFICATES_NAME: &str = "certificates";
/// Audit log beside a store of the usual name.
const AUDIT_NAME: &str = "audit.log";
/// Default port of HTTPS (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;
/// Bounds of a head: one field of some length, and four times what a browser with many cookies sends.
const HEAD_BYTES_MIN: u64 = 1024;
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// Shortest limit of a request target.
const URI_BYTES_MIN: u64 = 256;
/// Bounds of the fields of a head.
const FIELDS_MIN: usize = 10;
const FIELDS_MAX: usize = 1_000;
/// Most connections of one listener: as many as the largest process has.
const LISTENER_CONNECTIONS_MAX: usize = limits::CONNECTIONS_PER_CORE_MAX * limits::WORKERS_MAX;
/// Least memory of a store: some responses of a usual size.
const CACHE_MEMORY_MIN: u64 = 1_000_000;
/// Most entries of a store: some 25 GB for their keys and heads alone.
const CACHE_ENTRIES_MAX: usize = 100_000_000;
/// Seconds of its rate that a burst of requests may have.
const BURST_SECONDS_MAX: u32 = BURST_TIME_MAX.as_secs() as u32;
/// Longest time before expiry for a renewal: the longest lifetime of a public certificate was three years.
const RENEW_BEFORE_MAX: Duration = Duration::from_secs(3 * 366 * 24 * 3600);

/// Names and values of an environment that may be settings.
pub(crate) type Environment = BTreeMap<String, OsString>;

/// Sorts an environment.
pub(crate) fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
    variables
        .into_iter()
        // Names that are not text are not ours; compose files write "not set" as an empty value.
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Returns the configuration that flags and environment name; [`read`] reports what is wrong with it.
pub(crate) fn configuration(flags: &Flags, environment: &Environment) -> Option<Configuration> {
    let statics = Statics::default();
    let mut reader = Reader::new(flags, environment, statics);
    let mut path = |setting| reader.decision(setting, parse::path, shown_path).value();
    let full = path(&catalogue::CONFIG).map(Configuration::Full);
    full.or_else(|| path(&catalogue::STATIC_CONFIG).map(Configuration::Static))
}

/// Returns the default backend of flags and environment; [`read`] reports what is wrong with it.
pub(crate) fn default_backend(flags: &Flags, environment: &Environment) -> Option<DefaultBackend> {
    Reader::new(flags, environment, Statics::default()).default_backend()
}

/// Reads all settings.
pub(crate) fn read(flags: &Flags, environment: &Environment, statics: Statics, machine: &Machine) -> Reading {
    let mut reader = Reader::new(flags, environment, statics);
    let settings = reader.settings(machine);
    reader.warn_about_names();
    let Reader { mut rows, problems, warnings, .. } = reader;
    let position = |row: &Row| catalogue::ALL.iter().position(|setting| setting.name == row.setting.name);
    rows.sort_by_key(position);
    let outcome = match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(problems),
    };
    Reading { rows, warnings, outcome }
}

impl Reader<'_> {
    /// Reads every setting; `None` only when there is a problem.
    fn settings(&mut self, machine: &Machine) -> Option<Settings> {
        use catalogue as c;
        let within = |least, most| move |text: &str| parse::time(text, least, most);
        let timeout = within(parse::TIME_MIN, parse::TIME_MAX);
        let seconds = Duration::from_secs;

        let has_config = self.optional(&c::CONFIG, parse::path, shown_path).is_some();
        if self.optional(&c::STATIC_CONFIG, parse::path, shown_path).is_some() && has_config {
            self.problems.push(Problem::TwoConfigurations);
        }
        let on_bad_config = self.value(&c::ON_BAD_CONFIG, parse::on_bad_config, ToString::to_string);
        let watches_config = self.value(&c::WATCH_CONFIG, parse::boolean, ToString::to_string);
        self.default_backend();
        self.find_log_file();
        let http_port = self.value(&c::HTTP_PORT, parse::port, ToString::to_string);
        let http_bind = self.value(&c::HTTP_BIND, parse::addresses, joined);
        let http_mode =
            self.value(&c::HTTP_MODE, parse::http_mode, |mode| parse::http_mode_word(mode).into());
        let trusted_proxies = self.optional(&c::TRUSTED_PROXIES, parse::networks, joined);
        let proxy_protocol = self.optional(&c::PROXY_PROTOCOL, parse::networks, joined);
        let resolver = self.optional(
            &c::RESOLVER_URL,
            |text| text.parse::<ResolverUrl>().map_err(ValueError::ResolverUrl),
            ToString::to_string,
        );
        let body_bytes_max = self.value(&c::BODY_MAX, parse::bytes_max, |most| most.unwrap_or(0).to_string());
        let connections_max = self.optional(
            &c::CONNECTIONS_MAX,
            |text| parse::count(text, 1, limits::CONNECTIONS_PER_CORE_MAX),
            ToString::to_string,
        );
        let listener_connections_max = self.optional(
            &c::LISTENER_CONNECTIONS_MAX,
            |text| parse::count(text, 1, LISTENER_CONNECTIONS_MAX),
            ToString::to_string,
        );
        let bytes = |least, most| move |text: &str| parse::bytes(text, least, most);
        let head_bytes_max =
            self.value(&c::HEAD_BYTES_MAX, bytes(HEAD_BYTES_MIN, HEAD_BYTES_MAX), ToString::to_string);
        let uri_bytes_max =
            self.value(&c::URI_BYTES_MAX, bytes(URI_BYTES_MIN, HEAD_BYTES_MAX), ToString::to_string);
        let fields_max = self.value(
            &c::FIELDS_MAX,
            |text| parse::count(text, FIELDS_MIN, FIELDS_MAX),
            ToString::to_string,
        );
        let rate_limit = self.rate_limit();
        let cache = self.cache();
        let unavailable_status =
            self.value(&c::UNAVAILABLE_STATUS, parse::unavailable_status, ToString::to_string);
        let public_health = self.optional(
            &c::PUBLIC_HEALTH,
            |text| PublicHealth::parse(text).map_err(ValueError::PublicHealth),
            ToString::to_string,
        );
        let via = self.optional(&c::VIA, parse::via, |via| {
            via.as_ref().map_or_else(|| "off".into(), |via| via.pseudonym().into())
        });
        let head_timeout = self.value(&c::HEAD_TIMEOUT, timeout, time);
        let idle_timeout = self.value(&c::IDLE_TIMEOUT, timeout, time);
        let read_timeout = self.optional(&c::READ_TIMEOUT, timeout, time);
        let write_timeout = self.optional(&c::WRITE_TIMEOUT, timeout, time);
        let connect_timeout =
            self.value(&c::CONNECT_TIMEOUT, within(parse::TIME_MIN, parse::CONNECT_TIME_MAX), time);
        let response_head_timeout = self.value(&c::RESPONSE_TIMEOUT, timeout, time);
        let body_progress_timeout = self.value(&c::BODY_TIMEOUT, timeout, time);
        let stream_idle_timeout =
            self.value(&c::STREAM_IDLE_TIMEOUT, within(Duration::ZERO, parse::TIME_MAX), time);
        let body_rate_min =
            self.value(&c::BODY_RATE_MIN, parse::bytes_max, |least| least.unwrap_or(0).to_string());
        let drain_timeout =
            self.value(&c::DRAIN_TIMEOUT, within(Duration::ZERO, Duration::from_secs(3600)), time);
        let api_port = self.value(&c::API_PORT, parse::port, ToString::to_string);
        let api_bind = self.value(&c::API_BIND, parse::addresses, joined);
        let api_socket = self.optional(&c::API_SOCKET, parse::path, shown_path);
        let api_access = self.access(machine);
        let metrics = self.metrics();
        let storage = self.value(&c::STORAGE, parse::storage, ToString::to_string);
        let db_path = self.db_path(machine, storage);
        let audit_log = self.audit_log(storage, db_path.as_deref());
        let health_interval = self.value(
            &c::HEALTH_CHECK_INTERVAL,
            within(limits::HEALTH_INTERVAL_MIN, limits::HEALTH_INTERVAL_MAX),
            time,
        );
        let health_timeout =
            self.value(&c::HEALTH_CHECK_TIMEOUT, within(parse::TIME_MIN, limits::HEALTH_INTERVAL_MAX), time);
        let heartbeat_timeout = self.value(&c::HEARTBEAT_TIMEOUT, within(seconds(1), parse::TIME_MAX), time);
        let log_levels = self.value(&c::LOG_LEVEL, parse::levels, ToString::to_string);
        let log_output = self.value(&c::LOG_OUTPUT, parse::output, parse::output_word);
        let log_format = self.log_format(machine, log_output.as_ref().and_then(Option::as_ref));
        let access_log = self.value(&c::ACCESS_LOG, parse::output, parse::output_word);
        let access_log_fields = self.value(
            &c::ACCESS_LOG_FIELDS,
            |text| text.parse().map_err(ValueError::LogFields),
            ToString::to_string,
        );
        let workers = self.computed(
            &c::WORKERS,
            |text| parse::count(text, 1, limits::WORKERS_MAX),
            ToString::to_string,
            machine.cpus.clamp(1, limits::WORKERS_MAX),
        );
        let driver = self.value(&c::DRIVER, parse::driver, ToString::to_string);
        let listener_limits = ListenerLimits {
            read_timeout,
            write_timeout,
            connections_max: listener_connections_max.map(|count| count as u32),
            ..ListenerLimits::default()
        };
        let mut listed = self.listed(http_mode, &listener_limits);
        self.replace_listed(&mut listed, &c::HTTPS_PORT, |protocol| protocol == Protocol::Https);
        let mut http = at(http_bind.as_deref(), http_port);
        let mut api = at(api_bind.as_deref(), api_port);
        let dns_resolver = self.optional(&catalogue::DNS_RESOLVER, parse::resolver, ToString::to_string);
        let plain = (http_port, http_bind.as_deref());
        let tls = self.tls(machine, &listed, plain, (db_path.as_deref(), dns_resolver));
        // The list says what is public, and a port that has TLS is not served without.
        let is_listed = !listed.listeners.is_empty();
        if (is_listed && !self.is_given(&c::HTTP_PORT)) || self.has_tls_at_http_port() {
            http.clear();
        } else {
            let is_http = |protocol| matches!(protocol, Protocol::Http(_));
            self.replace_listed(&mut listed, &c::HTTP_PORT, is_http);
        }
        let webhook_secret = self.optional(
            &c::CERTIFICATE_WEBHOOK_SECRET,
            |text| WebhookSecret::parse(text).map_err(|_| ValueError::Secret),
            |_| String::new(),
        );
        let certificate_webhook = self
            .optional(
                &c::CERTIFICATE_WEBHOOK,
                |text| WebhookUrl::parse(text).map_err(ValueError::Webhook),
                ToString::to_string,
            )
            .map(|url| Webhook { url, secret: webhook_secret });
        let handshake_rate =
            self.value(&c::HANDSHAKE_RATE, |text| parse::count(text, 0, 1_000_000), ToString::to_string);
        let https = tls.as_ref().map(|tls| tls.https.clone()).unwrap_or_default();
        self.place_listeners(&http, &https, &listed, &metrics, &mut api);
        if http_mode == Some(HttpMode::HttpsOnly) && tls.is_none() {
            self.problems.push(Problem::HttpsOnlyWithoutTls);
        }
        self.check_api_bind(&api, api_access.as_ref());
        if let (Some(interval), Some(timeout)) = (health_interval, health_timeout)
            && timeout > interval
            && self.is_given(&c::HEALTH_CHECK_TIMEOUT)
        {
            self.warnings.push(Warning::TimeoutCut);
        }
        Some(Settings {
            on_bad_config: on_bad_config?,
            watches_config: watches_config?,
            http,
            http_mode: http_mode?,
            listener_limits,
            listeners: listed.listeners,
            heads: HeadLimits {
                bytes_max: head_bytes_max?,
                uri_bytes_max: uri_bytes_max?,
                fields_max: fields_max?,
            },
            metrics,
            tls,
            trusted_proxies: trusted_proxies.unwrap_or_default(),
            proxy_protocol: proxy_protocol.unwrap_or_default(),
            resolver,
            certificate_webhook,
            handshake_rate: handshake_rate? as u32,
            body_bytes_max: body_bytes_max?,
            connections_max,
            rate_limit: rate_limit?,
            cache: cache?,
            dns_resolver,
            unavailable_status: unavailable_status?,
            public_health,
            via: via.unwrap_or_else(|| Some(Via::unique())),
            head_timeout: head_timeout?,
            idle_timeout: idle_timeout?,
            connect_timeout: connect_timeout?,
            response_head_timeout: response_head_timeout?,
            body_progress_timeout: body_progress_timeout?,
            stream_idle_timeout: match stream_idle_timeout? {
                Duration::ZERO => Duration::MAX,
                limit => limit,
            },
            body_rate_min: body_rate_min?.unwrap_or(0),
            drain_timeout: drain_timeout?,
            api,
            api_socket,
            api_access: api_access.unwrap_or_default(),
            audit_log,
            storage: storage?,
            db_path: db_path?,
            health_interval: health_interval?,
            health_timeout: health_timeout?,
            heartbeat_timeout: heartbeat_timeout?,
            log_levels: log_levels?,
            log_format: log_format?,
            log_output: log_output?,
            access_log: access_log?,
            access_log_fields: access_log_fields?,
            workers: workers?,
            driver: driver?,
        })
    }

    /// Store of responses; the inner `None` is one that is switched off.
    fn cache(&mut self) -> Option<Option<CacheSettings>> {
        use catalogue as c;
        let is_enabled = self.value(&c::CACHE_ENABLED, parse::boolean, ToString::to_string);
        let memory = |text: &str| parse::bytes(text, CACHE_MEMORY_MIN, CACHE_BYTES_MAX);
        let bytes_max = self.value(&c::CACHE_MAX_MEMORY, memory, ToString::to_string);
        let entries = |text: &str| parse::count(text, 1, CACHE_ENTRIES_MAX);
        let entries_max = self.value(&c::CACHE_MAX_ENTRIES, entries, ToString::to_string);
        let lifetime = |text: &str| parse::time(text, Duration::from_secs(1), CACHE_TTL_MAX);
        let default_ttl = self.value(&c::CACHE_DEFAULT_TTL, lifetime, time);
        let settings = CacheSettings {
            default_ttl: default_ttl?,
            bytes_max: bytes_max? as u64,
            entries_max: entries_max? as u64,
        };
        Some(is_enabled?.then_some(settings))
    }

    /// Rate limit of each client; the inner `None` is one that is switched off.
    fn rate_limit(&mut self) -> Option<Option<RateLimit>> {
        use catalogue as c;
        let is_enabled = self.optional(&c::RATE_LIMIT_ENABLED, parse::boolean, ToString::to_string);
        let count =
            |most: u32| move |text: &str| parse::count(text, 1, most as usize).map(|count| count as u32);
        let rate = self.value(&c::RATE_LIMIT_RPS, count(RATE_MAX), ToString::to_string);
        let is_rate_given = self.is_given(&c::RATE_LIMIT_RPS);
        let burst_max = rate.map_or(BURST_MAX, |rate| BURST_MAX.min(rate.saturating_mul(BURST_SECONDS_MAX)));
        let burst = self.optional(&c::RATE_LIMIT_BURST, count(burst_max), ToString::to_string);
        let is_burst_given = self.is_given(&c::RATE_LIMIT_BURST);
        if is_burst_given && burst.is_none() {
            return None;
        }
        let requests = rate?;
        let limit = RateLimit {
            requests,
            per: Duration::from_secs(1),
            burst: burst.unwrap_or(if is_rate_given { requests } else { 2 * requests }),
            key: Box::new([RateLimitKey::Client]),
            ban: None,
            sends_fields: false,
            dry_run: false,
        };
        Some(is_enabled.unwrap_or(is_rate_given || is_burst_given).then_some(limit))
    }

    fn log_format(&mut self, machine: &Machine, output: Option<&Output>) -> Option<LogFormat> {
        let is_terminal = match output {
            Some(Output::Stdout) => machine.stdout_is_terminal,
            Some(Output::Stderr) => machine.stderr_is_terminal,
            Some(Output::File(_)) | None => false,
        };
        let default = if is_terminal { LogFormat::Text } else { LogFormat::Json };
        let show = |format: &LogFormat| match format {
            LogFormat::Json => "json".to_owned(),
            LogFormat::Text => "text".to_owned(),
        };
        self.computed(&catalogue::LOG_FORMAT, parse::log_format, show, default)
    }

    fn db_path(&mut self, machine: &Machine, storage: Option<Storage>) -> Option<PathBuf> {
        let setting = &catalogue::DB_PATH;
        // Made absolute once. It fails when the current folder is gone; opening the store reports that.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        match self.decision(setting, |text| parse::path(text).map(absolute), shown_path) {
            Decision::Default => {}
            decided => return decided.value(),
        }
        if storage == Some(Storage::Memory) {
            self.row(setting, Value::Absent, Origin::Default);
            return Some(PathBuf::new());
        }
        let path = self.state_directory(machine).map(|state| state.join(STORE_NAME));
        self.row(
            setting,
            path.as_ref().map_or(Value::Invalid, |path| Value::Shown(shown_path(path))),
            Origin::Default,
        );
        if path.is_none() {
            self.problems.push(Problem::NoStateDirectory);
        }
        path
    }

    /// Reads the settings of TLS; `None` when none of them is given.
    fn tls(
        &mut self,
        machine: &Machine,
        listed: &Listed,
        (http_port, http_bind): (Option<u16>, Option<&[IpAddr]>),
        (db_path, dns_resolver): (Option<&Path>, Option<SocketAddr>),
    ) -> Option<Tls> {
        use catalogue as c;
        let text = |text: &String| text.clone();
        let enabled = self.optional(&c::TLS_ENABLED, parse::boolean, ToString::to_string);
        let mut given = Given {
            tls_certificate: self.optional(&c::TLS_CERT, parse::path, shown_path),
            tls_key: self.optional(&c::TLS_KEY, parse::path, shown_path),
            directory_url: self.optional(&c::ACME_DIRECTORY_URL, parse::url, text),
            fallback_url: self.optional(&c::ACME_FALLBACK_URL, parse::url, text),
            ca_bundle: self.optional(&c::ACME_CA_BUNDLE, parse::path, shown_path),
            email: self.optional(&c::ACME_EMAIL, parse::email, text),
            staging: self.value(&c::ACME_STAGING, parse::boolean, ToString::to_string).unwrap_or_default(),
            profile: self.optional(&c::ACME_PROFILE, parse::word, text),
            eab_kid: self.optional(&c::ACME_EAB_KID, parse::word, text),
            eab_hmac: self.optional(&c::ACME_EAB_HMAC, parse::word, text),
            renew_before: self.optional(
                &c::ACME_RENEW_BEFORE,
                |text| parse::time(text, Duration::from_secs(3600), RENEW_BEFORE_MAX),
                time,
            ),
        };
        let modern = self.value(&c::TLS_MODERN, parse::boolean, ToString::to_string);
        let challenge_port = self.value(&c::ACME_CHALLENGE_PORT, parse::port, ToString::to_string);
        let public_addresses = self.optional(&c::PUBLIC_ADDRESSES, parse::addresses, joined);
        let dir = self.cert_path(machine, db_path);
        if enabled == Some(false) {
            (given.tls_certificate, given.tls_key) = (None, None);
        }
        (given.tls_certificate, given.tls_key) =
            self.default_pair((given.tls_certificate.take(), given.tls_key.take()), listed);
        self.problems.extend(given.conflicts().into_iter().map(Problem::Conflict));

        let is_asked_for = [&c::ACME_EMAIL, &c::ACME_DIRECTORY_URL, &c::CERT_PATH, &c::HTTPS_BIND];
        let is_asked_for = given.tls_certificate.is_some()
            || is_asked_for.iter().any(|setting| self.given_at(setting).is_some());
        let default = match (enabled, listed.listeners.is_empty()) {
            (Some(true), _) if self.is_given(&c::HTTP_PORT) => http_port,
            (_, false) => None,
            (Some(true), true) => Some(HTTPS_PORT),
            (Some(false) | None, true) => is_asked_for.then_some(HTTPS_PORT),
        };
        let shown = |port: &Option<u16>| port.map_or_else(|| "off".to_owned(), |port| port.to_string());
        let port = self.computed(&c::HTTPS_PORT, parse::https_port, shown, default);
        let bind = self.computed(
            &c::HTTPS_BIND,
            parse::addresses,
            joined,
            http_bind.map(<[IpAddr]>::to_vec).unwrap_or_default(),
        );
        let port = port?;
        if port.is_none() && !listed.has_tls() {
            return None;
        }
        let mut certificates = ringway_certs::CertificateSettings::new(dir?);
        certificates.default_files = given.default_files().ok()?;
        certificates.acme = given.acme();
        certificates.renew_before = given.renew_before;
        certificates.dns_resolver = dns_resolver;
        certificates.public_addresses = public_addresses.unwrap_or_default();
        certificates.http_port = challenge_port?;
        Some(Tls { https: at(bind.as_deref(), port), modern: modern?, certificates })
    }

    /// Directory of certificates: beside the store, or in the state directory when the store is in memory.
    fn cert_path(&mut self, machine: &Machine, db_path: Option<&Path>) -> Option<PathBuf> {
        let beside = db_path.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        let folder = beside.map(Path::to_owned).or_else(|| self.state_directory(machine));
        let default = folder.map(|folder| folder.join(CERTIFICATES_NAME));
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let setting = &catalogue::CERT_PATH;
        match self.decision(setting, |text| parse::path(text).map(absolute), shown_path) {
            Decision::Default => {
                let shown = default.as_ref().map_or(Value::Absent, |path| Value::Shown(shown_path(path)));
                self.row(setting, shown, Origin::Default);
                default
            }
            decided => decided.value(),
        }
    }

    fn default_backend(&mut self) -> Option<DefaultBackend> {
        let target = self.optional(&catalogue::DEFAULT_BACKEND, parse::backend, ToString::to_string);
        let timeout = |text: &str| parse::time(text, parse::TIME_MIN, parse::TIME_MAX);
        let timeout = self.optional(&catalogue::BACKEND_TIMEOUT, timeout, time);
        Some(DefaultBackend { target: target?, timeout })
    }

    /// Whether the port of `http` is served with TLS, and only so.
    fn has_tls_at_http_port(&self) -> bool {
        let is_enabled = self.rows.iter().any(|row| {
            row.setting.name == catalogue::TLS_ENABLED.name && row.value == Value::Shown("true".into())
        });
        is_enabled && self.is_given(&catalogue::HTTP_PORT) && !self.is_given(&catalogue::HTTPS_PORT)
    }

    /// Listeners of the metrics: their address, else a port of the loopback address.
    fn metrics(&mut self) -> Vec<SocketAddr> {
        let setting = &catalogue::METRICS_ADDRESS;
        let is_off = self.at_key("/metrics/enabled", parse::boolean) == Some(false);
        let port = self.at_key("/metrics/port", parse::port);
        match self.decision(setting, parse::listen_addresses, joined) {
            Decision::Value(found) => {
                let is_in_file = matches!(self.origin_of(setting), Origin::File { .. });
                if let (true, Some(port), Some(place)) = (is_in_file, port, self.statics.get("/metrics/port"))
                    && found.iter().any(|address| address.port() != port)
                {
                    let (path, error) = ("/metrics/port".to_owned(), ConfigurationProblem::TwoPorts);
                    self.problems.push(Problem::Configuration { place: place.place, path, error });
                }
                if is_in_file && is_off { Vec::new() } else { found }
            }
            Decision::Invalid => Vec::new(),
            Decision::Default => {
                let found: Vec<_> =
                    port.filter(|_| !is_off).map(|port| ([127, 0, 0, 1], port).into()).into_iter().collect();
                let origin = self.statics.get("/metrics/port").filter(|_| !found.is_empty()).map_or(
                    Origin::Default,
                    |port| Origin::File { path: "/metrics/port".into(), place: port.place },
                );
                let value = if found.is_empty() { Value::Absent } else { Value::Shown(joined(&found)) };
                self.row(setting, value, origin);
                found
            }
        }
    }

    /// Replaces `logging.output: file` by the path of that file.
    fn find_log_file(&mut self) {
        let Some(output) = self.statics.get("/logging/output").filter(|output| output.text == "file") else {
            return;
        };
        if !self.statics.redirect("/logging/output", "/logging/file/path") {
            let (path, error) = ("/logging/output".to_owned(), ConfigurationProblem::NoLogFile);
            self.problems.push(Problem::Configuration { place: output.place, path, error });
            self.statics.remove("/logging/output");
        }
    }

    /// Finds a free port for the admin API where it has none, and records listeners that overlap.
    fn place_listeners(
        &mut self,
        http: &[SocketAddr],
        https: &[SocketAddr],
        listed: &Listed,
        metrics: &[SocketAddr],
        api: &mut [SocketAddr],
    ) {
        let mut documented: Vec<_> =
            listed.listeners.iter().map(|one| (one.name.clone(), one.addresses.clone())).collect();
        if let Some(name) = self.documented_listener() {
            let port = if http.is_empty() { https } else { http };
            documented.push((name, port.to_vec()));
        }
        self.move_api(&documented, metrics, api);
        let mut all = vec![
            (catalogue::HTTP_PORT.name.to_owned(), http.to_vec()),
            (catalogue::HTTPS_PORT.name.to_owned(), https.to_vec()),
            (catalogue::API_PORT.name.to_owned(), api.to_vec()),
            (catalogue::METRICS_ADDRESS.name.to_owned(), metrics.to_vec()),
        ];
        all.extend(listed.listeners.iter().map(|one| (one.name.clone(), one.addresses.clone())));
        self.check_ports(&all);
    }

    /// Directory for state that survives a restart: systemd's for the unit, the system's, or the user's.
    fn state_directory(&self, machine: &Machine) -> Option<PathBuf> {
        let absolute =
            |name: &str| self.environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let systemd = self.environment.get("STATE_DIRECTORY").and_then(|folders| {
            // Several folders have colons between them; the first is ours.
            let first = folders.to_str()?.split(':').next()?;
            Some(PathBuf::from(first)).filter(|path| path.is_absolute())
        });
        systemd
            .or_else(|| machine.system_state_is_ours.then(|| SYSTEM_STATE.into()))
            .or_else(|| absolute("XDG_STATE_HOME").map(|state| state.join("ringway")))
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state/ringway")))
    }

    /// Reads the path of the audit log.
    fn audit_log(&mut self, storage: Option<Storage>, db_path: Option<&Path>) -> Option<PathBuf> {
        let default = db_path.filter(|_| storage == Some(Storage::Fjall)).map(audit_log_beside);
        let show = |path: &Option<PathBuf>| path.as_ref().map_or_else(|| "off".to_owned(), shown_path);
        self.computed(&catalogue::AUDIT_LOG, parse::path_or_off, show, default).flatten()
    }

    /// Reads the settings of access control; `None` when they are wrong.
    fn access(&mut self, machine: &Machine) -> Option<AccessSettings> {
        use catalogue as c;
        let given = access::Given {
            token: self.token(machine),
            tokens_file: self.optional(&c::API_TOKENS_FILE, parse::path, shown_path),
            certificate: self.optional(&c::API_CERT, parse::path, shown_path),
            key: self.optional(&c::API_KEY, parse::path, shown_path),
            client_ca: self.optional(&c::API_CLIENT_CA, parse::path, shown_path),
        };
        given.open().map_err(|problems| self.problems.extend(problems.into_iter().map(Problem::Access))).ok()
    }

    fn token(&mut self, machine: &Machine) -> Option<Token> {
        let text = self.optional(&catalogue::API_TOKEN, |text| Ok(text.to_owned()), |_| String::new());
        let file = self.optional(&catalogue::API_TOKEN_FILE, parse::path, shown_path);
        let (text, origin) = match (text, file) {
            (Some(_), Some(_)) => {
                self.problems.push(Problem::TwoTokens);
                return None;
            }
            (Some(text), None) => (text, self.origin_of(&catalogue::API_TOKEN)),
            (None, Some(path)) => {
                let origin = self.origin_of(&catalogue::API_TOKEN_FILE);
                match (machine.read_file)(&path) {
                    Ok(text) => (text, origin),
                    Err(error) => {
                        let error = TokenProblem::File(path, error.kind());
                        self.problems.push(Problem::Token { origin, error });
                        return None;
                    }
                }
            }
            (None, None) => return None,
        };
        match Token::parse(text.trim_end_matches(['\r', '\n'])) {
            Ok(token) => Some(token),
            Err(error) => {
                self.problems.push(Problem::Token { origin, error: TokenProblem::Text(error) });
                None
            }
        }
    }

    fn check_api_bind(&mut self, api: &[SocketAddr], access: Option<&AccessSettings>) {
        let has_wrong_token =
            self.problems.iter().any(|problem| matches!(problem, Problem::Token { .. } | Problem::TwoTokens));
        let Some(access) = access.filter(|_| !has_wrong_token) else { return };
        if let Some(open) = api.iter().find(|address| access.check_bind(**address).is_err()) {
            self.problems.push(Problem::OpenApi(*open));
        }
        if access::is_certificate_unused(access, api) {
            self.warnings.push(Warning::ApiCertificateUnused);
        }
    }
}

fn at(addresses: Option<&[IpAddr]>, port: Option<u16>) -> Vec<SocketAddr> {
    let (Some(addresses), Some(port)) = (addresses, port) else { return Vec::new() };
    addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
}

fn time(time: &Duration) -> String {
    humantime::format_duration(*time).to_string()
}

// The reader passes the parsed value, which is a `PathBuf`.
#[expect(clippy::ptr_arg)]
fn shown_path(path: &PathBuf) -> String {
    path.display().to_string()
}

#[expect(clippy::ptr_arg)]
fn joined<T: ToString>(items: &Vec<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Audit log of a store: `audit.log` beside `routes.db`. Beside a store of another name it has that name, so
/// that processes with stores in one directory have a log each.
fn audit_log_beside(store: &Path) -> PathBuf {
    let name = match store.file_name() {
        Some(name) if name != STORE_NAME => Path::new(name).with_added_extension(AUDIT_NAME),
        _ => AUDIT_NAME.into(),
    };
    store.with_file_name(name)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
