//! The side that faces the endpoints: connections to them, and one attempt to have a request answered.

mod attempt;
mod body_encoder;
mod connect;
mod connection_pool;
mod response_relay;
mod upgrade;
mod upload_state;
mod upstream_tls;

pub(crate) use attempt::{Attempt, Failed, Reuse, Stage, forward};
pub(crate) use connection_pool::{ConnectionPool, File, Files, UpstreamConn};
pub(crate) use upstream_tls::UpstreamTlsConfigs;
