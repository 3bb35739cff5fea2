//! What the planes tell each other about certificates: a core never reads a file, it asks the loader and goes on.

use std::fmt;
use std::sync::Arc;

use ringway_model::{AppId, CoreId, FilePath, Hostname, UpstreamTls};

use crate::{ClientVerifier, Identity, UpstreamMaterial};

/// Whose certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IdentityName {
    /// The one for names that have none of their own.
    Default,
    /// A domain's.
    Domain(Hostname),
}

/// What a core lacks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// A certificate chain and its key.
    Identity(IdentityName),
    /// Who vouches for clients.
    ClientCa(FilePath),
    /// What an app's `https://` targets are spoken to with.
    Upstream(AppId, UpstreamTls),
}

/// What a core gets: shared with all others, never copied.
#[derive(Clone, Debug)]
pub enum Material {
    /// For [`Want::Identity`].
    Identity(Identity),
    /// For [`Want::ClientCa`].
    ClientCa(ClientVerifier),
    /// For [`Want::Upstream`].
    Upstream(Arc<UpstreamMaterial>),
}

/// A core's question to the loader.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who asks.
    pub core: CoreId,
    /// For what.
    pub want: Want,
    /// Which version of it: that of the snapshot, 0 where there is none.
    pub version: u64,
}

/// The loader's answer.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was asked for.
    pub want: Want,
    /// The version that was asked for.
    pub version: u64,
    /// The thing, or why there is none.
    pub result: Result<Material, Unloadable>,
}

/// Why something could not be loaded, in one sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unloadable(pub Arc<str>);

impl Unloadable {
    /// Says it.
    pub fn new(why: &str) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Unloadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unloadable {}
