//! Authentication of requests, from outside: by the responses, and by the bytes that reach the origin.

use std::path::PathBuf;

use crate::kit;
use crate::kit::h2::{H2, Secure};
use crate::kit::*;

mod asserted;
mod chain;
mod credentials;
mod failures;
mod paths;
mod providers;
mod reload;
mod tokens;
mod upgrades;

/// Host of all routes.
const HOST: &str = "app.test";

/// A document with a protected route for the paths below `/in`, and an open one for all others.
fn document(origin: &Origin, auth: Value) -> Value {
    chained(origin, json!([{ "type": "auth", "config": auth }]))
}

/// The same with these stages.
fn chained(origin: &Origin, stages: Value) -> Value {
    json!({
        "version": "v1",
        "middleware": [{ "id": "auth", "stages": stages }],
        "routes": [
            { "id": "in", "host": HOST, "path_prefix": "/in", "pool": "app", "middleware": "auth" },
            { "id": "open", "host": HOST, "pool": "app" },
        ],
        "pools": [{ "id": "app", "endpoints": [{ "address": origin.address().to_string() }] }],
    })
}

/// Method `jwt` with the keys that the provider names, and claims in fields.
fn jwt(provider: &identity::Provider) -> Value {
    json!({ "jwt": {
        "issuer": provider.issuer(),
        "audience": "api",
        "claims": { "sub": "X-User", "groups": "X-Groups" },
    }})
}

/// A process with a document. JSON is YAML.
struct Site<P> {
    proxy: P,
    file: PathBuf,
}

impl Site<Proxy> {
    fn start(driver: Driver, document: &Value) -> Self {
        Self::of(Proxy::on(driver), document)
    }

    fn of(builder: proxy::Builder, document: &Value) -> Self {
        let (builder, file) = configured(builder, document);
        Self { proxy: builder.start(), file }
    }

    /// Ends the process, and starts it again on the same store.
    fn restart(self) -> Self {
        Self { proxy: self.proxy.stop().start(), file: self.file }
    }
}

impl Site<Secure> {
    /// The same that serves over TLS too.
    fn secure(driver: Driver, document: &Value) -> Self {
        let (builder, file) = configured(Proxy::on(driver), document);
        Self { proxy: h2::secure(builder), file }
    }

    /// The response to a GET over HTTP/2.
    fn ask_h2(&self, path: &str, fields: &[(&str, &str)]) -> h2::Answer {
        let mut peer = H2::connect(&self.proxy);
        let fields = peer.fields("GET", HOST, path, fields);
        let stream = peer.begin(&fields, true);
        peer.response(stream)
    }
}

/// A process, with TLS or without.
trait Process {
    fn process(&self) -> &Proxy;
}

impl Process for Proxy {
    fn process(&self) -> &Proxy {
        self
    }
}

impl Process for Secure {
    fn process(&self) -> &Proxy {
        self
    }
}

impl<P: Process> Site<P> {
    /// Saves a document, and waits until it is in force.
    fn save(&self, document: &Value) {
        let applied = || {
            let log = self.proxy.process().log();
            log.iter().filter(|line| line.contains("configuration applied")).count()
        };
        let before = applied();
        tls::put(&self.file, &document.to_string());
        eventually("the document in force", || (applied() > before).then_some(()));
        let api = self.proxy.process().api();
        eventually("it is on every core", || api.have_cores_all().then_some(()));
    }

    /// The response to a GET with these field lines, each with its CRLF.
    fn ask(&self, path: &str, fields: &str) -> Message {
        self.ask_from([127, 0, 0, 1], path, fields)
    }

    /// The same from another address.
    fn ask_from(&self, source: [u8; 4], path: &str, fields: &str) -> Message {
        let mut client = Client::connect_from(source, self.proxy.process().http());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
        client.response("GET")
    }

    /// Waits until a request gets this status. Each comes from another address: those of one that fails
    /// often get 429.
    fn await_status(&self, path: &str, fields: &str, status: u16) -> Message {
        let mut source = 0u16;
        eventually(&format!("{status} for {path}"), || {
            source += 1;
            let [high, low] = source.to_be_bytes();
            let answer = self.ask_from([127, 3, high, low], path, fields);
            (answer.status() == status).then_some(answer)
        })
    }

    /// Whether a line of the log has these words.
    fn logs(&self, words: &[&str]) -> bool {
        self.proxy.process().log().iter().any(|line| words.iter().all(|word| line.contains(word)))
    }
}

fn configured(builder: proxy::Builder, document: &Value) -> (proxy::Builder, PathBuf) {
    let file = builder.folder().join("ringway.yaml");
    std::fs::write(&file, document.to_string()).unwrap();
    (builder.env("PROXY_CONFIG", file.to_str().unwrap()), file)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", kit::tokens::base64(format!("{name}:{password}").as_bytes()))
}

/// Status, and code in the body.
fn refusal(answer: &Message) -> (u16, String) {
    let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
    (answer.status(), code)
}

/// A challenge (RFC 9110 §11.6.1): its scheme, and its parameters in order.
#[derive(Debug, PartialEq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of a response, one a field line.
fn challenges(values: &[&str]) -> Vec<Challenge> {
    values
        .iter()
        .map(|value| {
            let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
            let parameters = rest.split(", ").filter(|parameter| !parameter.is_empty()).map(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or_else(|| panic!("{value:?}"));
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                (name.to_owned(), value.unwrap_or_else(|| panic!("not quoted: {parameter:?}")).to_owned())
            });
            Challenge { scheme: scheme.to_owned(), parameters: parameters.collect() }
        })
        .collect()
}
