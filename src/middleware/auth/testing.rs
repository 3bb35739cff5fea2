//! Kit of the tests of authentication: keys that sign, tokens, and the judgement of a request by a stage.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, KeyPair as _};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ringway_model::{AuthMethod, AuthStage, JwtAuth, JwtKeys, StageSpec, TokenPlace};
use serde_json::{Value, json};

use crate::chain::{Chain, Run};
use crate::compile::{ChainSource, compile};
use crate::credentials::{Credentials, KeySet};
use crate::testing::{TestServices, head, view};
use crate::{Flow, LocalReply, ReplyBody, RequestCtx};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://auth.example.com";

/// A key of the tests.
pub(super) struct Signer {
    pub(super) algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(&'static rsa::KeyPair, &'static dyn signature::RsaEncoding),
    Ec(signature::EcdsaKeyPair, &'static str),
    Ed(signature::Ed25519KeyPair),
    Secret(Box<hmac::Key>, Vec<u8>),
}

static RSA: LazyLock<rsa::KeyPair> =
    LazyLock::new(|| rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key of RSA"));

/// One key of each algorithm, with the algorithm's name as its id.
pub(super) static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
    let ec = |of, curve| Pair::Ec(signature::EcdsaKeyPair::generate(of).expect("a key of ECDSA"), curve);
    let secret = |of, size| {
        let secret: Vec<u8> = (0..size).collect();
        Pair::Secret(Box::new(hmac::Key::new(of, &secret)), secret)
    };
    let pairs = [
        ("RS256", Pair::Rsa(&RSA, &signature::RSA_PKCS1_SHA256)),
        ("RS384", Pair::Rsa(&RSA, &signature::RSA_PKCS1_SHA384)),
        ("RS512", Pair::Rsa(&RSA, &signature::RSA_PKCS1_SHA512)),
        ("PS256", Pair::Rsa(&RSA, &signature::RSA_PSS_SHA256)),
        ("PS384", Pair::Rsa(&RSA, &signature::RSA_PSS_SHA384)),
        ("PS512", Pair::Rsa(&RSA, &signature::RSA_PSS_SHA512)),
        ("ES256", ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")),
        ("ES384", ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")),
        ("ES512", ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521")),
        ("EdDSA", Pair::Ed(signature::Ed25519KeyPair::generate().expect("a key of Ed25519"))),
        ("HS256", secret(hmac::HMAC_SHA256, 32)),
        ("HS384", secret(hmac::HMAC_SHA384, 48)),
        ("HS512", secret(hmac::HMAC_SHA512, 64)),
    ];
    pairs.into_iter().map(|(algorithm, pair)| Signer { algorithm, pair }).collect()
});

pub(super) fn signer(algorithm: &str) -> &'static Signer {
    SIGNERS.iter().find(|signer| signer.algorithm == algorithm).expect("a key of the tests")
}

/// Modulus of the RSA key: its public key is `SEQUENCE { INTEGER n, INTEGER 65537 }`.
pub(super) fn rsa_modulus() -> Vec<u8> {
    RSA.public_key().as_ref()[9..265].to_vec()
}

/// The RSA key as the DER that libraries confuse with a secret.
pub(super) fn rsa_der() -> Vec<u8> {
    RSA.public_key().as_ref().to_vec()
}

impl Signer {
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).expect("a signature");
                signature
            }
            Pair::Ec(pair, _) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Secret(key, _) => hmac::sign(key, message).as_ref().to_vec(),
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(..) => json!({ "kty": "RSA", "n": BASE64.encode(rsa_modulus()), "e": "AQAB" }),
            Pair::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": curve, "x": BASE64.encode(x), "y": BASE64.encode(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(pair.public_key().as_ref()) })
            }
            Pair::Secret(_, secret) => json!({ "kty": "oct", "k": BASE64.encode(secret) }),
        };
        jwk["kid"] = self.algorithm.into();
        jwk["alg"] = self.algorithm.into();
        jwk
    }

    /// A token with its own header.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm, "kid": self.algorithm, "typ": "JWT" }), claims)
    }

    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        forge(&header.to_string(), &claims.to_string(), |message| self.sign(message))
    }
}

/// A token of these texts.
pub(super) fn forge(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let signature = BASE64.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Good claims.
pub(super) fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "api", "sub": "alice", "exp": NOW + 600, "iat": NOW })
}

/// Good claims with one changed; `null` removes it.
pub(super) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => _ = claims.as_object_mut().map(|claims| claims.remove(name)),
        value => claims[name] = value,
    }
    claims
}

