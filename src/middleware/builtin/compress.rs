//! `compress`: content codings of responses (RFC 9110 §8.4).
//!
//! ```text
//! request:   weak tags of If-None-Match also as strong ones ─► endpoint
//! response:  type? ─► Vary ─► anything against it? ─► Accept-Encoding ─► state of an encoder ─► fields, transform
//! ```
//! A response that is not compressed is forwarded as it came, but for `Vary`. Local replies are left alone:
//! they are short.

use ringway_compress::{AcceptEncoding, Choice, Coding, EncodeError, PooledEncoder};
use ringway_model::Compress as Spec;
use ringway_wire::headers::list_elements;

use crate::Flow;
use crate::body::{BodyError, BodyTransform, Coded};
use crate::builtin::compress::entity_tags::{is_strong, with_strong_forms};
use crate::request::RequestCtx;
use crate::response::ResponseCtx;

pub(crate) mod entity_tags;
mod media_types;

use media_types::MediaTypes;

/// The stage.
#[derive(Debug)]
pub(crate) struct Compress {
    codings: Box<[Coding]>,
    gzip_level: u8,
    min_bytes: u64,
    types: MediaTypes,
}

/// Reason why a response is not compressed: the word in logs and metrics.
type Reason = &'static str;

impl Compress {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self {
            codings: spec.codings.clone(),
            gzip_level: spec.gzip_level,
            min_bytes: spec.min_bytes,
            types: MediaTypes::new(&spec.types),
        }
    }

    /// Sends the tags of coded responses upstream in the form that the endpoint knows, too: it compares them
    /// with its own, and some servers compare bytes.
    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        request.run.encoders = Some(request.services.core().encoders.clone());
        let is_safe = matches!(request.method(), "GET" | "HEAD");
        // The tag of a coded response names one state of the resource, as its strong form does. A change may
        // depend on it, but a range may not.
        for name in [Some("If-None-Match"), (!is_safe).then_some("If-Match")].into_iter().flatten() {
            if let Some(tags) = with_strong_forms(request.field(name)) {
                // Made of parts of a valid value.
                let _ = request.set(name, &tags);
            }
        }
        Flow::Continue
    }

    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        if response.is_local() {
            return;
        }
        let result = match response.status() {
            304 => self.on_not_modified(response),
            _ => self.compress(response),
        };
        response.run.not_compressed = result.err();
    }

    /// A 304 has the fields of the 200 as the client knows it, as far as they can be known without its type.
    fn on_not_modified(&self, response: &mut ResponseCtx<'_>) -> Result<(), Reason> {
        if self.types.includes(response).is_err() && response.has("content-type") {
            return Ok(());
        }
        add_vary(response);
        let Some((tag, weak)) = strong_tag(response) else { return Ok(()) };
        let knows = |form: &[u8]| {
            response.request_field("if-none-match").flat_map(entity_tags::split).any(|known| known == form)
        };
        if knows(&weak) && !knows(tag) {
            let _ = response.set("ETag", &weak);
            response.remove("Content-Length");
        }
        Ok(())
    }

    fn compress(&self, response: &mut ResponseCtx<'_>) -> Result<(), Reason> {
        if matches!(response.status(), 0..200 | 204) {
            return Err("status");
        }
        self.types.includes(response)?;
        add_vary(response);
        against(response)?;
        if response.content_length().is_some_and(|bytes| bytes < self.min_bytes.max(1)) {
            return Err("small");
        }
        let accepted = AcceptEncoding::parse(response.request_field("accept-encoding"));
        let Choice::Coded(coding) = accepted.choose(&self.codings) else { return Err("not_accepted") };
        if !response.is_head() {
            let encoders = response.run.encoders.as_ref().ok_or("busy")?;
            let encoder = encoders.take(coding, self.gzip_level).ok_or("busy")?;
            response.transform_body(Encode { encoder, bytes_in: 0, bytes_out: 0 });
        }
        // Names and values are valid.
        let _ = response.set("Content-Encoding", coding.as_str().as_bytes());
        if let Some((_, weak)) = strong_tag(response) {
            // Its quoted part was received in a field.
            let _ = response.set("ETag", &weak);
        }
        response.remove("Content-Length");
        response.remove("Accept-Ranges");
        Ok(())
    }
}

