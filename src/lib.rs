//! ringway as a library: the reverse proxy inside your own process.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use ringway::Gateway;
//!
//! let gateway = Gateway::builder().http(vec!["127.0.0.1:8081".parse()?]).spawn()?;
//! gateway.register_app("app1", "http://127.0.0.1:3001")?;
//! gateway.register_domain("customer.example", "app1", Some("tenant-123"))?;
//! // … until your process ends:
//! gateway.shutdown(std::time::Duration::from_secs(30))?;
//! # Ok(())
//! # }
//! ```
//! The library owns its pinned threads: one per worker and one for the control plane. It sets no global
//! allocator, no signal handler and no log subscriber (it logs through `tracing`). The admin API is served
//! only with [`Builder::admin`].
//!
//! Embedders need no crate of the command line: depend on ringway with `default-features = false`.
#![forbid(unsafe_code)]

mod gateway;

/// Multi-tenant reverse proxy.
#[derive(Debug)]
pub enum Gateway {}

impl Gateway {
    /// Creates a builder with the defaults: port 80, all CPUs, configuration in memory, no admin API.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

pub use gateway::{Admin, Builder, CacheSettings, ForwardProxy, Handle, Listener, RegisterError, StartError};

pub use ringway_certs as certs;
pub use ringway_tls::ServerSettings as TlsSettings;

pub use ringway_api::{
    AccessSettings, AdminTls, AuditLog, Settings as AdminSettings, Token, TokensFile, UnixSocket, bind_unix,
};
pub use ringway_control::{
    Client, ConfigurationSettings, ControlSettings, OnBadConfig, Receipt, Refusal, Start, Status, Submission,
};
pub use ringway_control::{Resolved, ResolvedTarget, ResolverError, TargetResolver};
pub use ringway_forward_control as forward;
pub use ringway_middleware as middleware;
pub use ringway_model as model;
pub use ringway_net::{Driver, DriverChoice};
pub use ringway_store as store;
pub use ringway_telemetry as telemetry;
pub use ringway_traffic::policy::Policy;
pub use ringway_worker::{
    HttpMode, NoPseudonym, PublicHealth, PublicHealthError, Settings as DataSettings, Via,
};
