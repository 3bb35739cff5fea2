//! Static settings: the keys of a document that configure the process, and the comparison after a reload.
//!
//! A change of a static value takes effect with the next start. The text of each value is kept as written;
//! the process parses it together with its flags and its environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Finding, Severity, StaticValue};

/// Key of a static value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticKey {
    /// JSON pointer; `*` is any position in a list.
    pub path: &'static str,
    /// Form of the value.
    pub kind: StaticKind,
    /// Whether a list of such values may stand in its place.
    pub is_list: bool,
    /// Why it has no effect in this version; absent when it has one.
    pub unsupported: Option<&'static str>,
    /// Description for the schema.
    pub doc: &'static str,
}

/// Form of a static value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticKind {
    /// Any text.
    Text,
    /// Path of a file or a folder.
    Path,
    /// `true` or `false`.
    Bool,
    /// Whole number.
    Count,
    /// Number of bytes, as `16384`, `500KB`, `10MiB`.
    Bytes,
    /// Time, as `500ms`, `10s`, `1m`; a bare number is seconds.
    Time,
    /// Port from 0 to 65535.
    Port,
    /// Address with a port, as `10.0.0.5:8080`; without a host, as `:8080`, all addresses.
    Address,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// All keys of static values, by section.
pub static STATIC_KEYS: &[StaticKey] = &[
    key("/http_address", Address, "Address of the HTTP listener"),
    key("/https_address", Address, "Address of the HTTPS listener"),
    key("/admin_address", Address, "Address of the admin API; any beyond loopback needs a token"),
    key("/read_header_timeout", Time, "Longest time for a client to send the head of a request"),
    key("/idle_timeout", Time, "Longest time between two requests on one client connection"),
    // Listeners, each with its own values.
    key("/listeners/*/address", Address, "Address of the listener"),
    key("/listeners/*/protocol", Word(&["http", "https"]), "Protocol: http or https"),
    key("/listeners/*/mode", MODE, HTTP_MODE),
    key("/listeners/*/read_header_timeout", Time, "Longest time for a client to send the head of a request"),
    key("/listeners/*/read_timeout", Time, "Longest time in which a client sends no byte of a request"),
    key("/listeners/*/write_timeout", Time, "Longest time in which a client takes no byte of its response"),
    key("/listeners/*/idle_timeout", Time, "Longest time between two requests on one client connection"),
    key("/listeners/*/limits/max_header_bytes", Bytes, "Longest request head"),
    key("/listeners/*/limits/max_concurrent_connections", Count, "Most connections at a time"),
    key("/listeners/*/tls/enabled", Bool, "Whether the listener has TLS"),
    key("/listeners/*/tls/cert", Path, "PEM file of the default certificate and its chain"),
    key("/listeners/*/tls/key", Path, "PEM file of its private key"),
    key("/listeners/*/tls/cert_file", Path, "The same as `cert`"),
    key("/listeners/*/tls/key_file", Path, "The same as `key`"),
    key("/listeners/*/tls/min_version", TLS_VERSION, "Lowest TLS version of the process"),
    // The one listener of the short form.
    key("/listener/host", Text, "Address of the listener"),
    key("/listener/port", Port, "Port of the listener"),
    key("/listener/tls/enabled", Bool, "Whether the listener has TLS"),
    key("/listener/tls/cert", Path, "PEM file of the default certificate and its chain"),
    key("/listener/tls/key", Path, "PEM file of its private key"),
    key("/listener/tls/min_version", TLS_VERSION, "Lowest TLS version"),
    key("/listener/timeouts/read", Time, "Longest time in which a client sends no byte of a request"),
    key("/listener/timeouts/write", Time, "Longest time in which a client takes no byte of its response"),
    key("/listener/timeouts/idle", Time, "Longest time between two requests on one client connection"),
    key("/listener/limits/max_header_bytes", Bytes, "Longest request head"),
    key("/listener/limits/max_concurrent_connections", Count, "Most connections at a time"),
    // The server: the same short form, and the settings of the process.
    key("/server/host", Text, "Address of the listener"),
    key("/server/port", Port, "Port of the listener"),
    key("/server/tls/enabled", Bool, "Whether the listener has TLS"),
    key("/server/tls/cert", Path, "PEM file of the default certificate and its chain"),
    key("/server/tls/key", Path, "PEM file of its private key"),
    key("/server/tls/min_version", TLS_VERSION, "Lowest TLS version"),
    key("/server/tls/handshake_rate", Count, "TLS handshakes per second from one client address"),
    key("/server/timeouts/read", Time, "Longest time in which a client sends no byte of a request"),
    key("/server/timeouts/write", Time, "Longest time in which a client takes no byte of its response"),
    key("/server/timeouts/idle", Time, "Longest time between two requests on one client connection"),
    key("/server/timeouts/read_header", Time, "Longest time for a client to send the head of a request"),
    key("/server/timeouts/connect", Time, "Longest time to connect to an endpoint"),
    key("/server/timeouts/response", Time, "Longest time from a request to the head of its response"),
    key("/server/timeouts/body", Time, "Longest time without a byte of a body"),
    key("/server/timeouts/stream_idle", Time, "Longest time without a byte of a stream or a WebSocket"),
    key("/server/timeouts/drain", Time, "Longest time for requests in flight at the end"),
    key("/server/limits/max_header_bytes", Bytes, "Longest request head"),
    key("/server/limits/max_concurrent_connections", Count, "Most connections of a listener at a time"),
    list("/server/http/bind", Text, "Addresses of the HTTP listener"),
    key("/server/http/port", Port, "Port of the HTTP listener"),
    key("/server/http/mode", MODE, HTTP_MODE),
    list("/server/https/bind", Text, "Addresses of the HTTPS listener"),
    key("/server/https/port", Text, "Port of the HTTPS listener, or off"),
    key("/server/admin/address", Address, "Address of the admin API; any beyond loopback needs a token"),
    key("/server/admin/socket", Path, "Unix socket of the admin API"),
    key("/server/admin/token_file", Path, "File with the bearer token of the admin API"),
    key("/server/admin/tokens_file", Path, "File with the named tokens of the admin API"),
    key("/server/admin/cert_file", Path, "PEM file of the admin API's certificate"),
    key("/server/admin/key_file", Path, "PEM file of its private key"),
    key("/server/admin/client_ca", Path, "PEM file of the CA of the admin API's clients"),
    list("/server/trusted_proxies", Text, "Networks of proxies whose forwarding headers are trusted"),
    list("/server/proxy_protocol", Text, "Networks of load balancers that send a PROXY header"),
    list("/server/public_health", Text, "Health endpoints on the public ports, as /healthz@*"),
    key("/server/unavailable_status", Word(&["502", "503"]), "Status when no endpoint can be reached"),
    key("/server/via", Text, "Name in Via, or off"),
    key("/server/workers", Count, "Worker threads of the data plane"),
    key("/server/driver", Word(&["auto", "io_uring", "epoll"]), "I/O driver"),
    key("/limits/max_url_length", Bytes, "Longest request target"),
    key("/limits/max_header_size", Bytes, "Longest request head"),
    key("/limits/max_headers_count", Count, "Most header fields of a request"),
    key("/limits/max_body_size", Bytes, "Largest request body; 0 is no limit"),
    key("/limits/max_connections_per_worker", Count, "Most client connections of each worker"),
    key("/limits/min_body_rate", Bytes, "Lowest rate of a request body in bytes per second; 0 is no limit"),
    key("/storage/kind", Word(&["fjall", "memory"]), "Store of the registrations"),
    key("/storage/path", Path, "Directory of the store"),
    key("/storage/certificates", Path, "Directory of the certificates"),
    key("/logging/level", Text, "Level: debug, info, warn, error, and levels of single modules"),
    key("/logging/format", Word(&["json", "text"]), "Format of log lines"),
    key("/logging/output", Text, "stdout, stderr, off, `file` for `file.path`, or a path"),
    key("/logging/file/path", Path, "File of the log"),
    later("/logging/file/max_size", Bytes, ROTATION, "Size at which the file is rotated"),
    later("/logging/file/max_age", Text, ROTATION, "Age at which rotated files are removed"),
    later("/logging/file/max_backups", Count, ROTATION, "Rotated files that are kept"),
    key("/logging/access_log", Text, "Access log: stdout, stderr, off or a path"),
    list("/logging/access_log_fields", Text, "Fields to add (+NAME) or to leave out (-NAME)"),
    key("/metrics/enabled", Bool, "Whether the metrics are served on an address of their own"),
    key("/metrics/address", Address, "Address of the metrics"),
    key("/metrics/port", Port, "Port of the metrics, on the loopback address"),
    key("/metrics/path", Word(&["/metrics"]), "Path of the metrics"),
    key("/metrics/exporter", Word(&["prometheus"]), "Format of the metrics"),
    later("/metrics/compat", Word(&["http"]), "other names are not", "Names of the metrics"),
    key("/cache/enabled", Bool, "Whether responses are stored; without, no route has a cache"),
    key("/cache/max_memory", Bytes, "Memory of all stored responses"),
    key("/cache/max_entries", Count, "Most stored responses"),
    key(
        "/cache/default_ttl",
        Time,
        "Lifetime of responses without one of their own, of caches without a ttl",
    ),
    key("/acme/email", Text, "Contact of the account at the CA"),
    key("/acme/staging", Bool, "Use Let's Encrypt's staging environment"),
    key("/acme/directory_url", Text, "Directory URL of another CA"),
    key("/acme/fallback_url", Text, "Directory URL of a second CA"),
    key("/acme/ca_bundle", Path, "PEM file of the roots of the CA's endpoint"),
    key("/acme/profile", Text, "Certificate profile to order"),
    key("/acme/eab_kid", Text, "Key ID of the external account binding"),
    key("/acme/renew_before", Time, "Time before expiry at which to renew"),
    key("/acme/challenge_port", Port, "Port from which challenges are fetched"),
    key("/acme/webhook", Text, "Webhook for every certificate event"),
    key("/acme/dns_resolver", Text, "DNS resolver for the records of domains"),
    list("/acme/public_addresses", Text, "Public addresses of this machine"),
    key("/providers/resolver/url", Text, "Service that resolves hosts that are not registered"),
];

