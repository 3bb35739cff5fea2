//! Settings of access control, and the rule about listeners beyond the loopback interface.

use std::fmt;
use std::net::SocketAddr;

use super::{AdminTls, Token, TokensFile};

/// Access control of the API.
#[derive(Clone, Debug, Default)]
pub struct AccessSettings {
    /// Single bearer token, which permits everything.
    pub token: Option<Token>,
    /// Named tokens with scopes.
    pub tokens: Option<TokensFile>,
    /// Certificate, and the CA of clients, of listeners beyond the loopback interface.
    pub tls: Option<AdminTls>,
    /// Further host names of the API, besides localhost and its addresses.
    pub hosts: Vec<String>,
}

impl AccessSettings {
    /// Checks whether the API may listen on an address: the loopback interface, or any with a token or
    /// client certificates.
    ///
    /// # Errors
    /// [`BindError`] for any other address; the process must not start.
    pub fn check_bind(&self, address: SocketAddr) -> Result<(), BindError> {
        let verifies_clients = self.tls.as_ref().is_some_and(AdminTls::verifies_clients);
        match is_loopback(address) || self.requires_token() || verifies_clients {
            true => Ok(()),
            false => Err(BindError { address }),
        }
    }

    /// Whether a listener on an address uses TLS: beyond the loopback interface, where there is a
    /// certificate.
    pub fn uses_tls(&self, address: SocketAddr) -> bool {
        self.tls.is_some() && !is_loopback(address)
    }

    /// Whether TCP clients need a token.
    pub(crate) fn requires_token(&self) -> bool {
        self.token.is_some() || self.tokens.is_some()
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The API would be reachable from the network without access control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindError {
    /// The requested address.
    pub address: SocketAddr,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the admin API would be reachable on {} without a token and without client certificates; set one of both, or bind it to 127.0.0.1",
            self.address
        )
    }
}

impl std::error::Error for BindError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_loopback_goes_without_a_token() {
        let token = Some(Token::parse("0123456789abcdef").unwrap());
        let (open, guarded) =
            (AccessSettings::default(), AccessSettings { token, ..AccessSettings::default() });
        for (address, is_fine) in [
            ("127.0.0.1:8080", true),
            ("127.9.9.9:1", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("10.0.0.1:8080", false),
            ("[fe80::1]:8080", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(open.check_bind(address).is_ok(), is_fine, "{address}");
            assert_eq!(guarded.check_bind(address), Ok(()), "{address}");
        }
    }
}
