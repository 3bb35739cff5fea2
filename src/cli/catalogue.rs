//! Every setting: its name in the environment, its flag, its default, what it is for.
//!
//! The one place that names them. Flags, `--help`, `ringway check`, the hints about misspelt names and the aliases are
//! made from this table; [`config`](super::config) reads the values. Every setting has three kinds of names: its flag
//! (`--http-port`), that flag in capitals behind [`OWN_PREFIX`] (`RINGWAY_HTTP_PORT`), and the name that the requirements
//! use (`PROXY_HTTP_PORT`), with more aliases beside it.

use std::fmt;

/// One thing that an operator can decide.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in the requirements; what it is called in every message.
    pub(crate) name: &'static str,
    /// Its flag without the dashes; none for a secret, because everybody on a machine can read arguments.
    pub(crate) flag: Option<&'static str>,
    /// Other names in the environment that stand for it.
    pub(crate) aliases: &'static [Alias],
    /// What stands for the value in `--help`.
    pub(crate) value: &'static str,
    /// What holds when nobody decides.
    pub(crate) default: Fallback,
    /// What belongs together in `--help` and `ringway check`.
    pub(crate) group: Group,
    /// One or two sentences.
    pub(crate) help: &'static str,
    /// Whether its value does anything.
    pub(crate) role: Role,
}

/// Another name for a setting.
#[derive(Debug)]
pub(crate) struct Alias {
    /// The name in the environment.
    pub(crate) name: &'static str,
    /// Which part of its value counts.
    pub(crate) part: Part,
}

/// Name of a setting in the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// [`OWN_PREFIX`], and this.
    Own(&'static str),
    /// A name of the requirements, or an alias.
    Documented(&'static str),
}

/// Prefix that every setting may have in the environment.
pub(crate) const OWN_PREFIX: &str = "RINGWAY_";
/// Prefix of the names in the requirements.
const DOCUMENTED_PREFIX: &str = "PROXY_";
/// Prefixes that no other program uses for settings of its own; a wrong value behind them was meant for ringway.
const SPECIFIC_PREFIXES: [&str; 3] = [OWN_PREFIX, DOCUMENTED_PREFIX, "ACME_"];

impl Variable {
    /// Whether platforms and other programs use the same name for something else.
    pub(crate) fn is_generic(self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Documented(name) => !SPECIFIC_PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(stem) => write!(f, "{OWN_PREFIX}{stem}"),
            Self::Documented(name) => f.write_str(name),
        }
    }
}

/// Which part of an alias's value is the setting's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// The address of `address:port`; every address when it is empty, as in `:9090`.
    Host,
    /// The port of `address:port`.
    Port,
}

impl Part {
    /// That part of a value. What has no port is an address alone.
    pub(crate) fn of(self, text: &str) -> String {
        let (host, port) = match text.rsplit_once(':') {
            // An IPv6 address without brackets has colons of its own.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => (text, ""),
        };
        match self {
            Self::Whole => text,
            Self::Host if host.is_empty() => "::,0.0.0.0",
            Self::Host => host,
            Self::Port => port,
        }
        .to_owned()
    }
}

/// What holds when nobody decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// This value.
    Value(&'static str),
    /// A value that depends on where the process runs; the text says how.
    Computed(&'static str),
    /// Nothing.
    Absent,
}

/// What a setting is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Traffic,
    Timeouts,
    Api,
    Storage,
    Health,
    Logs,
    Process,
    Certificates,
}

/// Whether a value does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does what its help says.
    Used,
    /// The same, and nobody may see it.
    Secret,
}

impl Group {
    /// The heading in `--help`.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Traffic => "Public traffic",
            Self::Timeouts => "Timeouts",
            Self::Api => "Admin API",
            Self::Storage => "Storage",
            Self::Health => "Health of instances",
            Self::Logs => "Logs",
            Self::Process => "Process",
            Self::Certificates => "TLS and certificates",
        }
    }
}

