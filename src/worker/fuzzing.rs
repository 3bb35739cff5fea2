//! Entry points of the fuzz targets (`tests/fuzz`): the translation of an HTTP/2 request, without a
//! connection.

use http::request::Parts;
use ringway_wire::h1::RequestError;

use crate::h2::head::{self, Body, Coding};

/// Translates a request to HTTP/1.1; returns the text, and whether its DATA become chunks. `body` is the
/// length of the body, `None` while it is unknown.
///
/// # Errors
/// The error that the client's response would state.
pub fn h2_request_text(request: &Parts, body: Option<usize>) -> Result<(Vec<u8>, bool), RequestError> {
    let body = match body {
        Some(0) => Body::None,
        Some(bytes) => Body::Whole(bytes),
        None => Body::Coming,
    };
    let mut text = Vec::new();
    let coding = head::write(&mut text, request, body, "https", 7)?;
    Ok((text, coding == Coding::Chunks))
}
