//! HTTP/1.1 bytes to messages and back, sans-io, strict by construction.
//!
//! This crate neither reads nor writes sockets, keeps no clock and imports nothing of ours. The proxy's sessions
//! and upstream connections, the admin API server and the health-check client all speak through it, so that there
//! is one place that decides what a message is:
//!
//! ```text
//! bytes ──h1::RequestHead::parse──▶ offsets into the caller's buffer ──h1::write_request──▶ bytes for the upstream
//!   └──── h1::ChunkedBody: which of the following bytes are the body, made safe in place ────▶
//! ```
//!
//! Two habits run through it. A head never borrows the buffer that it was parsed from: it keeps offsets, and the
//! accessors take the buffer again; so a head is reused for the next message and nothing is allocated on a
//! keep-alive connection. And whatever two implementations could read in two ways is refused, or it leaves this
//! crate in the one normal form (RFC 9112 §11.2, request smuggling).

#![forbid(unsafe_code)]

pub mod h1;
pub mod headers;
pub mod message;
pub mod normalize;
pub mod proxy_protocol;
pub mod websocket;
