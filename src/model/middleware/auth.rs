//! Authentication: methods of the `auth` stage.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::external::ExternalFilter;
use crate::serde_text::duration;

/// Stage that admits authenticated requests only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthStage {
    /// Methods, in order: the first for which a request has credentials decides.
    pub any_of: Box<[AuthMethod]>,
    /// Whether requests without any credentials go on, without a user. Wrong ones are refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

/// Method of authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Tokens of an identity provider (RFC 7519).
    Jwt(JwtAuth),
    /// Names and passwords (RFC 7617).
    Basic(BasicAuth),
    /// Keys of clients.
    ApiKey(ApiKeys),
    /// A service that is asked.
    Forward(ExternalFilter),
    /// A client certificate that the handshake verified.
    ClientCertificate {},
}

/// Verification of JSON web tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtAuth {
    /// Issuer, compared byte by byte.
    pub issuer: Arc<str>,
    /// Audiences; a token needs one of them.
    pub audience: Box<[Arc<str>]>,
    /// Origin of the keys.
    pub keys: JwtKeys,
    /// Place of the token in the request.
    #[serde(default, skip_serializing_if = "TokenPlace::is_default")]
    pub token: TokenPlace,
    /// Claims that the endpoint gets in header fields.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub claims: Box<[ClaimField]>,
    /// Claims that a token needs.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub require: Box<[ClaimRule]>,
    /// Tolerance of clocks.
    #[serde(with = "duration")]
    pub leeway: Duration,
    /// Whether the endpoint gets the token too.
    pub forward: bool,
}

/// Origin of the keys of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JwtKeys {
    /// The issuer's OpenID configuration names them.
    Discovery,
    /// URL of a JWK set.
    Jwks(Arc<str>),
    /// File with a JWK set; the only one that may contain secrets of HMAC.
    File(Arc<str>),
}

/// Place of a token in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPlace {
    /// `Authorization: Bearer`.
    #[default]
    Bearer,
    /// A field, in lower case, that contains nothing else.
    Header(Arc<str>),
    /// A cookie.
    Cookie(Arc<str>),
}

impl TokenPlace {
    fn is_default(&self) -> bool {
        *self == Self::Bearer
    }
}

/// Claim that the endpoint gets in a header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimField {
    /// The claim; dots lead into objects.
    pub claim: Arc<str>,
    /// The field, in lower case.
    pub header: Arc<str>,
}

/// Claim that a token needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRule {
    /// The claim; dots lead into objects.
    pub claim: Arc<str>,
    /// Values of which it has one; in a list or in words separated by spaces, one suffices.
    pub values: Box<[Arc<str>]>,
}

/// Names and passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// File with lines `name:hash`; the hashes are of bcrypt or argon2.
    pub users_file: Arc<str>,
    /// Realm that clients show.
    pub realm: Arc<str>,
    /// Field, in lower case, in which the endpoint gets the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_header: Option<Arc<str>>,
}

/// Keys of clients, in a header field.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// The field, in lower case.
    pub header: Arc<str>,
    /// Keys in place.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub keys: Box<[ApiKey]>,
    /// File with lines `name:sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<Arc<str>>,
    /// Field, in lower case, in which the endpoint gets the name of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_header: Option<Arc<str>>,
}

impl fmt::Debug for ApiKeys {
    /// Omits the hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("header", &self.header)
            .field("keys", &self.keys.len())
            .field("keys_file", &self.keys_file)
            .finish_non_exhaustive()
    }
}

/// A key of a client.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Name of the client.
    pub name: Arc<str>,
    /// SHA-256 of the key, 64 hexadecimal digits in lower case.
    pub sha256: Arc<str>,
}

impl fmt::Debug for ApiKey {
    /// Omits the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Origin of credentials that the control plane loads, and loads again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialSource {
    /// JWK set that an issuer's OpenID configuration names.
    Discovery(Arc<str>),
    /// URL of a JWK set.
    Jwks(Arc<str>),
    /// File with a JWK set.
    JwkFile(Arc<str>),
    /// File of names and hashed passwords.
    Users(Arc<str>),
    /// File of names and hashed keys.
    ApiKeys(Arc<str>),
}

impl fmt::Display for CredentialSource {
    /// The source in words, for logs and warnings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(issuer) => write!(f, "keys of issuer {issuer}"),
            Self::Jwks(url) => write!(f, "keys of {url}"),
            Self::JwkFile(path) => write!(f, "keys in {path}"),
            Self::Users(path) => write!(f, "users in {path}"),
            Self::ApiKeys(path) => write!(f, "API keys in {path}"),
        }
    }
}

impl AuthMethod {
    /// The service that is asked, if one is.
    pub fn filter(&self) -> Option<&ExternalFilter> {
        match self {
            Self::Forward(filter) => Some(filter),
            Self::Jwt(_) | Self::Basic(_) | Self::ApiKey(_) | Self::ClientCertificate {} => None,
        }
    }

    /// Fields of the forwarded request, in lower case, that only it may set; one may come twice.
    pub fn asserts(&self) -> impl Iterator<Item = &str> {
        let claims = match self {
            Self::Jwt(jwt) => &*jwt.claims,
            _ => &[],
        };
        let user = match self {
            Self::Basic(basic) => basic.user_header.as_deref(),
            Self::ApiKey(keys) => keys.user_header.as_deref(),
            Self::Jwt(_) | Self::Forward(_) | Self::ClientCertificate {} => None,
        };
        let of_filter = self.filter().into_iter().flat_map(ExternalFilter::asserted);
        let claims = claims.iter().map(|claim| &*claim.header);
        claims.chain(user).chain(of_filter.map(|name| &**name))
    }

    /// The credentials that have to be loaded for it.
    pub fn source(&self) -> Option<CredentialSource> {
        match self {
            Self::Jwt(jwt) => Some(match &jwt.keys {
                JwtKeys::Discovery => CredentialSource::Discovery(jwt.issuer.clone()),
                JwtKeys::Jwks(url) => CredentialSource::Jwks(url.clone()),
                JwtKeys::File(path) => CredentialSource::JwkFile(path.clone()),
            }),
            Self::Basic(basic) => Some(CredentialSource::Users(basic.users_file.clone())),
            Self::ApiKey(keys) => keys.keys_file.clone().map(CredentialSource::ApiKeys),
            Self::Forward(_) | Self::ClientCertificate {} => None,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
