//! Stored form of resources: JSON, sealed with a checksum over kind, key and content.
//!
//! The structs in `record/` are the file format. They are separate from the model's types: the model may
//! change without a change on disk. A record begins with its format, which is the [`SCHEMA`] that introduced
//! it; each kind reads its present format and all earlier ones, and writes the present one.
//!
//! A change of a format: raise [`SCHEMA`] and the kind's `FORMAT`, and read both. Stores are rewritten when
//! they are opened.

mod app;
mod canary_state;
mod certificate;
mod domain;
mod endpoint_override;
mod instance;
mod middleware;
mod policy;
mod route;
mod traffic;
mod version;

use ringway_model::{Delta, Kind, MiddlewareSpec, Owner, PluginSpec, Resource, ScriptSpec};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

use self::app::StoredApp;
use self::canary_state::StoredCanaryState;
use self::certificate::StoredCertificate;
use self::domain::StoredDomain;
use self::endpoint_override::StoredOverride;
use self::instance::StoredInstance;
use self::middleware::StoredSpec;
use self::policy::StoredPolicy;
use self::route::StoredRoute;
use self::version::StoredVersion;
#[cfg(doc)]
use crate::mark::SCHEMA;

/// Key of a record.
pub(crate) type Key = (Kind, String);

/// A record as it is stored: eight bytes of checksum, then JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    fn new(kind: Kind, key: &str, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(8 + body.len());
        bytes.extend_from_slice(&checksum(kind.tag(), key.as_bytes(), body).to_le_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Accepts stored bytes if their checksum matches.
    pub(crate) fn verify(kind: Kind, key: &str, bytes: &[u8]) -> Option<Self> {
        let (seal, body) = bytes.split_first_chunk::<8>()?;
        (checksum(kind.tag(), key.as_bytes(), body).to_le_bytes() == *seal).then(|| Self(bytes.to_vec()))
    }

    /// Accepts the two parts of a line of an export if the checksum matches; the key stands in the body.
    pub(crate) fn from_export(kind: Kind, seal: u64, body: &str) -> Option<(String, Self)> {
        let key = decode(kind, body.as_bytes())?.key().to_owned();
        let sealed = Self::new(kind, &key, body.as_bytes());
        (sealed.seal() == seal).then_some((key, sealed))
    }

    /// The checksum; 0 when there is none.
    pub(crate) fn seal(&self) -> u64 {
        seal_of(&self.0)
    }

    /// The JSON.
    pub(crate) fn body(&self) -> &[u8] {
        self.0.get(8..).unwrap_or_default()
    }

    /// Checksum and JSON.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The format of the record: what stands at the beginning of its JSON, or 1, which had no such field.
    pub(crate) fn format(&self) -> u32 {
        let digits = self.body().strip_prefix(FORMAT_PREFIX).and_then(|rest| {
            let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
            std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
        });
        digits.unwrap_or_else(first_format)
    }
}

/// Reads the checksum of stored bytes that were verified before.
pub(crate) fn seal_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |seal| u64::from_le_bytes(*seal))
}

/// Calculates the checksum of a record, or with tag 0 of a mark.
pub(crate) fn checksum(tag: u8, key: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[tag]);
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(body);
    hash.digest()
}

/// Encodes a resource in the present format of its kind.
pub(crate) fn encode(resource: &Resource) -> (Key, Sealed) {
    let body = match resource {
        Resource::App(app) => serde_json::to_vec(&StoredApp::from(&**app)),
        Resource::Instance(instance) => serde_json::to_vec(&StoredInstance::from(&**instance)),
        Resource::Domain(domain) => serde_json::to_vec(&StoredDomain::from(&**domain)),
        Resource::Policy(policy) => serde_json::to_vec(&StoredPolicy::from(&**policy)),
        Resource::Route(route) => serde_json::to_vec(&StoredRoute::from(&**route)),
        Resource::ConfigVersion(version) => serde_json::to_vec(&StoredVersion::from(&**version)),
        Resource::Certificate(of) => serde_json::to_vec(&StoredCertificate::from(&**of)),
        Resource::CanaryState(of) => serde_json::to_vec(&StoredCanaryState::from(&**of)),
        Resource::EndpointOverride(of) => serde_json::to_vec(&StoredOverride::from(&**of)),
        Resource::Middleware(of) => serde_json::to_vec(&StoredSpec::<MiddlewareSpec>::from(&**of)),
        Resource::Plugin(of) => serde_json::to_vec(&StoredSpec::<PluginSpec>::from(&**of)),
        Resource::Script(of) => serde_json::to_vec(&StoredSpec::<ScriptSpec>::from(&**of)),
    };
    let body = body.expect("plain structs of strings and numbers serialise");
    let key = key_of(resource);
    let sealed = Sealed::new(key.0, &key.1, &body);
    (key, sealed)
}

/// Decodes a resource of any known format. `None` when the JSON is not a record of this kind, or holds an
/// invalid value.
pub(crate) fn decode(kind: Kind, body: &[u8]) -> Option<Resource> {
    Some(match kind {
        Kind::App => read::<StoredApp>(body)?.into_model()?.into(),
        Kind::Instance => read::<StoredInstance>(body)?.into_model()?.into(),
        Kind::Domain => read::<StoredDomain>(body)?.into_model()?.into(),
        Kind::Policy => read::<StoredPolicy>(body)?.into_model()?.into(),
        Kind::Route => read::<StoredRoute>(body)?.into_model()?.into(),
        Kind::ConfigVersion => read::<StoredVersion>(body)?.into_model()?.into(),
        Kind::Certificate => read::<StoredCertificate>(body)?.into_model()?.into(),
        Kind::CanaryState => read::<StoredCanaryState>(body)?.into_model()?.into(),
        Kind::EndpointOverride => read::<StoredOverride>(body)?.into_model()?.into(),
        Kind::Middleware => read::<StoredSpec<MiddlewareSpec>>(body)?.into_model()?.into(),
        Kind::Plugin => read::<StoredSpec<PluginSpec>>(body)?.into_model()?.into(),
        Kind::Script => read::<StoredSpec<ScriptSpec>>(body)?.into_model()?.into(),
    })
}

/// The write that a delta stands for: a record, or its removal.
pub(crate) fn edit(delta: &Delta) -> (Key, Option<Sealed>) {
    match delta {
        Delta::Put(resource) => {
            let (key, sealed) = encode(resource);
            (key, Some(sealed))
        }
        Delta::Remove(resource) => (key_of(resource), None),
    }
}

fn key_of(resource: &Resource) -> Key {
    (resource.kind(), resource.key().to_owned())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// Owner of a record in its text form; records of format 1 have none and belong to the registration API.
#[derive(Default)]
struct StoredOwner(Owner);

impl Serialize for StoredOwner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StoredOwner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Owner::parse(&text).map(Self).map_err(de::Error::custom)
    }
}

/// The format of records without a format field.
fn first_format() -> u32 {
    1
}

/// The first bytes of every record since format 2.
pub(crate) const FORMAT_PREFIX: &[u8] = b"{\"format\":";
