//! Public listeners: those of the settings and those of the configuration's list, and the ports of all
//! listeners.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ringway::{HttpMode, Listener};
use ringway_config::Place;

use super::reader::Reader;
use super::{HEAD_BYTES_MAX, HEAD_BYTES_MIN, LISTENER_CONNECTIONS_MAX};
use crate::cli::catalogue as c;
use crate::cli::origin::{ConfigurationProblem, Origin, Problem, Value, Warning};
use crate::cli::parse;
use crate::cli::setting::Setting;

/// Timeouts and limits of a public listener; whatever is absent is as in the other settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenerLimits {
    pub(crate) head_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) head_bytes_max: Option<usize>,
    pub(crate) connections_max: Option<u32>,
}

/// Listener of the configuration's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedListener {
    /// Name in messages: its place and path.
    pub(crate) name: String,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) protocol: Protocol,
    pub(crate) limits: ListenerLimits,
}

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http(HttpMode),
    Https,
}

/// The list, and the default certificate in it.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) listeners: Vec<ListedListener>,
    pub(super) pair: Option<Pair>,
}

/// Files of a default certificate.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    place: Place,
    path: String,
}

impl Pair {
    fn is_same(&self, other: &Self) -> bool {
        (&self.certificate, &self.key) == (&other.certificate, &other.key)
    }
}

impl ListenerLimits {
    /// Applies them to a listener.
    pub(crate) fn apply(&self, mut listener: Listener) -> Listener {
        let Self { head_timeout, idle_timeout, read_timeout, write_timeout, head_bytes_max, connections_max } =
            *self;
        listener = head_timeout.into_iter().fold(listener, Listener::head_timeout);
        listener = idle_timeout.into_iter().fold(listener, Listener::idle_timeout);
        listener = read_timeout.into_iter().fold(listener, Listener::read_timeout);
        listener = write_timeout.into_iter().fold(listener, Listener::write_timeout);
        listener = head_bytes_max.into_iter().fold(listener, Listener::head_bytes_max);
        connections_max.into_iter().fold(listener, Listener::connections_max)
    }

    /// These, and for what is absent those of `other`.
    fn or(self, other: &Self) -> Self {
        Self {
            head_timeout: self.head_timeout.or(other.head_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            read_timeout: self.read_timeout.or(other.read_timeout),
            write_timeout: self.write_timeout.or(other.write_timeout),
            head_bytes_max: self.head_bytes_max.or(other.head_bytes_max),
            connections_max: self.connections_max.or(other.connections_max),
        }
    }
}

impl Listed {
    /// Whether one of them has TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.listeners.iter().any(|listener| listener.protocol == Protocol::Https)
    }
}

