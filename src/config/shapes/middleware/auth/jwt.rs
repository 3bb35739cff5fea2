//! `jwt`: tokens of an identity provider.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{ClaimField, ClaimRule, FilePath, JwtAuth, JwtKeys, TokenPlace};
use serde_json::{Value as Json, json};

use super::{asserted_name, named};
use crate::limits::{AUDIENCES_MAX, CLAIM_VALUES_MAX, LEEWAY_MS_MAX};
use crate::shapes::request_key::{cookie_field, header_field};
use crate::values::{boolean, bounded_text, list_of, strings_schema, text, time_within};
use crate::{Fault, Field, Given, Reader};

/// Reads `jwt`.
pub(super) fn jwt(reader: &mut Reader<'_>) -> Option<JwtAuth> {
    let issuer = reader.required(&ISSUER);
    let audience = reader.required(&AUDIENCE);
    let keys = keys(reader, issuer.as_deref());
    let token = token(reader);
    let claims = named(
        reader,
        (
            "claims",
            "Claims that the endpoint gets in header fields: claim and field; dots lead into objects.",
        ),
        (|| json!({ "type": "string", "examples": ["X-User"] }), asserted_name),
        claim_name,
    );
    let require = named(
        reader,
        ("require", "Claims that a token needs: claim, and its value or values of which one suffices."),
        (values_schema, values),
        claim_name,
    );
    let leeway = reader.optional(&LEEWAY).unwrap_or(LEEWAY_DEFAULT);
    let forward = reader.optional(&FORWARD).unwrap_or(true);
    if let Some(at) =
        (1..claims.len()).find(|at| claims[..*at].iter().any(|(_, known)| *known == claims[*at].1))
    {
        let message = format!("has two claims for the field {}", claims[at].1);
        reader.fault("claims", Fault { code: "duplicate", message });
    }
    Some(JwtAuth {
        issuer: issuer?,
        audience: audience?.into(),
        keys: keys?,
        token: token?,
        claims: claims.into_iter().map(|(claim, header)| ClaimField { claim, header }).collect(),
        require: require
            .into_iter()
            .map(|(claim, values)| ClaimRule { claim, values: values.into() })
            .collect(),
        leeway,
        forward,
    })
}

/// Reads the origin of the keys; without one it is discovered at the issuer, which is an address then.
fn keys(reader: &mut Reader<'_>, issuer: Option<&str>) -> Option<JwtKeys> {
    let url = reader.optional(&JWKS_URL).map(JwtKeys::Jwks);
    let file = reader.optional(&JWKS_FILE).map(|path| JwtKeys::File(path.as_str().into()));
    match (reader.has(JWKS_URL.name), reader.has(JWKS_FILE.name)) {
        (true, true) => {
            let message = "cannot stand beside jwks_url".to_owned();
            reader.fault(JWKS_FILE.name, Fault { code: "conflict", message });
            None
        }
        (false, false) => {
            if let Err(fault) = issuer.map_or(Ok(()), secure_url) {
                let message = format!("{}; or name jwks_url or jwks_file", fault.message);
                reader.fault(ISSUER.name, Fault { message, ..fault });
            }
            Some(JwtKeys::Discovery)
        }
        _ => url.or(file),
    }
}

/// Reads the place of the token; `None` with mistakes.
fn token(reader: &mut Reader<'_>) -> Option<TokenPlace> {
    let place = reader.short_or_object(&TOKEN, |reader| {
        let header = reader.optional(&HEADER).map(TokenPlace::Header);
        let cookie = reader.optional(&COOKIE).map(TokenPlace::Cookie);
        match (reader.has(HEADER.name), reader.has(COOKIE.name)) {
            (true, true) => {
                let message = "cannot stand beside header".to_owned();
                reader.fault(COOKIE.name, Fault { code: "conflict", message });
            }
            (false, false) => {
                let message = "is required, or cookie".to_owned();
                reader.fault(HEADER.name, Fault { code: "missing", message });
            }
            _ => {}
        }
        header.or(cookie)
    });
    match reader.has(TOKEN.name) {
        true => place,
        false => Some(TokenPlace::Bearer),
    }
}

