//! All settings: the one table of their names, flags, defaults and help texts.
//!
//! Flags, `--help`, `ringway check`, the hints about misspelt names and the aliases are made from this table;
//! [`config`](super::config) reads the values.

use super::setting::{Alias, AliasFlag, Group, Key, Part, Setting};

/// All settings in the order of `--help` and `ringway check`.
pub(crate) static ALL: &[&Setting] = &[
    &CONFIG,
    &STATIC_CONFIG,
    &ON_BAD_CONFIG,
    &WATCH_CONFIG,
    &DEFAULT_BACKEND,
    &BACKEND_TIMEOUT,
    &HTTP_PORT,
    &HTTP_BIND,
    &HTTP_MODE,
    &TRUSTED_PROXIES,
    &PROXY_PROTOCOL,
    &RESOLVER_URL,
    &BODY_MAX,
    &CONNECTIONS_MAX,
    &LISTENER_CONNECTIONS_MAX,
    &HEAD_BYTES_MAX,
    &URI_BYTES_MAX,
    &FIELDS_MAX,
    &RATE_LIMIT_ENABLED,
    &RATE_LIMIT_RPS,
    &RATE_LIMIT_BURST,
    &CACHE_ENABLED,
    &CACHE_MAX_MEMORY,
    &CACHE_MAX_ENTRIES,
    &CACHE_DEFAULT_TTL,
    &UNAVAILABLE_STATUS,
    &VIA,
    &PUBLIC_HEALTH,
    &HEAD_TIMEOUT,
    &IDLE_TIMEOUT,
    &READ_TIMEOUT,
    &WRITE_TIMEOUT,
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
    &API_TOKENS_FILE,
    &API_CERT,
    &API_KEY,
    &API_CLIENT_CA,
    &METRICS_ADDRESS,
    &AUDIT_LOG,
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
    &TLS_ENABLED,
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

/// Names of other releases that are known and have no effect.
pub(crate) static LATER: &[&str] =
    &["PROXY_TRACE_ENDPOINT", "CLI_ENABLED", "CLI_MAX_CONCURRENT", "CLI_TIMEOUT"];

/// Names that only client commands or the build read.
pub(crate) static ELSEWHERE: &[&str] =
    &["RINGWAY_API", "RINGWAY_API_URL", "PROXY_API_URL", "RINGWAY_COMMIT", "RINGWAY_WEBHOOK_SECRET"];

pub(crate) static CONFIG: Setting = Setting::new("PROXY_CONFIG", "config", Group::Configuration)
    .aliases(&[also("PROXY_CONFIG_FILE")])
    .value("PATH")
    .help("Configuration: a YAML or JSON file, or a folder of them. Its routes, pools and policies are applied again when it changes, and by SIGHUP; its settings at the start, below flags and environment");

pub(crate) static STATIC_CONFIG: Setting =
    Setting::new("PROXY_STATIC_CONFIG", "static-config", Group::Configuration).value("PATH").help(
        "Configuration with settings of the process only; routes, pools and policies come by the admin API",
    );

pub(crate) static ON_BAD_CONFIG: Setting = Setting::new(
    "PROXY_ON_BAD_CONFIG",
    "on-bad-config",
    Group::Configuration,
)
.value("WORD")
.default("fail")
.help(
    "Start with a configuration that has mistakes: `fail` ends it, `last_good` serves what was applied last",
);

pub(crate) static WATCH_CONFIG: Setting = Setting::new(
    "PROXY_WATCH_CONFIG",
    "watch-config",
    Group::Configuration,
)
.value("BOOL")
.default("true")
.help("Apply the configuration again when its files change; `false` leaves that to SIGHUP and the admin API");

pub(crate) static DEFAULT_BACKEND: Setting =
    Setting::new("DEFAULT_BACKEND", "default-backend", Group::Configuration)
        .aliases(&[also("PROXY_DEFAULT_BACKEND")])
        .value("URL")
        .help("Backend of requests that no other route takes, as http://10.0.0.5:8000");

pub(crate) static BACKEND_TIMEOUT: Setting =
    Setting::new("BACKEND_TIMEOUT", "backend-timeout", Group::Configuration)
        .aliases(&[also("PROXY_BACKEND_TIMEOUT")])
        .value("TIME")
        .computed("as PROXY_RESPONSE_TIMEOUT")
        .help("Longest time to the head of a response of the default backend");

pub(crate) static RATE_LIMIT_ENABLED: Setting =
    Setting::new("RATE_LIMIT_ENABLED", "rate-limit-enabled", Group::Traffic)
        .aliases(&[also("PROXY_RATE_LIMIT_ENABLED")])
        .value("BOOL")
        .computed("true where RATE_LIMIT_RPS or RATE_LIMIT_BURST is given")
        .help("Limit the request rate of each client address, on all routes without a rate limit of their own; more requests get 429");

pub(crate) static RATE_LIMIT_RPS: Setting = Setting::new("RATE_LIMIT_RPS", "rate-limit-rps", Group::Traffic)
    .aliases(&[also("PROXY_RATE_LIMIT_RPS")])
    .value("N")
    .default("100")
    .help("Requests per second of one client address; of IPv6, of one network of 64 bits");

pub(crate) static RATE_LIMIT_BURST: Setting =
    Setting::new("RATE_LIMIT_BURST", "rate-limit-burst", Group::Traffic)
        .aliases(&[also("PROXY_RATE_LIMIT_BURST")])
        .value("N")
        .computed("200, or RATE_LIMIT_RPS where that is given")
        .help("Requests at once of one client address");

pub(crate) static CACHE_ENABLED: Setting = Setting::new("CACHE_ENABLED", "cache-enabled", Group::Traffic)
    .aliases(&[also("PROXY_CACHE_ENABLED")])
    .value("BOOL")
    .default("true")
    .keys(&[whole("/cache/enabled")])
    .help("Store responses of routes that have a cache; `false`: no route has one");

pub(crate) static CACHE_MAX_MEMORY: Setting =
    Setting::new("CACHE_MAX_MEMORY", "cache-max-memory", Group::Traffic)
        .aliases(&[also("PROXY_CACHE_MAX_MEMORY")])
        .value("BYTES")
        .default("256MB")
        .keys(&[whole("/cache/max_memory")])
        .help("Memory of all stored responses; further ones take the place of others");

pub(crate) static CACHE_MAX_ENTRIES: Setting =
    Setting::new("CACHE_MAX_ENTRIES", "cache-max-entries", Group::Traffic)
        .aliases(&[also("PROXY_CACHE_MAX_ENTRIES")])
        .value("COUNT")
        .default("10000")
        .keys(&[whole("/cache/max_entries")])
        .help("Most stored responses; further ones take the place of others");

pub(crate) static CACHE_DEFAULT_TTL: Setting =
    Setting::new("CACHE_DEFAULT_TTL", "cache-default-ttl", Group::Traffic)
        .aliases(&[also("PROXY_CACHE_DEFAULT_TTL")])
        .value("TIME")
        .default("300")
        .keys(&[whole("/cache/default_ttl")])
        .help("Lifetime of responses without one of their own, for caches with `ttl: default`");

pub(crate) static LISTENER_CONNECTIONS_MAX: Setting = Setting::new(
    "PROXY_LISTENER_CONNECTIONS_MAX",
    "listener-connections-max",
    Group::Traffic,
)
.value("COUNT")
.keys(&[
    whole("/server/limits/max_concurrent_connections"),
    whole("/listener/limits/max_concurrent_connections"),
])
.help("Most connections of each public listener at a time, on all workers together; further ones get 503");

pub(crate) static HEAD_BYTES_MAX: Setting =
    Setting::new("PROXY_HEAD_BYTES_MAX", "head-bytes-max", Group::Traffic)
        .value("BYTES")
        .default("16384")
        .keys(&[
            whole("/limits/max_header_size"),
            whole("/server/limits/max_header_bytes"),
            whole("/listener/limits/max_header_bytes"),
        ])
        .help("Longest head of a request or response; longer requests get 431");

pub(crate) static URI_BYTES_MAX: Setting =
    Setting::new("PROXY_URI_BYTES_MAX", "uri-bytes-max", Group::Traffic)
        .value("BYTES")
        .default("8192")
        .keys(&[whole("/limits/max_url_length")])
        .help("Longest request target; longer ones get 414");

pub(crate) static FIELDS_MAX: Setting = Setting::new("PROXY_FIELDS_MAX", "fields-max", Group::Traffic)
    .value("COUNT")
    .default("100")
    .keys(&[whole("/limits/max_headers_count")])
    .help("Most header fields of a request or response; requests with more get 431");

pub(crate) static READ_TIMEOUT: Setting = Setting::new("PROXY_READ_TIMEOUT", "read-timeout", Group::Timeouts)
    .value("TIME")
    .computed("as PROXY_BODY_TIMEOUT")
    .keys(&[whole("/server/timeouts/read"), whole("/listener/timeouts/read")])
    .help("Longest time in which a client sends no byte of a request. A whole transfer has no limit");

pub(crate) static WRITE_TIMEOUT: Setting =
    Setting::new("PROXY_WRITE_TIMEOUT", "write-timeout", Group::Timeouts)
        .value("TIME")
        .computed("as PROXY_BODY_TIMEOUT")
        .keys(&[whole("/server/timeouts/write"), whole("/listener/timeouts/write")])
        .help("Longest time in which a client takes no byte of its response. A whole transfer has no limit");

pub(crate) static TLS_ENABLED: Setting = Setting::new("PROXY_TLS_ENABLED", "tls-enabled", Group::Certificates)
    .value("BOOL")
    .computed("by the other settings of TLS")
    .keys(&[whole("/server/tls/enabled"), whole("/listener/tls/enabled")])
    .help("`true`: the public port has TLS, at PROXY_HTTPS_PORT or, where that is not given, at PROXY_HTTP_PORT, which then serves nothing without TLS. `false`: PROXY_TLS_CERT and PROXY_TLS_KEY are not used");

pub(crate) static HTTP_PORT: Setting = Setting::new("PROXY_HTTP_PORT", "http-port", Group::Traffic)
    .aliases(&[also("PROXY_PORT")])
    .value("PORT")
    .default("80")
    .keys(&[
        whole("/server/http/port"),
        whole("/server/port"),
        whole("/listener/port"),
        part("/http_address", Part::Port),
    ])
    .help("Port of the public HTTP listeners; 0 takes a free one");

pub(crate) static HTTP_BIND: Setting = Setting::new("PROXY_HTTP_BIND", "http-bind", Group::Traffic)
    .aliases(&[also("PROXY_HOST")])
    .value("IP,...")
    .default("::,0.0.0.0")
    .keys(&[whole("/server/http/bind"), whole("/server/host"), whole("/listener/host"), part("/http_address", Part::Host)]).help("Addresses of the public HTTP listeners; `::` stands for all IPv6 addresses, `0.0.0.0` for all IPv4 ones");

pub(crate) static HTTP_MODE: Setting = Setting::new("PROXY_HTTP_MODE", "http-mode", Group::Traffic)
    .value("MODE")
    .default("redirect")
    .keys(&[whole("/server/http/mode")]).help("Mode of the HTTP port: `redirect` sends hosts that have a certificate to HTTPS and serves the others, `plain` serves all, `https_only` serves the CA's challenges and nothing else");

pub(crate) static PROXY_PROTOCOL: Setting =
    Setting::new("PROXY_PROXY_PROTOCOL", "proxy-protocol", Group::Traffic)
        .value("CIDR,...")
        .keys(&[whole("/server/proxy_protocol")]).help("Networks of load balancers that begin each connection with a PROXY header, version 1 or 2. From these it is required, from others it is not accepted");

pub(crate) static RESOLVER_URL: Setting = Setting::new("PROXY_RESOLVER_URL", "resolver-url", Group::Traffic)
    .value("URL")
    .keys(&[whole("/providers/resolver/url")]).help("Service that resolves hosts that are not registered, such as a process manager: http://HOST:PORT/PATH or unix:PATH. It gets ?host= and responds with targets, or 404");

pub(crate) static TRUSTED_PROXIES: Setting =
    Setting::new("PROXY_TRUSTED_PROXIES", "trusted-proxies", Group::Traffic)
        .value("CIDR,...")
        .keys(&[whole("/server/trusted_proxies")])
        .help("Networks of proxies in front of this one, whose X-Forwarded-* and X-Request-ID are trusted");

pub(crate) static VIA: Setting = Setting::new("PROXY_VIA", "via", Group::Traffic)
    .value("NAME|off")
    .computed("ringway- and 8 random digits at each start")
    .keys(&[whole("/server/via")]).help("Name of this proxy in the Via field of forwarded requests, by which it detects forwarding loops. `off` sends no Via and detects none");

pub(crate) static PUBLIC_HEALTH: Setting = Setting::new("PROXY_PUBLIC_HEALTH", "public-health", Group::Traffic)
    .value("PATH@HOST,...")
    .keys(&[whole("/server/public_health")]).help("Health endpoints on the public ports, for load balancers that probe by address: 200 while ringway serves, 503 while it drains. As /healthz@* for any host, or /healthz@lb.example");

pub(crate) static BODY_MAX: Setting = Setting::new("PROXY_BODY_MAX", "body-max", Group::Traffic)
    .aliases(&[also("PROXY_BODY_LIMIT")])
    .value("BYTES")
    .default("0")
    .keys(&[whole("/limits/max_body_size")])
    .help("Largest request body, as 500KB or 10MiB; longer ones get 413. 0: no limit");

pub(crate) static CONNECTIONS_MAX: Setting =
    Setting::new("PROXY_CONNECTIONS_MAX", "connections-max", Group::Traffic)
        .value("COUNT")
        .computed("65536, or as many as open files and memory allow")
        .keys(&[whole("/limits/max_connections_per_worker")])
        .help("Most client connections per worker; when all workers are full, further ones get 503");

pub(crate) static UNAVAILABLE_STATUS: Setting =
    Setting::new("PROXY_UNAVAILABLE_STATUS", "unavailable-status", Group::Traffic)
        .value("502|503")
        .default("502")
        .keys(&[whole("/server/unavailable_status")])
        .help("Status of the response when no instance of an app can be reached");

pub(crate) static HEAD_TIMEOUT: Setting = Setting::new("PROXY_HEAD_TIMEOUT", "head-timeout", Group::Timeouts)
    .value("TIME")
    .default("10s")
    .keys(&[whole("/server/timeouts/read_header"), whole("/read_header_timeout")])
    .help("Longest time for a client to send the head of a request");

pub(crate) static IDLE_TIMEOUT: Setting = Setting::new("PROXY_IDLE_TIMEOUT", "idle-timeout", Group::Timeouts)
    .value("TIME")
    .default("90s")
    .keys(&[whole("/server/timeouts/idle"), whole("/listener/timeouts/idle"), whole("/idle_timeout")])
    .help("Longest time between two requests on one client connection");

pub(crate) static CONNECT_TIMEOUT: Setting =
    Setting::new("PROXY_CONNECT_TIMEOUT", "connect-timeout", Group::Timeouts)
        .value("TIME")
        .default("5s")
        .keys(&[whole("/server/timeouts/connect")])
        .help("Longest time to connect to an instance; 5s at most");

pub(crate) static RESPONSE_TIMEOUT: Setting = Setting::new(
    "PROXY_RESPONSE_TIMEOUT",
    "response-timeout",
    Group::Timeouts,
)
.value("TIME")
.default("30s")
.keys(&[whole("/server/timeouts/response")])
.help(
    "Longest time from the last byte of a request to the whole head of its final response; gRPC to an HTTP/2 \
             instance has --stream-idle-timeout where that is longer",
);

pub(crate) static BODY_TIMEOUT: Setting = Setting::new("PROXY_BODY_TIMEOUT", "body-timeout", Group::Timeouts)
    .value("TIME")
    .default("60s")
    .keys(&[whole("/server/timeouts/body")])
    .help("Longest time without a byte of a body, in either direction. A whole transfer has no limit");

pub(crate) static STREAM_IDLE_TIMEOUT: Setting = Setting::new(
    "PROXY_STREAM_IDLE_TIMEOUT",
    "stream-idle-timeout",
    Group::Timeouts,
)
.value("TIME")
.default("0")
.keys(&[whole("/server/timeouts/stream_idle")]).help("Longest time without a byte in either direction of event streams, gRPC, NDJSON and WebSockets. 0: no limit; 1h for WebSockets");

pub(crate) static BODY_RATE_MIN: Setting = Setting::new(
    "PROXY_BODY_RATE_MIN",
    "body-rate-min",
    Group::Timeouts,
)
.value("BYTES")
.default("64")
.keys(&[whole("/limits/min_body_rate")])
.help("Lowest rate of a request body in bytes per second, over 30s, until its response begins. 0: no limit");

pub(crate) static DRAIN_TIMEOUT: Setting =
    Setting::new("PROXY_DRAIN_TIMEOUT", "drain-timeout", Group::Timeouts)
        .value("TIME")
        .default("30s")
        .keys(&[whole("/server/timeouts/drain")]).help("Time from SIGTERM until requests in flight are cut off; also from the removal of an instance, app or domain until its WebSockets are closed");

pub(crate) static API_PORT: Setting = Setting::new("PROXY_API_PORT", "api-port", Group::Api)
    .aliases(&[admin_address(Part::Port)])
    .value("PORT")
    .default("8080")
    .keys(&[part("/server/admin/address", Part::Port), part("/admin_address", Part::Port)])
    .help("Port of the admin API; 0 takes a free one");

pub(crate) static API_BIND: Setting = Setting::new("PROXY_API_BIND", "api-bind", Group::Api)
    .aliases(&[admin_address(Part::Host)])
    .value("IP,...")
    .default("127.0.0.1")
    .keys(&[part("/server/admin/address", Part::Host), part("/admin_address", Part::Host)])
    .help("Addresses of the admin API. Any beyond loopback needs a token or client certificates");

pub(crate) static API_SOCKET: Setting = Setting::new("PROXY_API_SOCKET", "api-socket", Group::Api)
    .value("PATH")
    .keys(&[whole("/server/admin/socket")])
    .help(
        "Unix socket of the admin API, beside the TCP listener; the mode of its file is its access control",
    );

pub(crate) static API_TOKEN: Setting = Setting::new("PROXY_API_TOKEN", "", Group::Api)
    .value("TOKEN")
    .secret()
    .help("Bearer token that clients of the admin API must send. Environment only: arguments are visible to all users");

pub(crate) static API_TOKEN_FILE: Setting =
    Setting::new("PROXY_API_TOKEN_FILE", "api-token-file", Group::Api)
        .value("PATH")
        .keys(&[whole("/server/admin/token_file")])
        .help("File with the bearer token, as from systemd's LoadCredential=");

pub(crate) static API_TOKENS_FILE: Setting =
    Setting::new("PROXY_API_TOKENS_FILE", "api-tokens-file", Group::Api)
        .value("PATH")
        .keys(&[whole("/server/admin/tokens_file")]).help("File of named tokens with the scopes read, register, purge, apply or admin, one on each line, as `ringway token create` prints it; a changed file is read again");

pub(crate) static API_CERT: Setting = Setting::new("PROXY_API_CERT", "api-cert", Group::Api)
    .value("PATH")
    .keys(&[whole("/server/admin/cert_file")])
    .help("PEM file of the admin API's certificate and its chain: addresses beyond loopback use TLS then");

pub(crate) static API_KEY: Setting = Setting::new("PROXY_API_KEY", "api-key", Group::Api)
    .value("PATH")
    .keys(&[whole("/server/admin/key_file")])
    .help("PEM file of that certificate's private key");

pub(crate) static API_CLIENT_CA: Setting = Setting::new("PROXY_API_CLIENT_CA", "api-client-ca", Group::Api)
    .value("PATH")
    .keys(&[whole("/server/admin/client_ca")]).help("PEM file of CAs: addresses of the admin API beyond loopback require a client certificate of one of them, beside the token where there is one");

pub(crate) static METRICS_ADDRESS: Setting =
    Setting::new("PROXY_METRICS_ADDRESS", "metrics-address", Group::Api)
        .value("ADDRESS")
        .keys(&[whole("/metrics/address")])
        .help("Further address for /metrics, /healthz, /ready and /health/*, without a token and with nothing else, as 127.0.0.1:9091; :9091 stands for all addresses");

pub(crate) static AUDIT_LOG: Setting = Setting::new("PROXY_AUDIT_LOG", "audit-log", Group::Api)
    .value("PATH|off")
    .computed("audit.log beside the store, NAME.audit.log beside one that is not named routes.db; off with PROXY_STORAGE=memory")
    .help("File with one line of JSON for each change over the admin API, also refused ones, chained by hashes; `ringway audit verify` checks it. It is rotated at 32 MiB, and 10 older files are kept");

pub(crate) static STORAGE: Setting = Setting::new("PROXY_STORAGE", "storage", Group::Storage)
    .value("KIND")
    .default("fjall")
    .keys(&[whole("/storage/kind")])
    .help("Store of the registrations: `fjall` on disk, or `memory`, which a restart empties");

pub(crate) static DB_PATH: Setting = Setting::new("PROXY_DB_PATH", "db-path", Group::Storage)
    .value("PATH")
    .computed("routes.db in $STATE_DIRECTORY, /var/lib/ringway or ~/.local/state/ringway")
    .keys(&[whole("/storage/path")])
    .help("Directory of the store; created when missing");

pub(crate) static HEALTH_CHECK_INTERVAL: Setting =
    Setting::new("HEALTH_CHECK_INTERVAL", "health-check-interval", Group::Health)
        .aliases(&[also("PROXY_HEALTH_CHECK_INTERVAL")])
        .value("TIME")
        .default("10s")
        .help("Time between two health checks of one instance, unless its registration sets another");

pub(crate) static HEALTH_CHECK_TIMEOUT: Setting =
    Setting::new("HEALTH_CHECK_TIMEOUT", "health-check-timeout", Group::Health)
        .aliases(&[also("PROXY_HEALTH_CHECK_TIMEOUT")])
        .value("TIME")
        .default("3s")
        .help("Longest time of one health check; a shorter interval shortens it");

pub(crate) static HEARTBEAT_TIMEOUT: Setting =
    Setting::new("HEARTBEAT_TIMEOUT", "heartbeat-timeout", Group::Health)
        .aliases(&[also("PROXY_HEARTBEAT_TIMEOUT")])
        .value("TIME")
        .default("30s")
        .help("Time after its last heartbeat at which an instance gets no more requests; after twice that time it is deregistered. An instance that never sent one depends on health checks alone");

pub(crate) static LOG_LEVEL: Setting = Setting::new("LOG_LEVEL", "log-level", Group::Logs)
    .aliases(&[also("PROXY_LOG_LEVEL")])
    .value("LEVEL")
    .default("info")
    .keys(&[whole("/logging/level")]).help(
        "error, warn, info, debug, trace or off, and levels of single modules, as `info,ringway_health=debug`",
    );

pub(crate) static LOG_FORMAT: Setting = Setting::new("LOG_FORMAT", "log-format", Group::Logs)
    .aliases(&[also("PROXY_LOG_FORMAT")])
    .value("json|text")
    .computed("text on a terminal, else json")
    .keys(&[whole("/logging/format")])
    .help("Format of log lines and of the access log");

pub(crate) static LOG_OUTPUT: Setting = Setting::new("LOG_OUTPUT", "log-output", Group::Logs)
    .aliases(&[also("PROXY_LOG_OUTPUT")])
    .value("WHERE")
    .default("stderr")
    .keys(&[whole("/logging/output")])
    .help(
        "stderr (or on), stdout, off, or a file, whose path has a / or a . in it; SIGHUP opens a file again",
    );

pub(crate) static ACCESS_LOG: Setting = Setting::new("ACCESS_LOG", "access-log", Group::Logs)
    .aliases(&[also("PROXY_ACCESS_LOG")])
    .value("WHERE")
    .default("off")
    .keys(&[whole("/logging/access_log")]).help("One line per request: off, on (stderr), stdout, or a file, whose path has a / or a . in it; SIGHUP opens a file again");

pub(crate) static ACCESS_LOG_FIELDS: Setting =
    Setting::new("ACCESS_LOG_FIELDS", "access-log-fields", Group::Logs)
        .aliases(&[also("PROXY_ACCESS_LOG_FIELDS")])
        .value("+NAME,-NAME")
        .default("+client_ip,+user_agent,+tenant,-query,-referer")
        .keys(&[whole("/logging/access_log_fields")]).help("Fields of the access log to add or to leave out; others stay as in the default. A query may hold tokens; the query of a referer is shown only with +query");

pub(crate) static WORKERS: Setting = Setting::new("PROXY_WORKERS", "workers", Group::Process)
    .value("COUNT")
    .computed("one per CPU that the process may use")
    .keys(&[whole("/server/workers")])
    .help("Worker threads of the data plane, each pinned to a CPU of its own");

pub(crate) static DRIVER: Setting = Setting::new("PROXY_DRIVER", "driver", Group::Process)
    .value("DRIVER")
    .default("auto")
    .keys(&[whole("/server/driver")])
    .help("I/O driver: auto, io_uring or epoll; `auto` takes io_uring where the kernel allows it");

pub(crate) static HTTPS_PORT: Setting = Setting::new("PROXY_HTTPS_PORT", "https-port", Group::Certificates)
    .value("PORT|off")
    .computed("443 when a certificate, a CA or PROXY_CERT_PATH is given, else off")
    .keys(&[whole("/server/https/port"), part("/https_address", Part::Port)])
    .help("Port of the public HTTPS listeners; 0 takes a free one");

pub(crate) static HTTPS_BIND: Setting = Setting::new("PROXY_HTTPS_BIND", "https-bind", Group::Certificates)
    .value("IP,...")
    .computed("as PROXY_HTTP_BIND")
    .keys(&[whole("/server/https/bind"), part("/https_address", Part::Host)])
    .help("Addresses of the public HTTPS listeners");

pub(crate) static TLS_CERT: Setting = Setting::new("PROXY_TLS_CERT", "tls-cert", Group::Certificates)
    .value("PATH")
    .keys(&[whole("/server/tls/cert"), whole("/listener/tls/cert")]).help("PEM file of the default certificate and its chain, for domains that it covers and that have none of their own. It must be valid at the start; a new file is loaded without a restart");

pub(crate) static TLS_KEY: Setting = Setting::new("PROXY_TLS_KEY", "tls-key", Group::Certificates)
    .value("PATH")
    .keys(&[whole("/server/tls/key"), whole("/listener/tls/key")])
    .help("PEM file of the default certificate's private key");

pub(crate) static TLS_MODERN: Setting = Setting::new("PROXY_TLS_MODERN", "tls-modern", Group::Certificates)
    .value("BOOL")
    .default("false")
    .keys(&[
        part("/server/tls/min_version", Part::IsModern),
        part("/listener/tls/min_version", Part::IsModern),
    ])
    .help("TLS 1.3 only (Mozilla's `modern`); else 1.2 and 1.3");

pub(crate) static HANDSHAKE_RATE: Setting =
    Setting::new("PROXY_HANDSHAKE_RATE", "handshake-rate", Group::Certificates)
        .value("COUNT")
        .default("100")
        .keys(&[whole("/server/tls/handshake_rate")]).help("TLS handshakes per second from one client address (IPv6: /64) on one worker; further ones are closed. 0: no limit. At most 256 of them are in progress at a time in any case. Trusted proxies have neither limit");

pub(crate) static CERT_PATH: Setting = Setting::new("PROXY_CERT_PATH", "cert-path", Group::Certificates)
    .value("PATH")
    .computed("`certificates` beside the store")
    .keys(&[whole("/storage/certificates")])
    .help("Directory of the certificates, their keys, and the accounts at CAs");

pub(crate) static ACME_EMAIL: Setting = Setting::new("ACME_EMAIL", "acme-email", Group::Certificates)
    .aliases(&[also("PROXY_ACME_EMAIL")])
    .value("ADDRESS")
    .keys(&[whole("/acme/email")]).help("Contact of the account at the CA. With it, certificates are ordered from Let's Encrypt; without it and without a directory none are ordered");

pub(crate) static ACME_STAGING: Setting = Setting::new("ACME_STAGING", "acme-staging", Group::Certificates)
    .aliases(&[also("PROXY_ACME_STAGING")])
    .value("BOOL")
    .default("false")
    .keys(&[whole("/acme/staging")])
    .help("Use Let's Encrypt's staging environment: wide limits, certificates that no browser trusts");

pub(crate) static ACME_DIRECTORY_URL: Setting =
    Setting::new("ACME_DIRECTORY_URL", "acme-directory-url", Group::Certificates)
        .value("URL")
        .keys(&[whole("/acme/directory_url")])
        .help("Directory URL of another CA, in place of Let's Encrypt's");

pub(crate) static ACME_FALLBACK_URL: Setting =
    Setting::new("ACME_FALLBACK_URL", "acme-fallback-url", Group::Certificates)
        .value("URL")
        .keys(&[whole("/acme/fallback_url")])
        .help("Directory URL of a second CA, used while the first one is unavailable");

pub(crate) static ACME_CA_BUNDLE: Setting =
    Setting::new("ACME_CA_BUNDLE", "acme-ca-bundle", Group::Certificates)
        .value("PATH")
        .keys(&[whole("/acme/ca_bundle")])
        .help("PEM file of the roots that verify the CA's HTTPS endpoint, in place of the system's");

pub(crate) static ACME_PROFILE: Setting = Setting::new("ACME_PROFILE", "acme-profile", Group::Certificates)
    .value("NAME")
    .keys(&[whole("/acme/profile")])
    .help("Certificate profile to order where the CA offers it, as `shortlived` or `tlsserver`");

pub(crate) static ACME_EAB_KID: Setting = Setting::new("ACME_EAB_KID", "acme-eab-kid", Group::Certificates)
    .value("ID")
    .keys(&[whole("/acme/eab_kid")])
    .help("Key ID of the CA's external account binding");

pub(crate) static ACME_EAB_HMAC: Setting = Setting::new("ACME_EAB_HMAC", "", Group::Certificates)
    .value("KEY")
    .secret()
    .help("HMAC key of the CA's external account binding, in base64url. Environment only: arguments are visible to all users");

pub(crate) static ACME_RENEW_BEFORE: Setting = Setting::new(
    "ACME_RENEW_BEFORE",
    "acme-renew-before",
    Group::Certificates,
)
.value("TIME")
.computed("in the window that the CA suggests (ARI), else when a third of the lifetime is left")
.keys(&[whole("/acme/renew_before")]).help("Time before expiry at which to renew, as 30d; used where it is less than half of the certificate's lifetime");

pub(crate) static CERTIFICATE_WEBHOOK: Setting =
    Setting::new("PROXY_CERTIFICATE_WEBHOOK", "certificate-webhook", Group::Certificates)
        .value("URL")
        .keys(&[whole("/acme/webhook")]).help("Webhook of the operator for every certificate that is issued, renewed, failed or about to expire, beside the webhooks of apps");

pub(crate) static CERTIFICATE_WEBHOOK_SECRET: Setting =
    Setting::new("PROXY_CERTIFICATE_WEBHOOK_SECRET", "", Group::Certificates).value("SECRET").secret().help(
        "Secret that signs deliveries to that webhook. Environment only: arguments are visible to all users",
    );

pub(crate) static DNS_RESOLVER: Setting = Setting::new("DNS_RESOLVER", "dns-resolver", Group::Certificates)
    .aliases(&[also("PROXY_DNS_RESOLVER")])
    .value("IP:PORT")
    .computed("those of /etc/resolv.conf")
    .keys(&[whole("/acme/dns_resolver")])
    .help("DNS resolver for the records of domains, which are checked before a certificate is ordered");

pub(crate) static PUBLIC_ADDRESSES: Setting =
    Setting::new("PROXY_PUBLIC_ADDRESSES", "public-addresses", Group::Certificates)
        .value("IP,...")
        .keys(&[whole("/acme/public_addresses")])
        .help(
            "Public addresses of this machine; with them, a domain that points elsewhere is reported at once",
        );

pub(crate) static ACME_CHALLENGE_PORT: Setting =
    Setting::new("ACME_CHALLENGE_PORT", "acme-challenge-port", Group::Certificates)
        .value("PORT")
        .default("80")
        .keys(&[whole("/acme/challenge_port")])
        .help("Port from which the CA and our own probe fetch challenges; other than 80 in tests only");

const fn also(name: &'static str) -> Alias {
    Alias { name, flag: None, part: Part::Whole }
}

/// Address of the admin API in one value.
const fn admin_address(part: Part) -> Alias {
    let flag = AliasFlag {
        flag: "admin",
        value: "ADDRESS",
        help: "Address of the admin API with its port, as 127.0.0.1:9090, or :9090 for all addresses, which needs a token",
    };
    Alias { name: "PROXY_ADMIN_ADDRESS", flag: Some(flag), part }
}

const fn whole(path: &'static str) -> Key {
    Key { path, part: Part::Whole }
}

const fn part(path: &'static str, part: Part) -> Key {
    Key { path, part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::setting::Fallback;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_flags_are_unique() {
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
    fn settings_of_a_group_are_adjacent() {
        let mut groups: Vec<_> = ALL.iter().map(|setting| setting.group).collect();
        groups.dedup();
        let titles: BTreeSet<_> = groups.iter().map(|group| group.title()).collect();
        assert_eq!(titles.len(), groups.len());
    }
}
