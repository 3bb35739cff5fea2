//! `tracing`: continues the trace of the client or begins one (W3C Trace Context).

use ringway_model::TracingStage;

use crate::Flow;
use crate::request::RequestCtx;

/// The stage.
#[derive(Debug)]
pub(crate) struct Tracing {
    trusts_client: bool,
}

impl Tracing {
    pub(crate) fn new(spec: &TracingStage) -> Self {
        Self { trusts_client: spec.trust_client }
    }

    /// The endpoint gets a `traceparent` whose parent is this exchange. A new trace has the id of the
    /// request, so that one finds the other.
    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        let id = hex_of(request.request_id());
        let parent = String::from_utf8_lossy(&id[16..]).into_owned();
        let received = self.trusts_client.then(|| received(request)).flatten();
        let value = match &received {
            Some((trace, flags)) => format!("00-{trace}-{parent}-{flags}"),
            None => {
                request.remove("tracestate");
                format!("00-{}-{parent}-01", String::from_utf8_lossy(&id))
            }
        };
        // Digits and dashes can stand in a field.
        let _ = request.set("traceparent", value.as_bytes());
        Flow::Continue
    }
}

/// Trace id and flags of a client's valid `traceparent`.
fn received(request: &RequestCtx<'_>) -> Option<(String, String)> {
    let mut values = request.field("traceparent");
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let is_valid = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(parent, 16)
        && !is_zero(parent)
        && is_hex(flags, 2);
    is_valid.then(|| (trace.to_owned(), flags.to_owned()))
}

/// 32 hexadecimal digits of a request id: its own, or those of a hash of a trusted proxy's id.
fn hex_of(id: &str) -> [u8; 32] {
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let bytes = id.as_bytes();
    if let Ok(digits) = <[u8; 32]>::try_from(bytes)
        && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && !is_zero(&digits[16..])
    {
        return digits;
    }
    // FNV-1a, twice with different seeds: ids must be spread, not secret.
    let hash = |seed: u64| {
        bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    let text = format!("{:016x}{:016x}", hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15) | 1);
    <[u8; 32]>::try_from(text.as_bytes()).unwrap_or([b'1'; 32])
}

#[cfg(test)]
#[path = "tracing_tests.rs"]
mod tests;