impl Reader<'_> {
    /// Reads the list of listeners. `usual`: limits of those that have none of their own.
    pub(super) fn listed(&mut self, mode: Option<HttpMode>, usual: &ListenerLimits) -> Listed {
        let mut listed = Listed::default();
        for at in 0..self.statics.count("/listeners") {
            let path = format!("/listeners/{at}");
            let Some(place) = self.statics.place_below(&path).cloned() else { continue };
            let addresses = self.at_key(&format!("{path}/address"), parse::listen_addresses);
            if addresses.is_none() && self.statics.get(&format!("{path}/address")).is_none() {
                self.wrong(&place, &path, ConfigurationProblem::NoAddress);
            }
            let protocol = self.protocol(&path, &place, mode);
            if protocol == Some(Protocol::Https) {
                match (&listed.pair, self.pair(&path, &place)) {
                    (None, Some(pair)) => listed.pair = Some(pair),
                    (Some(first), Some(pair)) if !first.is_same(&pair) => {
                        self.wrong(&pair.place, &pair.path, ConfigurationProblem::SecondCertificate);
                    }
                    _ => {}
                }
            }
            let limits = self.limits(&path).or(usual);
            if let (Some(addresses), Some(protocol)) = (addresses, protocol) {
                let name = format!("{}:{}: {path}", place.file, place.line);
                listed.listeners.push(ListedListener { name, addresses, protocol, limits });
            }
        }
        listed
    }

    /// Drops the listed listeners of a protocol where a flag or a variable says its port: the file says what
    /// is served otherwise.
    pub(super) fn replace_listed(
        &mut self,
        listed: &mut Listed,
        port: &'static Setting,
        is_of: impl Fn(Protocol) -> bool,
    ) {
        let Some(by @ (Origin::Flag(_) | Origin::Environment(_))) = self.given_at(port) else { return };
        let (dropped, kept) = std::mem::take(&mut listed.listeners)
            .into_iter()
            .partition(|one: &ListedListener| is_of(one.protocol));
        listed.listeners = kept;
        for listener in dropped as Vec<ListedListener> {
            self.warn_once(Warning::Shadowed { name: listener.name, by: by.to_string() });
        }
    }

    fn protocol(&mut self, path: &str, place: &Place, mode: Option<HttpMode>) -> Option<Protocol> {
        let word = |text: &str| match text {
            "http" => Ok(false),
            "https" => Ok(true),
            _ => Err(parse::ValueError::Word(&["http", "https"])),
        };
        let given = self.at_key(&format!("{path}/protocol"), word);
        if given.is_none() && self.statics.get(&format!("{path}/protocol")).is_some() {
            return None;
        }
        let enabled = self.at_key(&format!("{path}/tls/enabled"), parse::boolean);
        let has_tls = enabled.unwrap_or_else(|| self.statics.place_below(&format!("{path}/tls")).is_some());
        let is_https = given.unwrap_or(has_tls);
        match (is_https, enabled, has_tls) {
            (false, _, true) => self.wrong(place, path, ConfigurationProblem::TlsOfHttp),
            (true, Some(false), _) => {
                self.wrong(place, &format!("{path}/tls/enabled"), ConfigurationProblem::HttpsWithoutTls);
            }
            _ => {}
        }
        if self.statics.get(&format!("{path}/tls/min_version")).is_some() {
            self.wrong(place, &format!("{path}/tls/min_version"), ConfigurationProblem::TlsVersion);
        }
        let own = self.at_key(&format!("{path}/mode"), parse::http_mode);
        match (is_https, own) {
            (true, Some(_)) => {
                self.wrong(place, &format!("{path}/mode"), ConfigurationProblem::ModeOfHttps);
                None
            }
            (true, None) => Some(Protocol::Https),
            (false, own) => own.or(mode).map(Protocol::Http),
        }
    }

    /// Default certificate of a listener.
    fn pair(&mut self, path: &str, place: &Place) -> Option<Pair> {
        let mut file = |one: &str, other: &str| {
            self.at_key(&format!("{path}/tls/{one}"), parse::path)
                .or_else(|| self.at_key(&format!("{path}/tls/{other}"), parse::path))
        };
        match (file("cert", "cert_file"), file("key", "key_file")) {
            (Some(certificate), Some(key)) => {
                Some(Pair { certificate, key, place: place.clone(), path: format!("{path}/tls") })
            }
            (None, None) => None,
            _ => {
                self.wrong(place, &format!("{path}/tls"), ConfigurationProblem::HalfPair);
                None
            }
        }
    }

    fn limits(&mut self, path: &str) -> ListenerLimits {
        let mut time = |name: &str| {
            let parse = |text: &str| parse::time(text, parse::TIME_MIN, parse::TIME_MAX);
            self.at_key(&format!("{path}/{name}"), parse)
        };
        ListenerLimits {
            head_timeout: time("read_header_timeout"),
            idle_timeout: time("idle_timeout"),
            read_timeout: time("read_timeout"),
            write_timeout: time("write_timeout"),
            head_bytes_max: self.at_key(&format!("{path}/limits/max_header_bytes"), |text| {
                parse::bytes(text, HEAD_BYTES_MIN, HEAD_BYTES_MAX)
            }),
            connections_max: self.at_key(&format!("{path}/limits/max_concurrent_connections"), |text| {
                parse::count(text, 1, LISTENER_CONNECTIONS_MAX).map(|count| count as u32)
            }),
        }
    }

    /// Files of the default certificate: those of the settings, else those of the list.
    pub(super) fn default_pair(
        &mut self,
        settings: (Option<PathBuf>, Option<PathBuf>),
        listed: &Listed,
    ) -> (Option<PathBuf>, Option<PathBuf>) {
        let Some(pair) = &listed.pair else { return settings };
        let own = (Some(pair.certificate.clone()), Some(pair.key.clone()));
        match self.origin_of(&c::TLS_CERT) {
            Origin::Default => own,
            _ if settings == own => own,
            Origin::File { .. } => {
                self.wrong(&pair.place, &pair.path, ConfigurationProblem::SecondCertificate);
                settings
            }
            by => {
                let name = format!("{}: {}", pair.place, pair.path);
                self.warn_once(Warning::Shadowed { name, by: by.to_string() });
                settings
            }
        }
    }

    fn wrong(&mut self, place: &Place, path: &str, error: ConfigurationProblem) {
        let (place, path) = (place.clone(), path.to_owned());
        self.problems.push(Problem::Configuration { place, path, error });
    }

    /// Moves the admin API off its default port where a listener of the configuration takes that, and nobody
    /// has chosen a port.
    pub(super) fn move_api(
        &mut self,
        listeners: &[(String, Vec<SocketAddr>)],
        metrics: &[SocketAddr],
        api: &mut [SocketAddr],
    ) {
        if self.is_given(&c::API_PORT) {
            return;
        }
        let is_taken = |addresses: &[SocketAddr], api: &[SocketAddr]| {
            addresses.iter().any(|one| api.iter().any(|other| clash(one, other)))
        };
        let Some((listener, _)) = listeners.iter().find(|(_, taken)| is_taken(taken, api)) else { return };
        for port in API_PORTS {
            api.iter_mut().for_each(|address| address.set_port(port));
            let others = listeners.iter().map(|(_, addresses)| addresses.as_slice()).chain([metrics]);
            if !others.into_iter().any(|taken| is_taken(taken, api)) {
                break;
            }
        }
        let Some(to) = api.first().copied() else { return };
        if let Some(row) = self.rows.iter_mut().find(|row| row.setting.name == c::API_PORT.name) {
            row.value = Value::Shown(to.port().to_string());
        }
        self.warnings.push(Warning::ApiMoved { listener: listener.clone(), to });
    }

    /// Name of a listener of the settings, where its port comes from the configuration or from a name that
    /// its documents use.
    pub(super) fn documented_listener(&self) -> Option<String> {
        match self.origin_of(&c::HTTP_PORT) {
            Origin::File { path, place } => Some(format!("{}:{}: {path}", place.file, place.line)),
            Origin::Environment(name) if name.to_string() == "PROXY_PORT" => Some(name.to_string()),
            _ => None,
        }
    }

    /// Records every pair of listeners that would take the same port.
    pub(super) fn check_ports(&mut self, listeners: &[(String, Vec<SocketAddr>)]) {
        for (at, (one, addresses)) in listeners.iter().enumerate() {
            for (other, others) in &listeners[at + 1..] {
                if let Some(taken) =
                    others.iter().find(|address| addresses.iter().any(|held| clash(address, held)))
                {
                    let (one, other) = (one.clone(), other.clone());
                    self.problems.push(Problem::Overlap { one, other, address: *taken });
                }
            }
        }
    }
}

/// Whether two listeners cannot both be bound.
fn clash(one: &SocketAddr, other: &SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip()
        || (one.is_ipv4() == other.is_ipv4() && (one.ip().is_unspecified() || other.ip().is_unspecified()));
    one.port() != 0 && one.port() == other.port() && same_ip
}

/// Ports of the admin API beside its default, in this order: the first that is free of other listeners.
const API_PORTS: [u16; 3] = [9090, 9091, 9092];
