//! Stage `cors`: pages of other origins that may read responses.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Cors, Hostname};
use serde_json::json;

use super::config;
use crate::shapes::matcher::{METHODS, is_token};
use crate::values::{boolean, time_within};
use crate::values::{list_of, strings_schema};
use crate::{Fault, Field, Given, Reader};

/// Reads `cors`.
pub(super) fn cors(reader: &mut Reader<'_>) -> Option<Cors> {
    config(reader, |reader| {
        let origins = reader.required(&ORIGINS);
        let methods = reader.optional(&ALLOW_METHODS);
        let allow_headers = reader.optional(&ALLOW_HEADERS).unwrap_or_default();
        let expose_headers = reader.optional(&EXPOSE_HEADERS).unwrap_or_default();
        let allow_credentials = reader.optional(&CREDENTIALS).unwrap_or(false);
        let max_age = reader.optional(&MAX_AGE).unwrap_or(MAX_AGE_DEFAULT);
        let origins = origins?;
        if allow_credentials && origins.iter().any(|origin| &**origin == "*") {
            let message = "cannot stand beside the origin *: every page could read a user's data; name the \
                           origins"
                .to_owned();
            reader.fault(CREDENTIALS.name, Fault { code: "conflict", message });
        }
        Some(Cors {
            allow_origins: origins.into(),
            allow_methods: methods.unwrap_or_else(|| SAFELISTED.map(Arc::from).to_vec()).into(),
            allow_headers: allow_headers.into(),
            expose_headers: expose_headers.into(),
            allow_credentials,
            max_age,
        })
    })
}

/// Methods that pages may use without asking (Fetch §2.2.1).
const SAFELISTED: [&str; 3] = ["GET", "HEAD", "POST"];
/// Browsers ask again after five seconds where none is given.
const MAX_AGE_DEFAULT: Duration = Duration::from_secs(600);
/// Longest time of a preflight in milliseconds: a day; no browser keeps it longer.
const MAX_AGE_MS_MAX: u64 = 86_400_000;
/// Origins, or fields, of one stage.
const ITEMS_MAX: usize = 100;

static ORIGINS: Field<Vec<Arc<str>>> = Field {
    name: "allow_origins",
    doc: "Origins such as https://app.example.com; https://*.example.com for one label; or * for all.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["https://app.example.com"] })),
    parse: |given| {
        let origins = list_of(given, ITEMS_MAX, origin)?;
        match &*origins {
            [] => Err(Fault::range("must have at least one origin")),
            [_] => Ok(origins),
            several if several.iter().any(|origin| &**origin == "*") => {
                let message = "has * beside other origins: it stands for all".to_owned();
                Err(Fault { code: "conflict", message })
            }
            _ => Ok(origins),
        }
    },
};

/// Parses `scheme://host[:port]`, whose first label may be `*`, as browsers write it.
fn origin(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?;
    if text == "*" {
        return Ok(text.into());
    }
    let wrong = || {
        let shown: String = text.chars().take(100).collect();
        Fault::invalid(format_args!(
            "must be an origin such as https://app.example.com, without path and final slash; {shown:?} is none"
        ))
    };
    let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => {
            let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
            (host, Some(port))
        }
        None => (authority, None),
    };
    if !is_scheme {
        return Err(wrong());
    }
    let scheme = scheme.to_ascii_lowercase();
    let is_default = matches!((&*scheme, port), ("http", Some(80)) | ("https", Some(443)));
    let port = port.filter(|_| !is_default).map_or_else(String::new, |port| format!(":{port}"));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = match (host.strip_prefix("*."), address.parse::<std::net::IpAddr>()) {
        (Some(name), _) => format!("*.{}", Hostname::parse(name).map_err(|_| wrong())?),
        (None, Ok(std::net::IpAddr::V6(ip))) if host.starts_with('[') => format!("[{ip}]"),
        (None, Ok(std::net::IpAddr::V4(ip))) if !host.starts_with('[') => ip.to_string(),
        (None, _) => Hostname::parse(host).map_err(|_| wrong())?.to_string(),
    };
    Ok(format!("{scheme}://{host}{port}").into())
}

static ALLOW_METHODS: Field<Vec<Arc<str>>> = Field {
    name: "allow_methods",
    doc: "Methods that preflights admit; GET, HEAD and POST when absent.",
    ..METHODS
};

static ALLOW_HEADERS: Field<Vec<Arc<str>>> = Field {
    name: "allow_headers",
    doc: "Fields of requests that preflights admit; those that are asked for when absent.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["X-API-Key"] })),
    parse: field_names,
};

static EXPOSE_HEADERS: Field<Vec<Arc<str>>> = Field {
    name: "expose_headers",
    doc: "Fields of responses that pages may read, beside the usual ones.",
    ..ALLOW_HEADERS
};

fn field_names(given: Given<'_>) -> Result<Vec<Arc<str>>, Fault> {
    list_of(given, ITEMS_MAX, |given| {
        let name = given.text()?;
        match is_token(name) {
            true => Ok(name.into()),
            false => Err(Fault::invalid(format_args!("must be names of header fields; {name:?} is none"))),
        }
    })
}

static CREDENTIALS: Field<bool> =
    boolean("allow_credentials", "Whether pages may send cookies and credentials; not when absent.");

static MAX_AGE: Field<Duration> =
    time_within::<0, MAX_AGE_MS_MAX>("max_age", "Time that a preflight holds; 10m when absent.");
