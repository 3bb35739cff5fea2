//! The nouns that both planes share.
//!
//! Users register apps, instances and domains ([`App`], [`Instance`], [`Domain`]); the control plane keeps
//! them in a [`Desired`] state, and one [`Change`] turns a `Desired` into the next. What the data plane
//! routes by is compiled from it elsewhere (`traffic`). Everything here is pure: no clock, no I/O, no
//! randomness. Types are parsed at the edge and cannot be wrong afterwards.
#![forbid(unsafe_code)]

mod availability;
mod certificate;
mod change;
mod cidr;
mod date;
mod desired;
mod host;
mod id;
mod instance;
pub mod limits;
mod owner;
mod probe;
mod status;
mod target;
mod time;
mod webhook;

pub use availability::{FailurePolicy, OnAllUnhealthy, StatusSet, StatusSetError, TimeoutPolicy};
pub use certificate::{
    CertificateFiles, CertificateMode, ClientAuth, ClientAuthNeed, FilePath, FilePathError, UpstreamTls,
};
pub use change::{
    AppSpec, Applied, Change, Delta, DomainSpec, DomainUpdate, InstanceSpec, Outcome, Rejection,
};
pub use cidr::{Cidr, CidrError};
pub use date::Civil;
pub use desired::{App, Desired, Domain, DomainKind, Instance};
pub use host::{HostError, Hostname};
pub use id::{AppId, CoreId, Generation, IdError, InstanceId, Revision, Serial, TenantId};
pub use instance::{Health, HealthCheck};
pub use owner::{Owner, OwnerError};
pub use probe::{
    BodyText, HeaderError, HealthCheckError, HttpProbe, Probe, ProbeHeaders, ProbeHost, ProbeMethod,
    ProbePath, StatusRanges,
};
pub use status::StatusRangeError;
pub use target::{Scheme, Target, TargetError, TargetHost};
pub use time::{Tick, Timestamp};
pub use webhook::{Webhook, WebhookSecret, WebhookSecretError, WebhookUrl, WebhookUrlError};
