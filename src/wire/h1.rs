//! HTTP/1.1 and HTTP/1.0 (RFC 9112): parsing of heads and bodies, writing of heads.
//!
//! ```
//! use ringway_wire::h1::{Limits, Parse, RequestHead, RequestRewrite, write_request};
//!
//! let buf = b"GET /cart?id=1 HTTP/1.1\r\nHost: Shop.Example.com\r\nConnection: close\r\n\r\n";
//! let mut head = RequestHead::default();
//! assert_eq!(head.parse(buf, &Limits::default()), Ok(Parse::Complete));
//! assert_eq!((head.host(), head.path(buf)), ("shop.example.com", "/cart"));
//!
//! let mut out = Vec::new();
//! write_request(&mut out, buf, &head, &RequestRewrite { append: [b"X-Real-IP: 192.0.2.1\r\n", b""], ..Default::default() });
//! assert_eq!(out, b"GET /cart?id=1 HTTP/1.1\r\nHost: shop.example.com\r\nX-Real-IP: 192.0.2.1\r\n\r\n");
//! ```

mod body;
mod error;
mod fields;
mod request;
mod response;
mod write;

pub use body::{
    BodyError, BodyState, CHUNK_END, CHUNK_EXTENSION_BYTES_MAX, CHUNK_EXTENSIONS_BYTES_MAX, ChunkHead,
    ChunkMode, ChunkedBody, Fed, HELD_BYTES_MAX, LAST_CHUNK, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX,
    chunk_head,
};
pub use error::{HeadFault, RequestError, ResponseError};
pub use fields::{FAULTY_NAME_BYTES_MAX, FaultyField, Field, field_lines};
pub use request::{METHOD_BYTES_MAX, RequestHead, TargetForm, Upgrade};
pub use response::{ResponseHead, Switch};
pub use write::{
    ConnectionSignal, ExpectLine, OutFraming, RequestRewrite, ResponseRewrite, SimpleResponse, TeLine, Trust,
    Underscores, UpgradeLine, forwarded_fields, write_bodiless_request, write_get, write_request,
    write_response, write_simple_response,
};

/// Limits of a head. A caller that raises them must hold a buffer of at least `head_bytes_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request target in bytes; a longer one gets 414 (RFC 9112 §3 asks for at least 8000).
    pub uri_bytes_max: usize,
    /// Longest head in bytes, including the empty line; a longer one gets 431 (RFC 6585 §5).
    pub head_bytes_max: usize,
    /// Most field lines in a head; more get 431.
    pub fields_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { uri_bytes_max: 8 * 1024, head_bytes_max: 16 * 1024, fields_max: 100 }
    }
}

impl Limits {
    /// Returns the part of `buf` that may belong to the head.
    fn window<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[..buf.len().min(self.head_bytes_max)]
    }

    /// Result for a head whose end is not in `buf`: partial, or too large if the limit is reached.
    fn partial(&self, buf: &[u8]) -> Result<Parse, HeadFault> {
        if buf.len() < self.head_bytes_max { Ok(Parse::Partial) } else { Err(HeadFault::HeadTooLarge) }
    }
}

/// Progress of parsing a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// More bytes are needed: append to the buffer and parse again.
    Partial,
    /// The head is complete and valid; the body, if any, begins at its `len()`.
    Complete,
}
