//! Fields that requests of the admin API and documents share.

mod client_auth;
mod health;
mod upstream_tls;

pub use client_auth::{client_auth, client_auth_patch};
pub use health::health_check;
pub(crate) use health::{HIDDEN, active_check};
pub use upstream_tls::upstream_tls;
pub(crate) use upstream_tls::upstream_tls_shape;
