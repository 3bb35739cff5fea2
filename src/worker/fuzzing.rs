//! A door for the fuzz targets (`tests/fuzz`): what a request of HTTP/2 becomes, without a connection.

use http::request::Parts;
use ringway_wire::h1::RequestError;

use crate::h2::head::{self, Body, Coding};

/// The text of HTTP/1.1 that a request becomes, and whether its DATA become chunks; `body` is nothing when more is still
/// to come, else how much there is.
///
/// # Errors
/// As the client would be answered.
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
