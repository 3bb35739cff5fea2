//! One delivery attempt: signs and posts. Blocks its delivery thread.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::limits::WEBHOOK_TIMEOUT;
use aws_lc_rs::hmac;
use ringway_model::{Timestamp, WebhookSecret};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error};

use crate::queue::{Delivery, Outcome};

/// Creates the HTTP client. Connections are kept for the next event; redirects and proxies are not used.
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
        .timeout_global(Some(WEBHOOK_TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("ringway/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build();
    config.new_agent()
}

/// Posts a delivery.
pub(crate) fn send(agent: &Agent, delivery: &Delivery, now: Timestamp) -> Outcome {
    let timestamp = (now.0 / 1000).to_string();
    let mut request = agent
        .post(delivery.webhook.url.as_str())
        .header("Content-Type", "application/json")
        .header("X-Ringway-Event-Id", &*delivery.id)
        .header("X-Ringway-Timestamp", &timestamp);
    if let Some(secret) = &delivery.webhook.secret {
        request = request.header("X-Ringway-Signature", signature(secret, &timestamp, &delivery.body));
    }
    match request.send(&delivery.body[..]) {
        // The body of the response is not read; one with a body ends the connection.
        Ok(response) => classify(response.status().as_u16()),
        Err(error) => Outcome::Failed(reason(&error)),
    }
}

fn classify(status: u16) -> Outcome {
    match status {
        200..=299 => Outcome::Delivered,
        408 | 429 | 500..=599 => Outcome::Failed(format!("the receiver responded with {status}")),
        _ => Outcome::Refused(format!("the receiver responded with {status}")),
    }
}

/// Reason of a failure, without the URL: its path may contain a token of the receiver.
fn reason(error: &Error) -> String {
    match error {
        Error::Timeout(_) => format!("no response within {} s", WEBHOOK_TIMEOUT.as_secs()),
        Error::HostNotFound => "the receiver's name cannot be resolved".to_owned(),
        Error::ConnectionFailed => "no connection to the receiver".to_owned(),
        Error::Io(error) => error.to_string(),
        Error::Rustls(error) => format!("TLS: {error}"),
        _ => "the response is not valid HTTP".to_owned(),
    }
}

/// Signature: `sha256=` and the HMAC of timestamp, full stop and body.
fn signature(secret: &WebhookSecret, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    for part in [timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    let mut text = String::from("sha256=");
    for byte in context.sign().as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_equals_that_of_openssl() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac correct-horse-battery
        let secret = WebhookSecret::parse("correct-horse-battery").expect("long enough");
        assert_eq!(
            signature(&secret, "1700000000", b"{}"),
            "sha256=e4e06d0f191f673a5c791baba9bff071801db02cae56ba36de20d51021604c61"
        );
    }

    #[test]
    fn only_temporary_failures_are_retried() {
        assert_eq!(classify(204), Outcome::Delivered);
        assert!(matches!(classify(301), Outcome::Refused(_)));
        assert!(matches!(classify(410), Outcome::Refused(_)));
        assert!(matches!(classify(429), Outcome::Failed(_)));
        assert!(matches!(classify(503), Outcome::Failed(_)));
    }
}
