//! Webhooks of apps.

use std::fmt;
use std::sync::Arc;

use crate::limits;

/// An app's webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The URL that events are posted to.
    pub url: WebhookUrl,
    /// The key that deliveries are signed with, if any.
    pub secret: Option<WebhookSecret>,
}

/// An `http` or `https` URL without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebhookUrl(Arc<str>);

/// A key for signatures; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Arc<str>);

/// Parse error of a webhook's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookUrlError {
    /// Neither `http://` nor `https://`.
    Scheme,
    /// User information was given.
    Credentials,
    /// No host, or characters that a URL cannot have.
    Malformed,
    /// Longer than [`limits::WEBHOOK_URL_BYTES_MAX`] bytes.
    TooLong,
}

impl fmt::Display for WebhookUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("must begin with https:// or http://"),
            Self::Credentials => {
                f.write_str("must not contain credentials; sign deliveries with a secret instead")
            }
            Self::Malformed => f.write_str("must be a URL, as in https://app.example/hooks"),
            Self::TooLong => write!(f, "must have at most {} bytes", limits::WEBHOOK_URL_BYTES_MAX),
        }
    }
}

impl std::error::Error for WebhookUrlError {}

/// A secret of the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookSecretError;

impl fmt::Display for WebhookSecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (limits::WEBHOOK_SECRET_BYTES_MIN, limits::WEBHOOK_SECRET_BYTES_MAX);
        write!(f, "must have {least} to {most} visible ASCII characters")
    }
}

impl std::error::Error for WebhookSecretError {}

impl WebhookUrl {
    /// Parses a URL; no connection is made.
    ///
    /// # Errors
    /// See [`WebhookUrlError`].
    pub fn parse(text: &str) -> Result<Self, WebhookUrlError> {
        if text.len() > limits::WEBHOOK_URL_BYTES_MAX {
            return Err(WebhookUrlError::TooLong);
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Err(WebhookUrlError::Scheme) };
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(WebhookUrlError::Scheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(WebhookUrlError::Credentials);
        }
        let is_clean = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
        if authority.is_empty() || authority.starts_with(':') || !is_clean {
            return Err(WebhookUrlError::Malformed);
        }
        Ok(Self(text.into()))
    }

    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl WebhookSecret {
    /// Parses a secret.
    ///
    /// # Errors
    /// The text is too short, too long, or not visible ASCII.
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let lengths = limits::WEBHOOK_SECRET_BYTES_MIN..=limits::WEBHOOK_SECRET_BYTES_MAX;
        let is_one = lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_one { Ok(Self(text.into())) } else { Err(WebhookSecretError) }
    }

    /// The text, for signatures and for the store; never to be shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_http_without_credentials() {
        for good in ["https://a.example/x?y=1", "http://127.0.0.1:9000", "HTTPS://a.example"] {
            assert!(WebhookUrl::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("a.example/x", WebhookUrlError::Scheme),
            ("ftp://a.example", WebhookUrlError::Scheme),
            ("https://user:secret@a.example", WebhookUrlError::Credentials),
            ("https://", WebhookUrlError::Malformed),
            ("https://:80/x", WebhookUrlError::Malformed),
            ("https://a.example/a b", WebhookUrlError::Malformed),
            ("https://a.example/\r\nX: y", WebhookUrlError::Malformed),
        ] {
            assert_eq!(WebhookUrl::parse(bad), Err(why), "{bad}");
        }
        let longest = format!("https://a.example/{}", "x".repeat(limits::WEBHOOK_URL_BYTES_MAX - 18));
        assert!(WebhookUrl::parse(&longest).is_ok());
        assert_eq!(WebhookUrl::parse(&(longest + "x")), Err(WebhookUrlError::TooLong));
    }

    #[test]
    fn secrets_are_long_enough_and_not_shown() {
        let least = "s".repeat(limits::WEBHOOK_SECRET_BYTES_MIN);
        assert!(WebhookSecret::parse(&least).is_ok());
        assert!(WebhookSecret::parse(&least[1..]).is_err());
        assert!(WebhookSecret::parse(&"s".repeat(limits::WEBHOOK_SECRET_BYTES_MAX + 1)).is_err());
        assert!(WebhookSecret::parse("with spaces in between").is_err());
        let shown = format!("{:?}", WebhookSecret::parse("correct-horse-battery"));
        assert!(!shown.contains("horse"), "{shown}");
    }
}