impl Setting {
    /// The part of the name that all its names share, as `HTTP_PORT`.
    fn stem(&self) -> &'static str {
        self.name.strip_prefix(DOCUMENTED_PREFIX).unwrap_or(self.name)
    }

    /// Its name behind [`OWN_PREFIX`].
    pub(crate) fn own_name(&self) -> Variable {
        Variable::Own(self.stem())
    }

    /// Its names in the environment, and which part of each value counts: the first that is set wins. Names that platforms
    /// use too come last, so that they never override a name that only ringway reads.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (Variable, Part)> + use<> {
        let documented = std::iter::once((Variable::Documented(self.name), Part::Whole));
        let aliases = self.aliases.iter().map(|alias| (Variable::Documented(alias.name), alias.part));
        let documented = documented.chain(aliases);
        let specific = documented.clone().filter(|(variable, _)| !variable.is_generic());
        let generic = documented.filter(|(variable, _)| variable.is_generic());
        std::iter::once((self.own_name(), Part::Whole)).chain(specific).chain(generic)
    }

    /// The value of the first of its names that is set.
    pub(crate) fn find(&self, environment: impl Fn(&str) -> Option<String>) -> Option<(Variable, String)> {
        self.variables().find_map(|(variable, part)| {
            let name = variable.to_string();
            let value = environment(&name).filter(|value| !is_service_link(&name, value))?;
            Some((variable, part.of(&value)))
        })
    }

    /// A setting as most of them are; the constants below change what differs.
    const fn new(name: &'static str, flag: &'static str, group: Group) -> Self {
        Self {
            name,
            flag: Some(flag),
            aliases: &[],
            value: "VALUE",
            default: Fallback::Absent,
            group,
            help: "",
            role: Role::Used,
        }
    }

    const fn default(mut self, value: &'static str) -> Self {
        self.default = Fallback::Value(value);
        self
    }

    const fn computed(mut self, how: &'static str) -> Self {
        self.default = Fallback::Computed(how);
        self
    }

    const fn value(mut self, placeholder: &'static str) -> Self {
        self.value = placeholder;
        self
    }

    const fn help(mut self, text: &'static str) -> Self {
        self.help = text;
        self
    }

    const fn aliases(mut self, aliases: &'static [Alias]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn secret(mut self) -> Self {
        self.role = Role::Secret;
        self.flag = None;
        self
    }
}

const fn also(name: &'static str) -> Alias {
    Alias { name, part: Part::Whole }
}

/// All settings, in the order in which they are shown.
pub(crate) static ALL: &[&Setting] = &[
    &HTTP_PORT,
    &HTTP_BIND,
    &HTTP_MODE,
    &TRUSTED_PROXIES,
    &PROXY_PROTOCOL,
    &RESOLVER_URL,
    &BODY_MAX,
    &CONNECTIONS_MAX,
    &UNAVAILABLE_STATUS,
    &VIA,
    &PUBLIC_HEALTH,
    &HEAD_TIMEOUT,
    &IDLE_TIMEOUT,
    &CONNECT_TIMEOUT,
    &RESPONSE_TIMEOUT,
    &BODY_TIMEOUT,
    &STREAM_IDLE_TIMEOUT,
    &BODY_RATE_MIN,
    &DRAIN_TIMEOUT,
    &API_PORT,
    &API_BIND,
    &API_SOCKET,
    &API_TOKEN,
    &API_TOKEN_FILE,
    &STORAGE,
    &DB_PATH,
    &HEALTH_CHECK_INTERVAL,
    &HEALTH_CHECK_TIMEOUT,
    &HEARTBEAT_TIMEOUT,
    &LOG_LEVEL,
    &LOG_FORMAT,
    &LOG_OUTPUT,
    &ACCESS_LOG,
    &ACCESS_LOG_FIELDS,
    &WORKERS,
    &DRIVER,
    &HTTPS_PORT,
    &HTTPS_BIND,
    &TLS_CERT,
    &TLS_KEY,
    &TLS_MODERN,
    &HANDSHAKE_RATE,
    &CERT_PATH,
    &ACME_EMAIL,
    &ACME_STAGING,
    &ACME_DIRECTORY_URL,
    &ACME_FALLBACK_URL,
    &ACME_CA_BUNDLE,
    &ACME_PROFILE,
    &ACME_EAB_KID,
    &ACME_EAB_HMAC,
    &ACME_RENEW_BEFORE,
    &ACME_CHALLENGE_PORT,
    &CERTIFICATE_WEBHOOK,
    &CERTIFICATE_WEBHOOK_SECRET,
    &DNS_RESOLVER,
    &PUBLIC_ADDRESSES,
];

