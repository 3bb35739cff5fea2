//! Templates of header values, filled with properties of a request.

use std::io::Write as _;

use ringway_model::{Template, TemplatePart, Variable};

use crate::identity::Identity;
use crate::request::RequestView;

/// Appends the value of a template. Bytes that cannot stand in a field become spaces: a claim or a decoded
/// path may contain any.
pub(crate) fn render(
    template: &Template,
    request: &RequestView<'_>,
    identity: Option<&Identity>,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    for part in template.parts() {
        match part {
            TemplatePart::Text(text) => out.extend_from_slice(text.as_bytes()),
            TemplatePart::Variable(variable) => push(variable, request, identity, out),
        }
    }
    for byte in &mut out[start..] {
        if byte.is_ascii_control() && *byte != b'\t' {
            *byte = b' ';
        }
    }
}

fn push(variable: &Variable, request: &RequestView<'_>, identity: Option<&Identity>, out: &mut Vec<u8>) {
    let text = match variable {
        Variable::ClientIp => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{}", request.client());
            return;
        }
        Variable::Header(name) => {
            let value = request.head().field(request.buf(), name).next();
            out.extend_from_slice(value.unwrap_or_default());
            return;
        }
        Variable::Host => request.head().host(),
        Variable::Method => request.head().method_str(request.buf()),
        Variable::Path => request.head().path(request.buf()),
        Variable::Query => request.head().query(request.buf()).unwrap_or_default(),
        Variable::Scheme => request.scheme(),
        Variable::Route => request.parts.route,
        Variable::App => request.parts.app,
        Variable::Tenant => request.parts.tenant.unwrap_or_default(),
        Variable::RequestId => request.parts.request_id,
        Variable::User => identity.map_or("", |identity| &identity.user),
        Variable::Claim(name) => identity.and_then(|identity| identity.claim(name)).unwrap_or_default(),
    };
    out.extend_from_slice(text.as_bytes());
}