/// Reasons against any coding, of the response and of the request.
fn against(response: &ResponseCtx<'_>) -> Result<(), Reason> {
    if response.has("content-encoding") {
        return Err("coded");
    }
    if response.status() == 206 || response.has("content-range") {
        return Err("range");
    }
    let forbids = |element: &[u8]| element.eq_ignore_ascii_case(b"no-transform");
    if response.field("cache-control").flat_map(list_elements).any(forbids) {
        return Err("no_transform");
    }
    // Digests of the content (RFC 9530, RFC 3230) would be wrong behind it, in the head and in trailers.
    let is_digest = |name: &[u8]| DIGESTS.iter().any(|digest| name.eq_ignore_ascii_case(digest.as_bytes()));
    if DIGESTS.iter().any(|digest| response.has(digest))
        || response.field("trailer").flat_map(list_elements).any(is_digest)
    {
        return Err("digest");
    }
    // BREACH: a page of another site can see the length of what it makes the browser ask for, and guess
    // secrets by it; only a response for the user of the cookie has any.
    let is_cross_site = |value: &[u8]| value.eq_ignore_ascii_case(b"cross-site");
    if response.request_field("sec-fetch-site").any(is_cross_site)
        && response.request_field("cookie").next().is_some()
    {
        return Err("cross_site");
    }
    Ok(())
}

const DIGESTS: [&str; 4] = ["Content-Digest", "Repr-Digest", "Digest", "Content-MD5"];

/// Adds `Accept-Encoding` to `Vary`, unless that is there.
fn add_vary(response: &mut ResponseCtx<'_>) {
    let covers = |element: &[u8]| element == b"*" || element.eq_ignore_ascii_case(b"accept-encoding");
    if response.values("vary").flat_map(list_elements).any(covers) {
        return;
    }
    let mut value = response.values("vary").flat_map(list_elements).collect::<Vec<_>>();
    value.push(b"Accept-Encoding");
    let value = value.join(&b", "[..]);
    // Made of parts of valid values.
    let _ = response.set("Vary", &value);
}

/// The strong tag of the response, and its weak form: a coded response has the meaning of the original, and
/// other bytes.
fn strong_tag<'a>(response: &ResponseCtx<'a>) -> Option<(&'a [u8], Vec<u8>)> {
    let tag = response.field("etag").next().filter(|tag| is_strong(tag))?;
    Some((tag, [b"W/", tag].concat()))
}

/// Transform that encodes a body. Dropped in the middle, it gives the state of its encoder back.
struct Encode {
    encoder: PooledEncoder,
    bytes_in: u64,
    bytes_out: u64,
}

impl Encode {
    fn run(
        &mut self,
        out: &mut Vec<u8>,
        f: impl FnOnce(&mut PooledEncoder, &mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), BodyError> {
        let before = out.len();
        f(&mut self.encoder, out).map_err(|EncodeError| BodyError { reason: "compress" })?;
        self.bytes_out += (out.len() - before) as u64;
        Ok(())
    }
}

impl BodyTransform for Encode {
    fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.bytes_in += data.len() as u64;
        self.run(out, |encoder, out| encoder.write(data, out))
    }

    fn on_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.run(out, PooledEncoder::finish)
    }

    fn on_pause(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.run(out, PooledEncoder::flush)
    }

    fn coded(&self) -> Option<Coded> {
        let Self { encoder, bytes_in, bytes_out } = self;
        Some(Coded { coding: encoder.coding(), bytes_in: *bytes_in, bytes_out: *bytes_out })
    }
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