/// Names of other releases and documents that are known and do nothing here.
pub(crate) static LATER: &[&str] =
    &["PROXY_CONFIG_FILE", "PROXY_METRICS_ADDRESS", "PROXY_TLS_ENABLED", "PROXY_TRACE_ENDPOINT"];

/// Names that only the client commands, or the build, read.
pub(crate) static ELSEWHERE: &[&str] =
    &["RINGWAY_API", "RINGWAY_API_URL", "PROXY_API_URL", "RINGWAY_COMMIT", "RINGWAY_WEBHOOK_SECRET"];

pub(crate) static HTTP_PORT: Setting = Setting::new("PROXY_HTTP_PORT", "http-port", Group::Traffic)
    .aliases(&[also("PROXY_PORT")])
    .value("PORT")
    .default("80")
    .help("Port of the public HTTP listeners; 0 takes a free one");

pub(crate) static HTTP_BIND: Setting = Setting::new("PROXY_HTTP_BIND", "http-bind", Group::Traffic)
    .aliases(&[also("PROXY_HOST")])
    .value("IP,...")
    .default("::,0.0.0.0")
    .help("Addresses of the public HTTP listeners; `::` stands for all IPv6 addresses, `0.0.0.0` for all IPv4 ones");

pub(crate) static HTTP_MODE: Setting = Setting::new("PROXY_HTTP_MODE", "http-mode", Group::Traffic)
    .value("MODE")
    .default("redirect")
    .help("What the HTTP port does: `redirect` sends hosts that have a certificate to HTTPS and serves the others, `plain` serves all, `https_only` answers the CA's challenges and nothing else");

pub(crate) static PROXY_PROTOCOL: Setting =
    Setting::new("PROXY_PROXY_PROTOCOL", "proxy-protocol", Group::Traffic)
        .value("CIDR,...")
        .help("Networks of load balancers that begin each connection with a PROXY header, version 1 or 2, and must; of others none is read");

pub(crate) static RESOLVER_URL: Setting = Setting::new("PROXY_RESOLVER_URL", "resolver-url", Group::Traffic)
    .value("URL")
    .help("Who is asked about hosts that are not registered, such as a process manager: http://HOST:PORT/PATH or unix:PATH; gets ?host= and answers with targets, or 404");

pub(crate) static TRUSTED_PROXIES: Setting =
    Setting::new("PROXY_TRUSTED_PROXIES", "trusted-proxies", Group::Traffic)
        .value("CIDR,...")
        .help("Networks of proxies in front of this one, whose X-Forwarded-* and X-Request-ID are believed");

pub(crate) static VIA: Setting = Setting::new("PROXY_VIA", "via", Group::Traffic)
    .value("NAME|off")
    .computed("ringway- and 8 digits, drawn at each start")
    .help("What this proxy calls itself in the Via field of requests it passes on, by which it knows loops. With `off` there is no field, and loops are not known");

pub(crate) static PUBLIC_HEALTH: Setting = Setting::new("PROXY_PUBLIC_HEALTH", "public-health", Group::Traffic)
    .value("PATH@HOST,...")
    .help("Paths of the public ports that ringway answers itself, for load balancers that probe by address: 200 while it serves, 503 while it drains. As /healthz@* for any host, or /healthz@lb.example");

pub(crate) static BODY_MAX: Setting = Setting::new("PROXY_BODY_MAX", "body-max", Group::Traffic)
    .aliases(&[also("PROXY_BODY_LIMIT")])
    .value("BYTES")
    .default("0")
    .help("Most bytes of a request body, as 500KB or 10MiB; longer ones are answered with 413. 0: no limit");

pub(crate) static CONNECTIONS_MAX: Setting =
    Setting::new("PROXY_CONNECTIONS_MAX", "connections-max", Group::Traffic)
        .value("COUNT")
        .computed("65536, or what open files and memory allow")
        .help("Most client connections of one worker; when all are full, more are answered with 503");

pub(crate) static UNAVAILABLE_STATUS: Setting =
    Setting::new("PROXY_UNAVAILABLE_STATUS", "unavailable-status", Group::Traffic)
        .value("502|503")
        .default("502")
        .help("Status of the answer when no instance of an app can be reached");

pub(crate) static HEAD_TIMEOUT: Setting = Setting::new("PROXY_HEAD_TIMEOUT", "head-timeout", Group::Timeouts)
    .value("TIME")
    .default("10s")
    .help("For a client to send the head of a request");

