//! Sans-I/O HTTP/1.1 parser and serializer, strict by default; also WebSocket framing and the PROXY protocol.
//!
//! This crate has no sockets, no clock and no dependency on another crate of the workspace. The proxy's
//! downstream and upstream connections, the admin API server and the health checks all parse and write
//! messages with it, so one implementation decides where a message begins and ends:
//!
//! ```text
//! bytes ──h1::RequestHead::parse──▶ offsets into the buffer ──h1::write_request──▶ bytes for the upstream
//!   └──── h1::ChunkedBody: the body bytes behind the head, validated and normalised in place ────▶
//! ```
//!
//! Two rules hold in all of it:
//!
//! - A head does not borrow the buffer that it was parsed from. It keeps offsets, and its accessors take the
//!   buffer as an argument; a head is reused for the next message and a keep-alive connection allocates
//!   nothing.
//! - A message that two implementations could read differently is rejected or written in one normal form
//!   (request smuggling, RFC 9112 §11.2).

#![forbid(unsafe_code)]

pub mod h1;
pub mod headers;
pub mod message;
pub mod normalize;
pub mod path;
pub mod proxy_protocol;
mod scan;
pub mod websocket;
