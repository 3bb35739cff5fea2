//! HTTP/2: frames and windows by the `h2` crate; requests and responses by the exchange, in the bytes of
//! HTTP/1.1.
//!
//! ```text
//! Stream ◄─► pipe ◄─► h2 ◄─► stream: bytes of HTTP/1.1 ◄─► exchange
//!             │ flood, liveness
//! ```
//! [`server`] is the side of clients, [`client`] that of endpoints. A stream is translated where it is read
//! and written ([`head`], [`stream`]), so that one parser and one exchange serve all requests.

pub(crate) mod client;
mod fields;
mod flood;
mod frames;
pub(crate) mod head;
mod liveness;
pub(crate) mod pipe;
mod server;
mod stream;
mod stream_error;
mod task_pool;
mod upstream_liveness;
mod window;

pub(crate) use server::serve;
pub(crate) use stream::H2Stream;
pub(crate) use stream_error::{StreamEnd, StreamError};
pub(crate) use task_pool::TaskPool;
pub(crate) use window::Budget as WindowBudget;