/// The keys of all signers: those of secrets too, where a set may have them.
pub(super) fn keys(admits_secrets: bool) -> Arc<Credentials> {
    keys_of(&SIGNERS.iter().map(Signer::jwk).collect::<Vec<_>>(), admits_secrets)
}

pub(super) fn keys_of(jwks: &[Value], admits_secrets: bool) -> Arc<Credentials> {
    let set = json!({ "keys": jwks }).to_string();
    Arc::new(Credentials::Keys(KeySet::parse(set.as_bytes(), admits_secrets).expect("keys of the tests")))
}

/// Settings of the tests: keys are discovered.
pub(super) fn jwt() -> JwtAuth {
    JwtAuth {
        issuer: ISSUER.into(),
        audience: Box::new(["api".into()]),
        keys: JwtKeys::Discovery,
        token: TokenPlace::Bearer,
        claims: Box::default(),
        require: Box::default(),
        leeway: Duration::from_secs(30),
        forward: true,
    }
}

/// The compiled stage.
pub(super) fn chain(any_of: &[AuthMethod], optional: bool) -> Arc<Chain> {
    let stage = StageSpec::Auth(AuthStage { any_of: any_of.into(), optional });
    let source = ChainSource {
        custom: None,
        stages: &[&stage],
        plugin: &|_| None,
        builtins: &crate::Builtins::default(),
    };
    compile(&source).chain.expect("a chain with a stage")
}

/// Services at [`NOW`] with credentials for the source of a method.
pub(super) fn services(method: &AuthMethod, credentials: Arc<Credentials>) -> TestServices {
    let source = method.source().expect("a method with a source");
    TestServices { now: NOW, credentials: [(source, credentials)].into(), ..TestServices::default() }
}

/// Judgement of a request.
#[derive(Debug)]
pub(super) enum Judged {
    /// Field lines that the endpoint gets.
    Admitted(String),
    Refused(LocalReply),
}

impl Judged {
    /// `admitted`, or the code of the reply.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Admitted(_) => "admitted",
            Self::Refused(reply) => match reply.body() {
                ReplyBody::Error { code, .. } => code,
                ReplyBody::Bytes(_) => "bytes",
            },
        }
    }

    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Admitted(_) => 200,
            Self::Refused(reply) => reply.status(),
        }
    }

    /// The reason for people.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Admitted(_) => "admitted".to_owned(),
            Self::Refused(reply) => match reply.body() {
                ReplyBody::Error { message, .. } => message.clone().into_owned(),
                ReplyBody::Bytes(_) => String::new(),
            },
        }
    }

    pub(super) fn lines(&self) -> &str {
        match self {
            Self::Admitted(lines) => lines,
            Self::Refused(_) => panic!("refused: {self:?}"),
        }
    }
}

/// Judges a request with these field lines, each with its CRLF.
pub(super) fn judge(chain: &Chain, lines: &str, services: &TestServices) -> Judged {
    judge_with(chain, lines, services, None)
}

/// Judges a request of a client with this certificate.
pub(super) fn judge_with(
    chain: &Chain,
    lines: &str,
    services: &TestServices,
    certificate: Option<&str>,
) -> Judged {
    let text = format!("GET / HTTP/1.1\r\nHost: x.example\r\n{lines}\r\n");
    let (head, mut run) = (head(&text), Run::default());
    let mut view = view(&head, &text);
    view.parts.certificate = certificate;
    let mut request = RequestCtx::new(view, services, &mut run);
    let flow = match chain.on_request(&mut request) {
        Flow::Wait => {
            let waiting = pin!(chain.wait(&mut request));
            match waiting.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(ControlFlow::Continue(())) => Flow::Continue,
                Poll::Ready(ControlFlow::Break(reply)) => Flow::Reply(reply),
                Poll::Pending => panic!("services of tests are ready"),
            }
        }
        flow => flow,
    };
    match flow {
        Flow::Continue => Judged::Admitted(forwarded(lines, &run)),
        Flow::Reply(reply) => Judged::Refused(reply),
        other => panic!("{other:?}"),
    }
}

/// Field lines that the endpoint gets.
fn forwarded(lines: &str, run: &Run) -> String {
    let is_removed = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        run.request_edits().removes(name.as_bytes())
    };
    let kept: String = lines.split_inclusive("\r\n").filter(|line| !is_removed(line)).collect();
    kept + std::str::from_utf8(run.request_edits().lines()).expect("lines of tests are text")
}
