//! Keys of requests: the part that identifies a client, for buckets and consistent hashing.

use std::net::IpAddr;

use ringway_model::RequestKey;
use ringway_wire::h1::RequestHead;
use ringway_wire::headers::FieldKind;

/// Value of a request's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyValue<'a> {
    /// Value of a header field or cookie; not empty.
    Text(&'a [u8]),
    /// Address of the client; of IPv6 its /64, for the rest changes from one connection to the next.
    Address([u8; 8]),
}

impl KeyValue<'_> {
    /// Its bytes, to be hashed.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Address(bytes) => bytes,
        }
    }
}

/// Value of a request's key; `None` where its field or cookie is absent or empty. A walk over the fields.
pub fn key_value<'a>(
    key: &'a RequestKey,
    request: &'a RequestHead,
    buf: &'a [u8],
    client: IpAddr,
) -> Option<KeyValue<'a>> {
    let text = match key {
        RequestKey::Header(name) => request.field(buf, name).next(),
        RequestKey::Cookie(name) => cookie(request, buf, name),
        RequestKey::Client => return Some(KeyValue::Address(network(client))),
    };
    text.filter(|text| !text.is_empty()).map(KeyValue::Text)
}

/// Value of the first cookie of this name (RFC 6265 §5.4), without the quotes around it.
pub fn cookie<'a>(request: &'a RequestHead, buf: &'a [u8], name: &'a str) -> Option<&'a [u8]> {
    request.values(buf, FieldKind::Cookie).flat_map(|line| line.split(|&byte| byte == b';')).find_map(
        |pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            Some(unquoted.unwrap_or(value))
        },
    )
}

fn network(client: IpAddr) -> [u8; 8] {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(u32::from(address)).to_be_bytes(),
        IpAddr::V6(address) => ((u128::from(address) >> 64) as u64).to_be_bytes(),
    }
}

#[cfg(test)]
#[path = "request_key_tests.rs"]
mod tests;
