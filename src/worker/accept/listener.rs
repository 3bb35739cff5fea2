//! Listeners of a worker: the protocol of their connections, and the handler of their requests.
//!
//! ```text
//! http   plain       Gateway
//!        redirect    Gateway, which redirects hosts that have a certificate to https
//!        https_only  AcmeOnly
//! https              Gateway
//! ```
//! ACME challenges are answered by every handler: a CA follows redirects (RFC 8555 §8.3).

/// Configuration of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Protocol of its connections.
    pub protocol: ListenerProtocol,
    /// Handler of its requests.
    pub handler: Handler,
}

/// Protocol of the connections of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP/1.1 without TLS.
    Http,
    /// HTTP/1.1 or HTTP/2 over TLS.
    Https,
}

/// Handler of the requests of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Routes requests to apps.
    Gateway {
        /// Whether requests for hosts that can be served over TLS are redirected to https.
        redirects_to_https: bool,
    },
    /// Answers ACME challenges, and refuses all other requests.
    AcmeOnly,
}

/// Mode of the `http` listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMode {
    /// All hosts are served, as over TLS.
    Plain,
    /// Hosts that can be served over TLS are redirected to https; the others are served.
    #[default]
    Redirect,
    /// Only ACME challenges are answered.
    HttpsOnly,
}

impl ListenerConfig {
    /// A listener without TLS.
    pub fn http(mode: HttpMode) -> Self {
        let handler = match mode {
            HttpMode::Plain => Handler::Gateway { redirects_to_https: false },
            HttpMode::Redirect => Handler::Gateway { redirects_to_https: true },
            HttpMode::HttpsOnly => Handler::AcmeOnly,
        };
        Self { protocol: ListenerProtocol::Http, handler }
    }

    /// A listener with TLS.
    pub fn https() -> Self {
        let handler = Handler::Gateway { redirects_to_https: false };
        Self { protocol: ListenerProtocol::Https, handler }
    }
}
