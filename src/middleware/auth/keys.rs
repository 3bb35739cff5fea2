//! Keys of tokens: JWK sets (RFC 7517), and the verification of signatures (RFC 7518 §3).
//!
//! The algorithm belongs to the key, never to the token: a token whose header names another one is refused.

use std::fmt;

use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::json;
use crate::limits;

/// Keys of one issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Box<[Key]>,
}

/// A key with its algorithm.
pub(crate) struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
}

impl fmt::Debug for Key {
    /// Omits the material, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

enum Material {
    /// Modulus and exponent.
    Rsa(Box<[u8]>, Box<[u8]>),
    /// Uncompressed point, or the bytes of an Ed25519 key.
    Public(Box<[u8]>),
    Secret(Box<hmac::Key>),
}

macro_rules! algorithms {
    ($($name:ident = $text:literal,)+) => {
        /// Signature algorithm (RFC 7518 §3.1, RFC 8037).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Algorithm { $(#[doc = $text] $name,)+ }

        impl Algorithm {
            pub(crate) fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

algorithms! {
    Rs256 = "RS256", Rs384 = "RS384", Rs512 = "RS512",
    Ps256 = "PS256", Ps384 = "PS384", Ps512 = "PS512",
    Es256 = "ES256", Es384 = "ES384", Es512 = "ES512",
    EdDsa = "EdDSA",
    Hs256 = "HS256", Hs384 = "HS384", Hs512 = "HS512",
}

/// Reason why a text is no usable JWK set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It is too large.
    TooLarge,
    /// It is no JSON object with a list `keys`, or an object has a name twice.
    Malformed,
    /// It has too many keys.
    TooMany,
    /// None of its keys can verify signatures.
    NoneUsable,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "is larger than {} bytes", limits::JWK_SET_BYTES_MAX),
            Self::Malformed => f.write_str("is no JSON object with a list `keys`"),
            Self::TooMany => write!(f, "has more than {} keys", limits::JWK_SET_KEYS_MAX),
            Self::NoneUsable => f.write_str("has no key that verifies signatures"),
        }
    }
}

impl std::error::Error for KeyError {}

impl KeySet {
    /// Parses a JWK set. Keys of unknown kinds, for encryption, or too weak are left out; secrets too, unless
    /// `admits_secrets`: the publisher of a set could else publish a secret that all know.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &[u8], admits_secrets: bool) -> Result<Self, KeyError> {
        if text.len() > limits::JWK_SET_BYTES_MAX {
            return Err(KeyError::TooLarge);
        }
        let set = json::parse(text).ok_or(KeyError::Malformed)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeyError::Malformed)?;
        if keys.len() > limits::JWK_SET_KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let keys: Box<[Key]> = keys.iter().filter_map(|key| Key::parse(key, admits_secrets)).collect();
        if keys.is_empty() { Err(KeyError::NoneUsable) } else { Ok(Self { keys }) }
    }

    /// Number of usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is usable; never for a parsed set.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys that a token with this id and algorithm may have been signed with. A token without an id may have
    /// been signed with any key of the algorithm.
    pub(crate) fn candidates<'k>(
        &'k self,
        id: Option<&'k str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'k Key> {
        let is_candidate =
            move |key: &&Key| key.algorithm == algorithm && id.is_none_or(|id| key.id.as_deref() == Some(id));
        self.keys.iter().filter(is_candidate)
    }

    /// Whether a key has this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

impl Key {
    fn parse(jwk: &Value, admits_secrets: bool) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if jwk.get("use").is_some() && text("use") != Some("sig") {
            return None;
        }
        let verifies = |ops: &Vec<Value>| ops.iter().any(|op| op == "verify");
        if jwk.get("key_ops").is_some_and(|ops| !ops.as_array().is_some_and(verifies)) {
            return None;
        }
        let declared = match jwk.get("alg") {
            None => None,
            Some(_) => Some(Algorithm::parse(text("alg")?)?),
        };
        let (algorithm, material) = match (text("kty")?, text("crv")) {
            ("RSA", None) => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                if !is_rsa_key(&modulus, &exponent) {
                    return None;
                }
                let algorithm = declared.unwrap_or(Algorithm::Rs256);
                (algorithm, Material::Rsa(modulus.into(), exponent.into()))
            }
            ("EC", Some(curve)) => {
                let (algorithm, size) = match curve {
                    "P-256" => (Algorithm::Es256, 32),
                    "P-384" => (Algorithm::Es384, 48),
                    "P-521" => (Algorithm::Es512, 66),
                    _ => return None,
                };
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != size
                    || y.len() != size
                    || declared.is_some_and(|declared| declared != algorithm)
                {
                    return None;
                }
                (algorithm, Material::Public([&[4][..], &x, &y].concat().into()))
            }
            ("OKP", Some("Ed25519")) => {
                let key = bytes("x")?;
                if key.len() != 32 || declared.is_some_and(|declared| declared != Algorithm::EdDsa) {
                    return None;
                }
                (Algorithm::EdDsa, Material::Public(key.into()))
            }
            ("oct", None) if admits_secrets => {
                let secret = bytes("k")?;
                let algorithm = declared?;
                let (hmac, size) = match algorithm {
                    Algorithm::Hs256 => (hmac::HMAC_SHA256, 32),
                    Algorithm::Hs384 => (hmac::HMAC_SHA384, 48),
                    Algorithm::Hs512 => (hmac::HMAC_SHA512, 64),
                    _ => return None,
                };
                // RFC 7518 §3.2: as long as the hash at least.
                if secret.len() < size {
                    return None;
                }
                (algorithm, Material::Secret(Box::new(hmac::Key::new(hmac, &secret))))
            }
            _ => return None,
        };
        let is_fitting = match &material {
            Material::Rsa(..) => rsa_parameters(algorithm).is_some(),
            Material::Public(_) => public_algorithm(algorithm).is_some(),
            Material::Secret(_) => true,
        };
        is_fitting.then(|| Self { id: text("kid").map(Into::into), algorithm, material })
    }

    /// Whether `signature` is that of `message`. 4 us for secrets, 40 to 110 us for the others.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa(n, e) => rsa_parameters(self.algorithm).is_some_and(|parameters| {
                let key = signature::RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }),
            Material::Public(key) => public_algorithm(self.algorithm).is_some_and(|algorithm| {
                signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
            }),
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// Whether a key is as strong as it looks: without leading zeros (RFC 7518 §6.3.1), both odd, and an exponent
/// from 3, of which 1 would make every message its own signature.
fn is_rsa_key(modulus: &[u8], exponent: &[u8]) -> bool {
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    let is_minimal = |number: &[u8]| number.first().is_some_and(|byte| *byte != 0);
    let bits = modulus.len() * 8;
    (2048..=8192).contains(&bits)
        && [modulus, exponent].into_iter().all(|number| is_odd(number) && is_minimal(number))
        && exponent.len() <= 8
        && exponent != [1]
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn public_algorithm(algorithm: Algorithm) -> Option<&'static dyn signature::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
        _ => return None,
    })
}
