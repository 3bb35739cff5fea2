//! Keys of requests: the part that identifies a client, for buckets and consistent hashing.

use std::net::IpAddr;

use ringway_model::RequestKey;
use ringway_wire::h1::{self, RequestHead};
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

/// Fields of a request as the endpoint would get them: those of the client, with the edits of stages so far.
#[derive(Clone, Copy, Debug)]
pub struct RequestFields<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
    removed: &'a str,
    added: &'a [u8],
}

impl<'a> RequestFields<'a> {
    /// Returns the fields of a head, as the client sent them.
    pub fn received(head: &'a RequestHead, buf: &'a [u8]) -> Self {
        Self { head, buf, removed: "", added: b"" }
    }

    /// The same with edits: names of removed fields, each with a line feed behind it, and added lines, each
    /// with its CRLF.
    #[must_use]
    pub fn edited(self, removed: &'a str, added: &'a [u8]) -> Self {
        Self { removed, added, ..self }
    }

    /// Host of the request.
    pub(crate) fn host(&self) -> &'a str {
        self.head.host()
    }

    /// Values of the lines of a field.
    pub(crate) fn values(self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let is_removed =
            self.removed.split_terminator('\n').any(|removed| removed.eq_ignore_ascii_case(name));
        let received = (!is_removed).then(|| self.head.field(self.buf, name)).into_iter().flatten();
        let of_name = |field: &h1::Field<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        let added = h1::field_lines(self.added).filter(move |field| of_name(field));
        received.chain(added.map(|field| field.value))
    }
}

/// Value of a request's key; `None` where its field or cookie is absent or empty. A walk over the fields.
pub fn key_value<'a>(key: &'a RequestKey, fields: RequestFields<'a>, client: IpAddr) -> Option<KeyValue<'a>> {
    let text = match key {
        RequestKey::Header(name) => fields.values(name).next(),
        RequestKey::Cookie(name) => cookie_in(fields.values("cookie"), name),
        RequestKey::Client => return Some(KeyValue::Address(network(client))),
    };
    text.filter(|text| !text.is_empty()).map(KeyValue::Text)
}

/// Value of the first cookie of this name (RFC 6265 §5.4), without the quotes around it.
pub fn cookie<'a>(request: &'a RequestHead, buf: &'a [u8], name: &'a str) -> Option<&'a [u8]> {
    cookie_in(request.values(buf, FieldKind::Cookie), name)
}

fn cookie_in<'a>(mut lines: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    lines.find_map(|line| {
        line.split(|&byte| byte == b';').find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            Some(unquoted.unwrap_or(value))
        })
    })
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
