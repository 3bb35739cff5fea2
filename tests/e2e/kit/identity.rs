//! Scripted identity provider: OpenID configuration and keys over loopback, in every way in which a provider
//! fails.

use std::sync::{Arc, Mutex};

use super::tokens::Signer;
use super::{After, Connection, Gate, Origin, Value, json, tokens};

/// Listening provider.
pub(crate) struct Provider {
    origin: Origin,
    script: Arc<Mutex<Script>>,
}

struct Script {
    answer: Answer,
    keys: Vec<Value>,
}

/// Answer of the provider to requests for its keys.
#[derive(Clone)]
pub(crate) enum Answer {
    /// Its configuration and its keys.
    Good,
    /// The same, once the gate is opened for the request.
    After(Gate),
    /// This status.
    Status(u16),
    /// A redirect to another place, where the keys are.
    Redirect(String),
    /// The configuration of this issuer.
    Issuer(String),
    /// This text in place of configuration and keys.
    Text(String),
    /// The configuration, and this text in place of the keys.
    Keys(String),
    /// A body without an end.
    Flood,
    /// A head without an end.
    EndlessHead,
    /// Nothing, and the end of the connection.
    Hangup,
}

impl Provider {
    /// A provider with these keys.
    pub(crate) fn new(signers: &[&Signer]) -> Self {
        let keys = signers.iter().map(|signer| signer.jwk()).collect();
        let script = Arc::new(Mutex::new(Script { answer: Answer::Good, keys }));
        let of = Arc::clone(&script);
        let origin = Origin::http(move |request, connection| {
            let (answer, keys) = {
                let script = of.lock().unwrap();
                (script.answer.clone(), json!({ "keys": script.keys }).to_string())
            };
            let issuer = format!("http://{}", request.field("host").unwrap_or_default());
            respond(&answer, request.target(), &issuer, &keys, connection)
        });
        Self { origin, script }
    }

    /// Its name: also the address of its configuration.
    pub(crate) fn issuer(&self) -> String {
        self.origin.target()
    }

    /// Answers in this way from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        self.script.lock().unwrap().answer = answer;
    }

    /// Has these keys from now on.
    pub(crate) fn rotate(&self, signers: &[&Signer]) {
        self.script.lock().unwrap().keys = signers.iter().map(|signer| signer.jwk()).collect();
    }

    /// Number of requests for keys.
    pub(crate) fn key_requests(&self) -> usize {
        self.origin.requests().iter().filter(|request| request.target() == KEYS).count()
    }

    /// Number of requests for the configuration.
    pub(crate) fn configuration_requests(&self) -> usize {
        self.origin.requests().iter().filter(|request| request.target() == CONFIGURATION).count()
    }

    /// Refuses connections; the port stays its own.
    pub(crate) fn die(&self) {
        self.origin.die();
    }

    pub(crate) fn revive(&self) {
        self.origin.revive();
    }

    /// Good claims of a token for the audience `api`.
    pub(crate) fn claims(&self) -> Value {
        let now = tokens::now();
        json!({ "iss": self.issuer(), "aud": "api", "sub": "alice", "iat": now, "exp": now + 600 })
    }

    /// Good claims with one changed; null removes it.
    pub(crate) fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        match value {
            Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
            value => claims[name] = value,
        }
        claims
    }

    /// A good token of a key.
    pub(crate) fn token(&self, signer: &Signer) -> String {
        signer.token(&self.claims())
    }
}

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/jwks";

fn respond(answer: &Answer, target: &str, issuer: &str, keys: &str, connection: &mut Connection) -> After {
    let configuration = |issuer: &str, at: &str| {
        json!({ "issuer": issuer, "jwks_uri": format!("{at}{KEYS}"), "token_endpoint": "/" }).to_string()
    };
    let good = match target {
        CONFIGURATION => configuration(issuer, issuer),
        KEYS => keys.to_owned(),
        _ => {
            connection.reply(404, b"");
            return After::Keep;
        }
    };
    match answer {
        Answer::Good => connection.reply(200, good.as_bytes()),
        Answer::After(gate) => {
            if gate.pass() {
                connection.reply(200, good.as_bytes());
            }
        }
        Answer::Status(status) => connection.reply(*status, good.as_bytes()),
        Answer::Redirect(to) => {
            connection
                .send(format!("HTTP/1.1 302 Found\r\nLocation: {to}{target}\r\nContent-Length: 0\r\n\r\n"));
        }
        Answer::Issuer(other) if target == CONFIGURATION => {
            connection.reply(200, configuration(other, issuer).as_bytes());
        }
        Answer::Keys(_) | Answer::Issuer(_) if target == CONFIGURATION => {
            connection.reply(200, good.as_bytes());
        }
        Answer::Issuer(_) => connection.reply(200, good.as_bytes()),
        Answer::Text(text) | Answer::Keys(text) => connection.reply(200, text.as_bytes()),
        Answer::Flood => {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let piece = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
            while connection.send(&piece) {}
            return After::Close;
        }
        Answer::EndlessHead => {
            connection.send("HTTP/1.1 200 OK\r\n");
            let piece = format!("X-More: {}\r\n", "x".repeat(8000));
            while connection.send(&piece) {}
            return After::Close;
        }
        Answer::Hangup => return After::Close,
    }
    After::Keep
}