use StaticKind::{Address, Bool, Bytes, Count, Path, Port, Text, Time, Word};

const MODE: StaticKind = Word(&["redirect", "https_only", "plain"]);
const HTTP_MODE: &str = "Mode without TLS: redirect, https_only or plain";
const TLS_VERSION: StaticKind = Word(&["TLS1.2", "TLS1.3"]);
const ROTATION: &str = "rotation is not; rotate with logrotate and SIGHUP";

const fn key(path: &'static str, kind: StaticKind, doc: &'static str) -> StaticKey {
    StaticKey { path, kind, is_list: false, unsupported: None, doc }
}

const fn list(path: &'static str, kind: StaticKind, doc: &'static str) -> StaticKey {
    StaticKey { is_list: true, ..key(path, kind, doc) }
}

const fn later(
    path: &'static str,
    kind: StaticKind,
    unsupported: &'static str,
    doc: &'static str,
) -> StaticKey {
    StaticKey { unsupported: Some(unsupported), ..key(path, kind, doc) }
}

impl StaticKey {
    /// Whether this is the key of the value at a path.
    pub fn covers(&self, path: &str) -> bool {
        let mut names = path.split('/');
        let known = self.path.split('/').all(|known| match names.next() {
            Some(name) => known == name || known == "*" && is_index(name),
            None => false,
        });
        known && (names.next().is_none_or(|index| self.is_list && is_index(index)) && names.next().is_none())
    }
}