pub(crate) static IDLE_TIMEOUT: Setting = Setting::new("PROXY_IDLE_TIMEOUT", "idle-timeout", Group::Timeouts)
    .value("TIME")
    .default("90s")
    .help("Between two requests on one client connection");

pub(crate) static CONNECT_TIMEOUT: Setting =
    Setting::new("PROXY_CONNECT_TIMEOUT", "connect-timeout", Group::Timeouts)
        .value("TIME")
        .default("5s")
        .help("To connect to an instance; 5s at most");

pub(crate) static RESPONSE_TIMEOUT: Setting = Setting::new(
    "PROXY_RESPONSE_TIMEOUT",
    "response-timeout",
    Group::Timeouts,
)
.value("TIME")
.default("30s")
.help(
    "From the last byte of a request to the whole head of its final response; gRPC to an HTTP/2 instance has \
             --stream-idle-timeout where that is longer",
);

pub(crate) static BODY_TIMEOUT: Setting = Setting::new("PROXY_BODY_TIMEOUT", "body-timeout", Group::Timeouts)
    .value("TIME")
    .default("60s")
    .help("Without a single byte of a body, in either direction. The whole of a transfer may take any time");

pub(crate) static STREAM_IDLE_TIMEOUT: Setting = Setting::new(
    "PROXY_STREAM_IDLE_TIMEOUT",
    "stream-idle-timeout",
    Group::Timeouts,
)
.value("TIME")
.default("0")
.help("Silence in both directions of events, gRPC, NDJSON and WebSockets. 0: no limit; 1h for WebSockets");

pub(crate) static BODY_RATE_MIN: Setting =
    Setting::new("PROXY_BODY_RATE_MIN", "body-rate-min", Group::Timeouts)
        .value("BYTES")
        .default("64")
        .help("Least bytes a second of a request body, over 30s, until its response begins. 0: no limit");

pub(crate) static DRAIN_TIMEOUT: Setting =
    Setting::new("PROXY_DRAIN_TIMEOUT", "drain-timeout", Group::Timeouts)
        .value("TIME")
        .default("30s")
        .help("From SIGTERM until requests under way are cut off; also from the removal of an instance, app or domain until its WebSockets are closed");

pub(crate) static API_PORT: Setting = Setting::new("PROXY_API_PORT", "api-port", Group::Api)
    .aliases(&[Alias { name: "PROXY_ADMIN_ADDRESS", part: Part::Port }])
    .value("PORT")
    .default("8080")
    .help("Port of the admin API; 0 takes a free one");

pub(crate) static API_BIND: Setting = Setting::new("PROXY_API_BIND", "api-bind", Group::Api)
    .aliases(&[Alias { name: "PROXY_ADMIN_ADDRESS", part: Part::Host }])
    .value("IP,...")
    .default("127.0.0.1")
    .help("Addresses of the admin API. Any that is not of this machine alone needs a token");

pub(crate) static API_SOCKET: Setting = Setting::new("PROXY_API_SOCKET", "api-socket", Group::Api)
    .value("PATH")
    .help("A unix socket for the admin API, beside the TCP one; its file's mode says who may use it");

pub(crate) static API_TOKEN: Setting = Setting::new("PROXY_API_TOKEN", "", Group::Api)
    .value("TOKEN")
    .secret()
    .help("The bearer token that clients of the admin API must send. Environment only: arguments are visible to everybody");

pub(crate) static API_TOKEN_FILE: Setting =
    Setting::new("PROXY_API_TOKEN_FILE", "api-token-file", Group::Api)
        .value("PATH")
        .help("A file that holds the bearer token, as systemd's LoadCredential= gives");

pub(crate) static STORAGE: Setting = Setting::new("PROXY_STORAGE", "storage", Group::Storage)
    .value("KIND")
    .default("fjall")
    .help("Where registrations are kept: `fjall` on disk, `memory` nowhere: a restart begins empty");

pub(crate) static DB_PATH: Setting = Setting::new("PROXY_DB_PATH", "db-path", Group::Storage)
    .value("PATH")
    .computed("routes.db in $STATE_DIRECTORY, /var/lib/ringway or ~/.local/state/ringway")
    .help("The folder of the store; made when missing");

