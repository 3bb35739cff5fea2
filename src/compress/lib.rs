//! Content codings of responses (RFC 9110 §8.4): negotiation, encoders, and their states on one core.
//!
//! ```text
//! Accept-Encoding ─► AcceptEncoding::choose ─► Coding ─► EncoderPool::take ─► PooledEncoder
//!                                                            │ budget used up        │ write, flush, finish
//!                                                            ▼                       ▼
//!                                                      sent as it is            coded bytes
//! ```
//! - An encoder is fed in steps of at most [`STEP_BYTES`], between which its core serves other requests.
//! - A window of [`WINDOW_BITS`] bits bounds the memory here and in the client.
//! - Nothing is decoded here.
//!
//! The crate is pure: no clock, no socket, no thread.
#![forbid(unsafe_code)]

mod accept_encoding;
mod brotli;
mod encoder;
pub mod limits;
mod pool;
mod stored;

pub use accept_encoding::{AcceptEncoding, Choice};
pub use encoder::{EncodeError, Encoder};
pub use limits::{STEP_BYTES, WINDOW_BITS};
pub use pool::{EncoderPool, PooledEncoder};
pub use ringway_model::Coding;
pub use stored::{Progress, StoredBody};