fn is_index(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Findings about values that several files give, such as two lists of listeners: none would be the right
/// one.
pub(crate) fn repeated(statics: &[StaticValue]) -> Vec<Finding> {
    let mut first: BTreeMap<&str, &StaticValue> = BTreeMap::new();
    let mut findings = Vec::new();
    for value in statics {
        match first.get(&*value.path) {
            Some(other) => findings.push(Finding {
                severity: Severity::Error,
                code: "duplicate",
                pointer: value.path.to_string(),
                message: format!("is given in {} already; keep one of them", other.place),
                place: Some(value.place.clone()),
            }),
            None => {
                first.insert(&value.path, value);
            }
        }
    }
    findings
}

/// Paths of the static values that differ between the document of the start and a newer one, in order: a
/// restart is needed for them. Values that are in one of the two only are among them.
pub fn restart_needed(running: &[StaticValue], newer: &[StaticValue]) -> Vec<Arc<str>> {
    let values = |statics: &[StaticValue]| -> BTreeMap<Arc<str>, Arc<str>> {
        statics.iter().map(|value| (value.path.clone(), value.value.clone())).collect()
    };
    let (running, newer) = (values(running), values(newer));
    let changed = running.iter().filter(|(path, value)| newer.get(*path) != Some(*value));
    let added = newer.iter().filter(|(path, _)| !running.contains_key(*path));
    let mut paths: Vec<_> = changed.chain(added).map(|(path, _)| path.clone()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
#[path = "statics_tests.rs"]
mod tests;