pub(crate) static HEALTH_CHECK_INTERVAL: Setting =
    Setting::new("HEALTH_CHECK_INTERVAL", "health-check-interval", Group::Health)
        .aliases(&[also("PROXY_HEALTH_CHECK_INTERVAL")])
        .value("TIME")
        .default("10s")
        .help("Between two health checks of one instance, unless its registration says otherwise");

pub(crate) static HEALTH_CHECK_TIMEOUT: Setting =
    Setting::new("HEALTH_CHECK_TIMEOUT", "health-check-timeout", Group::Health)
        .aliases(&[also("PROXY_HEALTH_CHECK_TIMEOUT")])
        .value("TIME")
        .default("3s")
        .help("For one health check; an interval that is shorter shortens it");

pub(crate) static HEARTBEAT_TIMEOUT: Setting =
    Setting::new("HEARTBEAT_TIMEOUT", "heartbeat-timeout", Group::Health)
        .aliases(&[also("PROXY_HEARTBEAT_TIMEOUT")])
        .value("TIME")
        .default("30s")
        .help("An instance that has sent heartbeats gets no requests this long after the last one, and is deregistered after as long again. One that never did is judged by health checks alone");

pub(crate) static LOG_LEVEL: Setting = Setting::new("LOG_LEVEL", "log-level", Group::Logs)
    .aliases(&[also("PROXY_LOG_LEVEL")])
    .value("LEVEL")
    .default("info")
    .help(
        "error, warn, info, debug, trace or off, and levels of single parts, as `info,ringway_health=debug`",
    );

pub(crate) static LOG_FORMAT: Setting = Setting::new("LOG_FORMAT", "log-format", Group::Logs)
    .aliases(&[also("PROXY_LOG_FORMAT")])
    .value("json|text")
    .computed("text on a terminal, else json")
    .help("How lines look, those of the access log too");

pub(crate) static LOG_OUTPUT: Setting = Setting::new("LOG_OUTPUT", "log-output", Group::Logs)
    .aliases(&[also("PROXY_LOG_OUTPUT")])
    .value("WHERE")
    .default("stderr")
    .help(
        "stderr (or on), stdout, off, or a file, whose path has a / or a . in it; SIGHUP opens a file again",
    );

pub(crate) static ACCESS_LOG: Setting = Setting::new("ACCESS_LOG", "access-log", Group::Logs)
    .aliases(&[also("PROXY_ACCESS_LOG")])
    .value("WHERE")
    .default("off")
    .help("One line per request: off, on (stderr), stdout, or a file, whose path has a / or a . in it; SIGHUP opens a file again");

pub(crate) static ACCESS_LOG_FIELDS: Setting =
    Setting::new("ACCESS_LOG_FIELDS", "access-log-fields", Group::Logs)
        .aliases(&[also("PROXY_ACCESS_LOG_FIELDS")])
        .value("+NAME,-NAME")
        .default("+client_ip,+user_agent,+tenant,-query,-referer")
        .help("Fields to add to lines of the access log, or to leave out; others stay as in the default. A query may hold tokens; that of a referer is shown only with +query");

pub(crate) static WORKERS: Setting = Setting::new("PROXY_WORKERS", "workers", Group::Process)
    .value("COUNT")
    .computed("one per CPU that the process may use")
    .help("Data-plane threads, each pinned to a CPU of its own");

pub(crate) static DRIVER: Setting = Setting::new("PROXY_DRIVER", "driver", Group::Process)
    .value("DRIVER")
    .default("auto")
    .help("auto, io_uring or epoll; `auto` takes io_uring where the kernel allows it");

pub(crate) static HTTPS_PORT: Setting = Setting::new("PROXY_HTTPS_PORT", "https-port", Group::Certificates)
    .value("PORT|off")
    .computed("443 when a certificate, a CA or PROXY_CERT_PATH is given, else off")
    .help("Port of the public HTTPS listeners; 0 takes a free one");

pub(crate) static HTTPS_BIND: Setting = Setting::new("PROXY_HTTPS_BIND", "https-bind", Group::Certificates)
    .value("IP,...")
    .computed("as PROXY_HTTP_BIND")
    .help("Addresses of the public HTTPS listeners");

pub(crate) static TLS_CERT: Setting = Setting::new("PROXY_TLS_CERT", "tls-cert", Group::Certificates)
    .value("PATH")
    .help("PEM file of the default certificate and its chain, for those domains that it names and that have none of their own. It must be good at the start; a new file is taken up without a restart");

