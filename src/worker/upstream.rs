//! The side that faces the endpoints: connections to them, and attempts to get a response.
//!
//! ```text
//! Attempt::run: connect (pool, HTTP/2, new) ─► send head ─► upload ─► response head ─► UpstreamResponse, body open
//! ```
//! Delivery to the client is a phase of the exchange.

mod attempt;
mod body_decoder;
mod connect;
mod connection_pool;
mod detached;
mod response_reader;
mod response_source;
mod transfer;
mod upgrade;
mod upload;
mod upload_state;
mod upstream_tls;

pub(crate) use attempt::{
    Attempt, Failed, Fault, JOINED_BYTES_MAX, RequestTraits, Reuse, UpstreamResponse, write_head,
};
pub(crate) use connect::Versions;
pub(crate) use connection_pool::{ConnectionPool, File, Files, UpstreamConn};
pub(crate) use detached::{BodyFault, Detached, DetachedResponse, ReceivedResponse, Stop};
pub(crate) use response_reader::{ReadError, ResponseReader};
pub(crate) use response_source::{ResponseSource, body_failure, stalled};
pub(crate) use transfer::Transfer;
pub(crate) use upload::Upload;
pub(crate) use upload_state::UploadState;
pub(crate) use upstream_tls::UpstreamTlsConfigs;
