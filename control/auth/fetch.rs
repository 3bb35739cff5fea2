//! JWK sets of identity providers: requests by https, without redirects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error};

use crate::failure_kind::FailureKind;
use crate::limits::{ANSWER_BYTES_MAX, FETCH_TIMEOUT};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    /// `max-age` of `Cache-Control`.
    pub(crate) max_age: Option<Duration>,
}

/// Reason why there is no JWK set.
#[derive(Debug)]
pub(crate) struct FetchError {
    pub(crate) kind: FailureKind,
    text: String,
}

/// The error of an answer that cannot be used.
fn unusable(text: String) -> FetchError {
    FetchError { kind: FailureKind::Invalid, text }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Creates the HTTP client.
pub(crate) fn new_agent() -> Agent {
    let roots: Vec<_> = rustls_native_certs::load_native_certs().certs;
    let roots = match roots.is_empty() {
        // Without CAs of the system, Mozilla's as of the build.
        true => RootCerts::WebPki,
        false => {
            let owned = |der: &[u8]| Certificate::from_der(der).to_owned();
            RootCerts::Specific(Arc::new(roots.iter().map(|der| owned(der.as_ref())).collect()))
        }
    };
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(ringway_tls::provider())
        .root_certs(roots)
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("ringway/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build();
    config.new_agent()
}

/// The JWK set that the OpenID configuration of an issuer names.
pub(crate) fn discover(agent: &Agent, issuer: &str) -> Result<Answer, FetchError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let configuration = get(agent, &url)?;
    let configuration: serde_json::Value =
        serde_json::from_slice(&configuration.body).map_err(|_| unusable(format!("{url} is not JSON")))?;
    let text = |name: &str| configuration.get(name).and_then(serde_json::Value::as_str);
    // Another issuer's configuration here would let it sign for this one.
    match text("issuer") {
        Some(named) if named == issuer => {}
        Some(named) => return Err(unusable(format!("{url} is of issuer {named:?}, not of {issuer:?}"))),
        None => return Err(unusable(format!("{url} names no issuer"))),
    }
    let keys = text("jwks_uri").ok_or_else(|| unusable(format!("{url} names no jwks_uri")))?;
    // A provider elsewhere has no business with what listens on this machine.
    if url.starts_with("https://") && !keys.starts_with("https://") {
        return Err(unusable(format!("{url} names keys at {keys}, which must be https")));
    }
    get(agent, keys)
}

/// The content of a URL, of https or on this machine.
pub(crate) fn get(agent: &Agent, url: &str) -> Result<Answer, FetchError> {
    if !is_safe(url) {
        return Err(unusable(format!("{url} must be https: keys over plain http could be anyone's")));
    }
    let failed = |kind, reason: String| FetchError { kind, text: format!("{url}: {reason}") };
    let mut response = agent.get(url).call().map_err(|error| failed(kind(&error), reason(&error)))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(failed(FailureKind::Status, format!("the answer has status {status}")));
    }
    let cache_control = response.headers().get("cache-control").and_then(|value| value.to_str().ok());
    let max_age = cache_control.and_then(max_age);
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|error| failed(kind(&error), reason(&error)))?;
    Ok(Answer { body, max_age })
}

/// Whether an answer of the URL is of whom it names: by https, or from this machine.
fn is_safe(url: &str) -> bool {
    if url.starts_with("https://") {
        return true;
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    !authority.contains('@')
        && (host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()))
}

fn max_age(cache_control: &str) -> Option<Duration> {
    let seconds = cache_control.split(',').find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

fn kind(error: &Error) -> FailureKind {
    match error {
        Error::Timeout(_) => FailureKind::Timeout,
        Error::HostNotFound | Error::ConnectionFailed | Error::Io(_) | Error::Rustls(_) => {
            FailureKind::Unreachable
        }
        _ => FailureKind::Invalid,
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {} s", FETCH_TIMEOUT.as_secs()),
        Error::HostNotFound => "the name cannot be resolved".to_owned(),
        Error::ConnectionFailed => "no connection".to_owned(),
        Error::BodyExceedsLimit(_) => format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"),
        Error::Io(error) => error.to_string(),
        Error::Rustls(error) => format!("TLS: {error}"),
        _ => "the answer is not valid HTTP".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for good in ["https://a.example/x", "http://127.0.0.1:8/x", "http://localhost/", "http://[::1]:1/"] {
            assert!(is_safe(good), "{good}");
        }
        for bad in [
            "http://a.example/",
            "http://127.0.0.1@a.example/",
            "http://127.0.0.1.a.example/",
            "http://localhost.a.example",
            "ftp://localhost/",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!is_safe(bad), "{bad}");
        }
    }

    #[test]
    fn the_age_of_an_answer_is_read() {
        assert_eq!(max_age("public, max-age=600, must-revalidate"), Some(Duration::from_secs(600)));
        assert_eq!(max_age("Max-Age=\"5\""), Some(Duration::from_secs(5)));
        assert_eq!(max_age("no-store"), None);
        assert_eq!(max_age("max-age=x"), None);
    }
}