pub(crate) static TLS_KEY: Setting = Setting::new("PROXY_TLS_KEY", "tls-key", Group::Certificates)
    .value("PATH")
    .help("PEM file of the default certificate's private key");

pub(crate) static TLS_MODERN: Setting = Setting::new("PROXY_TLS_MODERN", "tls-modern", Group::Certificates)
    .value("BOOL")
    .default("false")
    .help("TLS 1.3 only (Mozilla's `modern`); else 1.2 and 1.3");

pub(crate) static HANDSHAKE_RATE: Setting =
    Setting::new("PROXY_HANDSHAKE_RATE", "handshake-rate", Group::Certificates)
        .value("COUNT")
        .default("100")
        .help("TLS handshakes a second that one client address (IPv6: /64) may begin on one worker; more are closed. 0: no limit. In any case at most 256 of it are under way there at a time. Trusted proxies have neither limit");

pub(crate) static CERT_PATH: Setting = Setting::new("PROXY_CERT_PATH", "cert-path", Group::Certificates)
    .value("PATH")
    .computed("`certificates` beside the store")
    .help("The folder of the certificates, their keys, and the accounts at CAs");

pub(crate) static ACME_EMAIL: Setting = Setting::new("ACME_EMAIL", "acme-email", Group::Certificates)
    .aliases(&[also("PROXY_ACME_EMAIL")])
    .value("ADDRESS")
    .help("Contact of the account at the CA. With it, certificates come from Let's Encrypt by themselves; without it and without a directory no CA is asked");

pub(crate) static ACME_STAGING: Setting = Setting::new("ACME_STAGING", "acme-staging", Group::Certificates)
    .aliases(&[also("PROXY_ACME_STAGING")])
    .value("BOOL")
    .default("false")
    .help("Use Let's Encrypt's staging environment: wide limits, certificates that nobody trusts");

pub(crate) static ACME_DIRECTORY_URL: Setting =
    Setting::new("ACME_DIRECTORY_URL", "acme-directory-url", Group::Certificates)
        .value("URL")
        .help("The directory of another CA, in place of Let's Encrypt's");

pub(crate) static ACME_FALLBACK_URL: Setting =
    Setting::new("ACME_FALLBACK_URL", "acme-fallback-url", Group::Certificates)
        .value("URL")
        .help("The directory of a second CA, asked while the first one is out of order");

pub(crate) static ACME_CA_BUNDLE: Setting =
    Setting::new("ACME_CA_BUNDLE", "acme-ca-bundle", Group::Certificates)
        .value("PATH")
        .help("PEM file with the roots that the CA's own HTTPS is verified by, in place of the system's");

pub(crate) static ACME_PROFILE: Setting = Setting::new("ACME_PROFILE", "acme-profile", Group::Certificates)
    .value("NAME")
    .help("The certificate profile to ask for where the CA offers it, as `shortlived` or `tlsserver`");

pub(crate) static ACME_EAB_KID: Setting = Setting::new("ACME_EAB_KID", "acme-eab-kid", Group::Certificates)
    .value("ID")
    .help("Key id of the external account binding that the CA gave");

pub(crate) static ACME_EAB_HMAC: Setting = Setting::new("ACME_EAB_HMAC", "", Group::Certificates)
    .value("KEY")
    .secret()
    .help("HMAC key of the external account binding, in base64url as the CA gave it. Environment only: arguments are visible to everybody");

pub(crate) static ACME_RENEW_BEFORE: Setting = Setting::new(
    "ACME_RENEW_BEFORE",
    "acme-renew-before",
    Group::Certificates,
)
.value("TIME")
.computed("when the CA says so (ARI), else when a third of the lifetime is left")
.help("Renew so long before the end, as 30d; used where it is less than half of the certificate's lifetime");

pub(crate) static CERTIFICATE_WEBHOOK: Setting =
    Setting::new("PROXY_CERTIFICATE_WEBHOOK", "certificate-webhook", Group::Certificates)
        .value("URL")
        .help("Where the operator is told of every certificate that was issued, renewed, failed or expires, beside the webhooks of apps");

pub(crate) static CERTIFICATE_WEBHOOK_SECRET: Setting =
    Setting::new("PROXY_CERTIFICATE_WEBHOOK_SECRET", "", Group::Certificates)
        .value("SECRET")
        .secret()
        .help("What these are signed with. Environment only: arguments are visible to everybody");

