//! The stored form of a record: our own fields as JSON, sealed with a checksum over kind, key and content.
//!
//! These structs are the file format. They are not the model's types, so that the model may change without
//! changing what is on disk; a change here is a new [`SCHEMA`](crate::mark::SCHEMA).

use std::fmt;
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    App, AppId, BodyText, CertificateFiles, CertificateMode, ClientAuth, ClientAuthNeed, Delta, Domain,
    DomainKind, FailurePolicy, FilePath, Generation, HealthCheck, Hostname, HttpProbe, Instance, InstanceId,
    OnAllUnhealthy, Probe, ProbeHeaders, ProbeHost, ProbeMethod, ProbePath, StatusRanges, StatusSet, Target,
    TenantId, TimeoutPolicy, Timestamp, UpstreamTls, Webhook, WebhookSecret, WebhookUrl, limits,
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// An app.
    App,
    /// An instance.
    Instance,
    /// A domain.
    Domain,
}

impl RecordKind {
    pub(crate) const ALL: [Self; 3] = [Self::App, Self::Instance, Self::Domain];

    /// The word for it, also in exports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Instance => "instance",
            Self::Domain => "domain",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Distinguishes records of different kinds and equal keys in checksums; 0 is the mark.
    fn tag(self) -> u8 {
        self as u8 + 1
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names a record.
pub(crate) type Key = (RecordKind, String);

/// A record as it is stored: eight bytes of checksum, then JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    fn new(kind: RecordKind, key: &str, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(8 + body.len());
        bytes.extend_from_slice(&checksum(kind.tag(), key.as_bytes(), body).to_le_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Takes stored bytes when they fit their checksum.
    pub(crate) fn verify(kind: RecordKind, key: &str, bytes: &[u8]) -> Option<Self> {
        let (seal, body) = bytes.split_first_chunk::<8>()?;
        (checksum(kind.tag(), key.as_bytes(), body).to_le_bytes() == *seal).then(|| Self(bytes.to_vec()))
    }

    /// Takes the two parts of an export's line when they fit; the key stands in the body.
    pub(crate) fn from_export(kind: RecordKind, seal: u64, body: &str) -> Option<(String, Self)> {
        let key = Record::decode(kind, body.as_bytes())?.key().1;
        let sealed = Self::new(kind, &key, body.as_bytes());
        (sealed.seal() == seal).then_some((key, sealed))
    }

    /// The checksum; 0 when there is none.
    pub(crate) fn seal(&self) -> u64 {
        self.0.first_chunk::<8>().map_or(0, |seal| u64::from_le_bytes(*seal))
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.0.get(8..).unwrap_or_default()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads the seal from stored bytes that were verified before.
pub(crate) fn seal_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |seal| u64::from_le_bytes(*seal))
}

pub(crate) fn checksum(tag: u8, key: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[tag]);
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(body);
    hash.digest()
}

/// A record of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    App(App),
    Instance(Instance),
    Domain(Domain),
}

impl Record {
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::App(app) => (RecordKind::App, app.id.to_string()),
            Self::Instance(instance) => (RecordKind::Instance, instance.id.to_string()),
            Self::Domain(domain) => (RecordKind::Domain, domain.name.to_string()),
        }
    }

    pub(crate) fn encode(&self) -> (Key, Sealed) {
        let key = self.key();
        let body = match self {
            Self::App(app) => serde_json::to_vec(&StoredApp::from(app)),
            Self::Instance(instance) => serde_json::to_vec(&StoredInstance::from(instance)),
            Self::Domain(domain) => serde_json::to_vec(&StoredDomain::from(domain)),
        };
        let body = body.expect("plain structs of strings and numbers serialise");
        let sealed = Sealed::new(key.0, &key.1, &body);
        (key, sealed)
    }

    /// `None` when the JSON is none of ours, or a value in it is no longer valid.
    pub(crate) fn decode(kind: RecordKind, body: &[u8]) -> Option<Self> {
        Some(match kind {
            RecordKind::App => Self::App(serde_json::from_slice::<StoredApp>(body).ok()?.into_model()?),
            RecordKind::Instance => {
                Self::Instance(serde_json::from_slice::<StoredInstance>(body).ok()?.into_model()?)
            }
            RecordKind::Domain => {
                Self::Domain(serde_json::from_slice::<StoredDomain>(body).ok()?.into_model()?)
            }
        })
    }
}