/// Refuses an address that anybody on the network could answer for.
fn secure_url(text: &str) -> Result<(), Fault> {
    let wrong = || {
        Fault::invalid(
            "must be a URL with https://, such as https://auth.example.com; http:// for loopback only",
        )
    };
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte));
    let (scheme, rest) = text.split_once("://").filter(|_| is_visible).ok_or_else(wrong)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if rest.contains('#') || authority.contains('@') {
        return Err(Fault::invalid("must be a URL without a fragment and without a user"));
    }
    // As an endpoint: the same rules of hosts and ports.
    let target = ringway_model::Target::parse(&format!("{scheme}://{authority}")).map_err(|_| wrong())?;
    let is_loopback = match target.host() {
        ringway_model::TargetHost::Address(ip) => ip.to_canonical().is_loopback(),
        ringway_model::TargetHost::Name(name) => name.as_str() == "localhost",
    };
    match target.scheme() {
        ringway_model::Scheme::Https => Ok(()),
        ringway_model::Scheme::Http if is_loopback => Ok(()),
        ringway_model::Scheme::Http | ringway_model::Scheme::H2c => Err(wrong()),
    }
}

fn claim_name(name: &str) -> Result<(), Fault> {
    match (1..=CLAIM_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(Fault::invalid(format_args!("must be a claim: from 1 to {CLAIM_BYTES_MAX} bytes"))),
    }
}

fn values(given: Given<'_>) -> Result<Vec<Arc<str>>, Fault> {
    let values = list_of(given, CLAIM_VALUES_MAX, bounded_text)?;
    match values.is_empty() {
        true => Err(Fault::range("must have at least one value")),
        false => Ok(values),
    }
}

fn values_schema() -> Json {
    strings_schema(json!({ "type": "string", "examples": ["admin"] }))
}

/// Bytes of the name of a claim: those of public ones are URLs.
const CLAIM_BYTES_MAX: usize = 256;
/// Bytes of the name of an issuer or an audience.
const NAME_BYTES_MAX: usize = 2_048;
/// Tolerance of clocks where none is given.
const LEEWAY_DEFAULT: Duration = Duration::from_secs(30);

static ISSUER: Field<Arc<str>> = Field {
    name: "issuer",
    doc: "Issuer, compared byte by byte; a URL with https:// where its keys are discovered.",
    schema: || json!({ "type": "string", "maxLength": NAME_BYTES_MAX, "examples": ["https://auth.example.com"] }),
    parse: name,
};

static AUDIENCE: Field<Vec<Arc<str>>> = Field {
    name: "audience",
    doc: "Audiences; a token needs one of them.",
    schema: || strings_schema(json!({ "type": "string", "maxLength": NAME_BYTES_MAX, "examples": ["api"] })),
    parse: |given| {
        let audience = list_of(given, AUDIENCES_MAX, name)?;
        match audience.is_empty() {
            true => Err(Fault::range("must have at least one item")),
            false => Ok(audience),
        }
    },
};

fn name(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let name = bounded_text(given)?;
    match (1..=NAME_BYTES_MAX).contains(&name.len()) {
        true => Ok(name),
        false => Err(Fault::range(format_args!("must have from 1 to {NAME_BYTES_MAX} bytes"))),
    }
}

static JWKS_URL: Field<Arc<str>> = Field {
    parse: |given| {
        let url = name(given)?;
        secure_url(&url).map(|()| url)
    },
    schema: || json!({ "type": "string", "pattern": "^https?://", "examples": ["https://auth.example.com/jwks.json"] }),
    ..text("jwks_url", "URL of the JWK set; found by OpenID discovery when absent.")
};

static JWKS_FILE: Field<FilePath> = Field {
    name: "jwks_file",
    doc: "File with the JWK set; the only one that may contain secrets of HMAC.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/jwks.json"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

static TOKEN: Field<TokenPlace> = Field {
    name: "token",
    doc: "Place of the token: bearer, or {header: NAME} or {cookie: NAME}; bearer when absent.",
    schema: || json!({ "type": "string", "enum": ["bearer"] }),
    parse: |given| match given.text()? {
        "bearer" => Ok(TokenPlace::Bearer),
        _ => Err(Fault::invalid("must be bearer, {header: NAME} or {cookie: NAME}")),
    },
};

static HEADER: Field<Arc<str>> = header_field("header", "Header field that contains the token alone.");

static COOKIE: Field<Arc<str>> = cookie_field("cookie", "Cookie that contains the token.");

static LEEWAY: Field<Duration> =
    time_within::<0, LEEWAY_MS_MAX>("leeway", "Tolerance of clocks; 30s when absent.");

static FORWARD: Field<bool> =
    boolean("forward", "Whether the endpoint gets the token too; it does when absent.");