pub(crate) static DNS_RESOLVER: Setting = Setting::new("DNS_RESOLVER", "dns-resolver", Group::Certificates)
    .aliases(&[also("PROXY_DNS_RESOLVER")])
    .value("IP:PORT")
    .computed("those of /etc/resolv.conf")
    .help("Who is asked for the DNS records of domains before a certificate is");

pub(crate) static PUBLIC_ADDRESSES: Setting =
    Setting::new("PROXY_PUBLIC_ADDRESSES", "public-addresses", Group::Certificates)
        .value("IP,...")
        .help("The addresses at which this machine is reached from outside; with them, domains that point elsewhere are told so at once");

pub(crate) static ACME_CHALLENGE_PORT: Setting =
    Setting::new("ACME_CHALLENGE_PORT", "acme-challenge-port", Group::Certificates)
        .value("PORT")
        .default("80")
        .help("The port at which the CA, and our own probe before it, fetch challenges; other than 80 in test set-ups only");

/// Every name that is known in the environment.
pub(crate) fn known_names() -> impl Iterator<Item = String> {
    let ours = ALL.iter().flat_map(|setting| setting.variables().map(|(variable, _)| variable.to_string()));
    ours.chain(LATER.iter().chain(ELSEWHERE).map(|name| (*name).to_owned()))
}

/// Whether a name looks as if it were meant for us.
pub(crate) fn is_ours(name: &str) -> bool {
    SPECIFIC_PREFIXES.iter().chain(&["HEALTH_CHECK_", "HEARTBEAT_"]).any(|prefix| name.starts_with(prefix))
}

/// Whether Kubernetes sets this variable for a service that is called like a prefix of ours, `ringway` or `proxy-api`:
/// `RINGWAY_SERVICE_HOST`, `PROXY_API_PORT_80_TCP_ADDR`, and more, or an address with a scheme in place of a port.
pub(crate) fn is_service_link(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let names_port =
        name.rsplit_once("_PORT_").is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()));
    let names_service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    is_address || names_port || names_service
}

/// The known name that a misspelt one probably means, if one is near enough.
pub(crate) fn nearest(name: &str) -> Option<String> {
    let stem = SPECIFIC_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    // A setting by the wrong prefix, or one of its aliases by ours.
    let same_stem = ALL.iter().find(|setting| {
        let mut stems = setting.aliases.iter().filter_map(|alias| alias.name.strip_prefix(DOCUMENTED_PREFIX));
        stem.is_some_and(|stem| stem == setting.stem() || stems.any(|alias| alias == stem))
    });
    let is_known = known_names().any(|known| known == name);
    if let (Some(setting), false) = (same_stem, is_known) {
        return Some(setting.own_name().to_string());
    }
    known_names()
        .map(|known| (distance(name.as_bytes(), known.as_bytes()), known))
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters must be changed, added or taken away (Levenshtein). Quadratic in the lengths; names longer than any of
/// ours are cut, for they are far from all of them anyway.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let left = &left[..left.len().min(NAME_BYTES_MAX)];
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(a != b)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[right.len()]
}