/// What a delta does to the stored records.
pub(crate) fn edit(delta: &Delta) -> (Key, Option<Sealed>) {
    let put = |record: Record| {
        let (key, sealed) = record.encode();
        (key, Some(sealed))
    };
    match delta {
        Delta::PutApp(app) => put(Record::App(App::clone(app))),
        Delta::PutInstance(instance) => put(Record::Instance(Instance::clone(instance))),
        Delta::PutDomain(domain) => put(Record::Domain(Domain::clone(domain))),
        Delta::RemoveApp(id) => ((RecordKind::App, id.to_string()), None),
        Delta::RemoveInstance(_, id) => ((RecordKind::Instance, id.to_string()), None),
        Delta::RemoveDomain(name) => ((RecordKind::Domain, name.to_string()), None),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredApp {
    id: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream_tls: Option<StoredUpstreamTls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures: Option<StoredFailures>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_all_unhealthy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<StoredWebhook>,
    created_at: u64,
    updated_at: u64,
}

impl From<&App> for StoredApp {
    fn from(app: &App) -> Self {
        Self {
            id: app.id.to_string(),
            name: app.name.to_string(),
            upstream_tls: app.upstream_tls.as_ref().map(StoredUpstreamTls::from),
            // Defaults are left out: a version that knows neither setting reads such a record.
            failures: (app.failures != FailurePolicy::default()).then(|| StoredFailures::from(app.failures)),
            on_all_unhealthy: (app.on_all_unhealthy != OnAllUnhealthy::default())
                .then(|| app.on_all_unhealthy.as_str().to_owned()),
            webhook: app.webhook.as_ref().map(StoredWebhook::from),
            created_at: app.created_at.0,
            updated_at: app.updated_at.0,
        }
    }
}

impl StoredApp {
    fn into_model(self) -> Option<App> {
        (self.name.len() <= limits::APP_NAME_BYTES_MAX).then_some(())?;
        Some(App {
            id: AppId::parse(&self.id).ok()?,
            name: self.name.into(),
            upstream_tls: match self.upstream_tls {
                Some(tls) => Some(tls.into_model()?),
                None => None,
            },
            failures: match self.failures {
                Some(failures) => failures.into_model()?,
                None => FailurePolicy::default(),
            },
            on_all_unhealthy: match self.on_all_unhealthy {
                Some(policy) => OnAllUnhealthy::parse(&policy)?,
                None => OnAllUnhealthy::default(),
            },
            webhook: match self.webhook {
                Some(webhook) => Some(webhook.into_model()?),
                None => None,
            },
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredInstance {
    id: String,
    app: String,
    target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_port: Option<NonZeroU16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_host: Option<String>,
    /// In clear, like the secrets of webhooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    health_headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_interval_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unhealthy_threshold: Option<NonZeroU8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    healthy_threshold: Option<NonZeroU8>,
    registered_at: u64,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    draining: Option<u64>,
}

impl From<&Instance> for StoredInstance {
    fn from(instance: &Instance) -> Self {
        let check = &instance.health_check;
        let http = match &check.probe {
            Probe::Tcp => None,
            Probe::Http(probe) => Some(probe),
        };
        // What most have is left out.
        let method = http.map(|probe| probe.method).filter(|method| *method != ProbeMethod::default());
        let statuses = http.map(|probe| &probe.statuses).filter(|known| **known != StatusRanges::default());
        let headers = http.into_iter().flat_map(|probe| probe.headers.expose());
        Self {
            id: instance.id.to_string(),
            app: instance.app.to_string(),
            target: instance.target.to_string(),
            health_path: http.map(|probe| probe.path.as_str().to_owned()),
            health_port: check.port,
            health_method: method.map(|method| method.as_str().to_owned()),
            health_host: http.and_then(|probe| probe.host.as_ref()).map(ToString::to_string),
            health_headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            health_status: statuses.map(ToString::to_string),
            health_body: http.and_then(|probe| probe.body.as_ref()).map(|text| text.as_str().to_owned()),
            health_interval_ms: check.interval.map(millis),
            health_timeout_ms: check.timeout.map(millis),
            unhealthy_threshold: check.unhealthy_threshold,
            healthy_threshold: check.healthy_threshold,
            registered_at: instance.registered_at.0,
            generation: instance.generation.0,
            draining: instance.draining.map(|until| until.0),
        }
    }
}

impl StoredInstance {
    fn probe(&self) -> Option<Probe> {
        let Some(path) = &self.health_path else { return Some(Probe::Tcp) };
        let headers = self.health_headers.iter().map(|(name, value)| (&**name, &**value));
        Some(Probe::Http(Arc::new(HttpProbe {
            path: ProbePath::parse(path).ok()?,
            method: match &self.health_method {
                Some(method) => ProbeMethod::parse(method)?,
                None => ProbeMethod::default(),
            },
            host: self.health_host.as_deref().map(ProbeHost::parse).transpose().ok()?,
            headers: ProbeHeaders::new(headers).ok()?,
            statuses: match &self.health_status {
                Some(ranges) => StatusRanges::parse(ranges).ok()?,
                None => StatusRanges::default(),
            },
            body: self.health_body.as_deref().map(BodyText::parse).transpose().ok()?,
        })))
    }

    fn into_model(self) -> Option<Instance> {
        Some(Instance {
            id: InstanceId::parse(&self.id).ok()?,
            app: AppId::parse(&self.app).ok()?,
            target: Target::parse(&self.target).ok()?,
            health_check: HealthCheck {
                probe: self.probe()?,
                port: self.health_port,
                interval: self.health_interval_ms.map(Duration::from_millis),
                timeout: self.health_timeout_ms.map(Duration::from_millis),
                unhealthy_threshold: self.unhealthy_threshold,
                healthy_threshold: self.healthy_threshold,
            },
            registered_at: Timestamp(self.registered_at),
            generation: Generation(self.generation),
            draining: self.draining.map(Timestamp),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredDomain {
    name: String,
    app: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cname_target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_auth: Option<StoredClientAuth>,
    created_at: u64,
    updated_at: u64,
}

impl From<&Domain> for StoredDomain {
    fn from(domain: &Domain) -> Self {
        Self {
            name: domain.name.to_string(),
            app: domain.app.to_string(),
            tenant: domain.tenant.as_ref().map(TenantId::to_string),
            kind: domain.kind.as_str().to_owned(),
            cname_target: domain.cname_target.as_ref().map(Hostname::to_string),
            // What most have is left out: a store without it is one of a version that knew no certificates.
            certificate: (domain.certificate != CertificateMode::default())
                .then(|| domain.certificate.as_str().to_owned()),
            client_auth: domain.client_auth.as_ref().map(StoredClientAuth::from),
            created_at: domain.created_at.0,
            updated_at: domain.updated_at.0,
        }
    }
}

impl StoredDomain {
    fn into_model(self) -> Option<Domain> {
        Some(Domain {
            name: Hostname::parse(&self.name).ok()?,
            app: AppId::parse(&self.app).ok()?,
            tenant: self.tenant.map(|tenant| TenantId::parse(&tenant)).transpose().ok()?,
            kind: DomainKind::parse(&self.kind)?,
            cname_target: self.cname_target.map(|name| Hostname::parse(&name)).transpose().ok()?,
            certificate: match self.certificate {
                Some(mode) => CertificateMode::parse(&mode)?,
                None => CertificateMode::default(),
            },
            client_auth: match self.client_auth {
                Some(auth) => Some(auth.into_model()?),
                None => None,
            },
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredClientAuth {
    ca_file: String,
    need: String,
}

impl From<&ClientAuth> for StoredClientAuth {
    fn from(auth: &ClientAuth) -> Self {
        Self { ca_file: auth.ca_file.to_string(), need: auth.need.as_str().to_owned() }
    }
}

impl StoredClientAuth {
    fn into_model(self) -> Option<ClientAuth> {
        let ca_file = FilePath::parse(&self.ca_file).ok()?;
        Some(ClientAuth { ca_file, need: ClientAuthNeed::parse(&self.need)? })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFailures {
    /// As [`StatusSet`] reads it.
    statuses: String,
    timeouts: String,
}

impl From<FailurePolicy> for StoredFailures {
    fn from(policy: FailurePolicy) -> Self {
        Self { statuses: policy.statuses.to_string(), timeouts: policy.timeouts.as_str().to_owned() }
    }
}

impl StoredFailures {
    fn into_model(self) -> Option<FailurePolicy> {
        Some(FailurePolicy {
            statuses: StatusSet::parse(&self.statuses).ok()?,
            timeouts: TimeoutPolicy::parse(&self.timeouts)?,
        })
    }
}

/// The secret is kept in clear, for deliveries are signed with it: the store's files are their owner's alone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredWebhook {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<&Webhook> for StoredWebhook {
    fn from(webhook: &Webhook) -> Self {
        let secret = webhook.secret.as_ref().map(|secret| secret.expose().to_owned());
        Self { url: webhook.url.to_string(), secret }
    }
}

impl StoredWebhook {
    fn into_model(self) -> Option<Webhook> {
        let secret = self.secret.map(|secret| WebhookSecret::parse(&secret)).transpose().ok()?;
        Some(Webhook { url: WebhookUrl::parse(&self.url).ok()?, secret })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredUpstreamTls {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_certificate_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_key_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    #[serde(default)]
    insecure: bool,
}

impl From<&UpstreamTls> for StoredUpstreamTls {
    fn from(tls: &UpstreamTls) -> Self {
        let files = tls.client_certificate.as_ref();
        Self {
            ca_file: tls.ca_file.as_ref().map(FilePath::to_string),
            client_certificate_file: files.map(|files| files.certificate.to_string()),
            client_key_file: files.map(|files| files.key.to_string()),
            server_name: tls.server_name.as_ref().map(Hostname::to_string),
            insecure: tls.insecure,
        }
    }
}

impl StoredUpstreamTls {
    fn into_model(self) -> Option<UpstreamTls> {
        let path = |text: Option<String>| text.map(|text| FilePath::parse(&text)).transpose().ok();
        let client_certificate = match (path(self.client_certificate_file)?, path(self.client_key_file)?) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return None,
        };
        Some(UpstreamTls {
            ca_file: path(self.ca_file)?,
            client_certificate,
            server_name: self.server_name.map(|name| Hostname::parse(&name)).transpose().ok()?,
            insecure: self.insecure,
        })
    }
}

/// Milliseconds are as fine as the API is; a longer time than they can count does not exist.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
