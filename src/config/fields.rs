//! Fields that requests of the admin API and documents share.

mod health;
mod upstream_tls;

pub use health::health_check;
pub(crate) use health::{active_check, schedule};
pub use upstream_tls::upstream_tls;
pub(crate) use upstream_tls::upstream_tls_shape;