/// Letters that may be wrong in a misspelt name: with more, a hint misleads.
const DISTANCE_MAX: usize = 4;
/// Longer than every name of ours by more than [`DISTANCE_MAX`].
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_and_flag_is_there_once() {
        let names: Vec<_> = ALL.iter().map(|setting| setting.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let flags: Vec<_> = ALL.iter().filter_map(|setting| setting.flag).collect();
        assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
        assert!(ALL.iter().all(|setting| !setting.help.is_empty() && !setting.help.ends_with('.')));
    }

    #[test]
    fn the_readme_shows_settings_with_their_flags_and_defaults() {
        // All settings are in docs/configuration.md, which tests/docs compares with the help.
        let readme = include_str!("../../README.md");
        let mut shown = 0;
        for setting in ALL {
            let begin = format!("| `{}` |", setting.name);
            let Some(row) = readme.lines().find(|line| line.starts_with(&begin)) else { continue };
            shown += 1;
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let flag = setting.flag.map(|flag| format!("`--{flag}`")).unwrap_or_default();
            assert_eq!(cells[2], flag, "{row}");
            match setting.default {
                Fallback::Value(value) => assert_eq!(cells[3], format!("`{value}`"), "{row}"),
                Fallback::Computed(_) => assert!(!cells[3].is_empty() && cells[3] != "none", "{row}"),
                Fallback::Absent => assert_eq!(cells[3], "none", "{row}"),
            }
        }
        assert!(shown > 10, "only {shown} settings are shown");
    }

    #[test]
    fn groups_are_together() {
        let mut groups: Vec<_> = ALL.iter().map(|setting| setting.group).collect();
        groups.dedup();
        let titles: BTreeSet<_> = groups.iter().map(|group| group.title()).collect();
        assert_eq!(titles.len(), groups.len());
    }

    #[test]
    fn every_known_name_is_its_own_nearest() {
        for name in known_names() {
            assert_eq!(nearest(&name).as_ref(), Some(&name));
        }
    }

    #[test]
    fn a_misspelt_name_finds_its_setting() {
        for (misspelt, meant) in [
            ("PROXY_HTPP_PORT", "PROXY_HTTP_PORT"),
            ("RINGWAY_HTPP_PORT", "RINGWAY_HTTP_PORT"),
            ("RINGWAY_LOGLEVEL", "RINGWAY_LOG_LEVEL"),
            ("PROXY_WORKER", "PROXY_WORKERS"),
            ("HEALTH_CHECK_INTERVALL", "HEALTH_CHECK_INTERVAL"),
            ("RINGWAY_PORT", "RINGWAY_HTTP_PORT"),
            ("RINGWAY_BODY_LIMIT", "RINGWAY_BODY_MAX"),
            ("PROXY_ACME_DIRECTORY_URL", "RINGWAY_ACME_DIRECTORY_URL"),
        ] {
            assert_eq!(nearest(misspelt).as_deref(), Some(meant), "{misspelt}");
        }
        assert_eq!(nearest("PROXY_SOMETHING_ELSE_ENTIRELY"), None);
        assert_eq!(nearest(&"PROXY_".repeat(1000)), None);
    }

    #[test]
    fn only_names_of_ours_are_judged() {
        assert!(is_ours("RINGWAY_X") && is_ours("PROXY_X") && is_ours("HEALTH_CHECK_X"));
        assert!(!is_ours("PATH") && !is_ours("HTTP_PROXY") && !is_ours("http_proxy"));
    }

    #[test]
    fn the_own_name_of_a_setting_is_its_flag_in_capitals() {
        for setting in ALL {
            let name = setting.own_name().to_string();
            assert!(!setting.own_name().is_generic() && is_ours(&name), "{name}");
            if let Some(flag) = setting.flag {
                assert_eq!(name, format!("RINGWAY_{}", flag.replace('-', "_").to_uppercase()));
            }
            assert_eq!(setting.variables().next(), Some((setting.own_name(), Part::Whole)), "it wins");
        }
        let names: Vec<_> = ALL.iter().map(|setting| setting.own_name().to_string()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn names_that_others_use_too_come_last() {
        let generic = |name| Variable::Documented(name).is_generic();
        assert!(
            ["LOG_LEVEL", "ACCESS_LOG", "HEALTH_CHECK_INTERVAL", "DNS_RESOLVER"].into_iter().all(generic)
        );
        assert!(!["PROXY_WORKERS", "ACME_EMAIL", "PROXY_LOG_LEVEL"].into_iter().any(generic));
        let names: Vec<_> = LOG_LEVEL.variables().map(|(variable, _)| variable.to_string()).collect();
        assert_eq!(names, ["RINGWAY_LOG_LEVEL", "PROXY_LOG_LEVEL", "LOG_LEVEL"]);
    }

    #[test]
    fn service_links_are_known_by_name_or_value() {
        for (name, value) in [
            ("RINGWAY_SERVICE_HOST", "10.0.0.1"),
            ("RINGWAY_SERVICE_PORT", "80"),
            ("PROXY_API_SERVICE_PORT_HTTP", "80"),
            ("RINGWAY_HTTP_PORT", "tcp://10.0.0.1:80"),
            ("RINGWAY_PORT_53_UDP_PROTO", "udp"),
        ] {
            assert!(is_service_link(name, value), "{name}={value}");
        }
        assert!(!is_service_link("RINGWAY_HTTP_PORT", "80") && !is_service_link("PROXY_HTTP_PORT", "tcp"));
    }
}
