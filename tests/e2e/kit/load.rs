//! Mixed traffic and changes with checks of every response, for tests that kill, starve or observe the proxy
//! meanwhile.
//!
//! Each kind of traffic has a thread. A complete response must be the client's own; whether failures are
//! allowed is up to the test, which checks [`Load::failed`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use super::h2::H2;
use super::tls::presented;
use super::{
    Api, Authority, Client, Connection, Fault, Message, Origin, Proxy, Tls, chunked, pace, pause, ws,
};

/// Load that runs until it is stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Current addresses of the proxy, and results.
pub(crate) struct Shared {
    stop: AtomicBool,
    target: Mutex<Target>,
    authority: Authority,
    done: [AtomicU64; KINDS.len()],
    failed: [AtomicU64; KINDS.len()],
    examples: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    domains: Mutex<BTreeMap<String, Known>>,
}

/// Addresses of one process.
#[derive(Clone, Copy)]
struct Target {
    http: SocketAddr,
    https: SocketAddr,
    api: SocketAddr,
}

impl Target {
    fn of(proxy: &Proxy) -> Self {
        Self { http: proxy.http(), https: proxy.https(), api: proxy.api_address() }
    }
}

/// Acknowledged state of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Present,
    Absent,
    /// The last change has no response: either state is right.
    Unknown,
}

/// Failed step.
enum Problem {
    /// Another client's response, or not HTTP. Never allowed.
    Wrong(String),
    /// No response, or a local reply. Allowed while a fault is injected.
    Failed(String),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(what) => Self::Wrong(what),
            Fault::Cut(message) => Self::Failed(format!("cut after {} bytes", message.body.len())),
            other => Self::Failed(format!("{other:?}")),
        }
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

type Step = Result<(), Problem>;
type Kind = fn(&Shared, &mut Dice) -> Step;

/// Kinds of traffic: name, and one step.
const KINDS: [(&str, Kind); 14] = [
    ("kept connections", kept),
    ("new connections", new),
    ("TLS", secure),
    ("HTTP/2", http2),
    ("WebSockets", websocket),
    ("uploads", upload),
    ("downloads", download),
    ("slow clients", slow),
    ("aborts", abort),
    ("failing app", failing),
    ("domains", domains),
    ("instances", instances),
    ("heartbeats", heartbeats),
    ("certificates", certificates),
];

/// Seeded random numbers.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.roll() >> 16) % bound
    }
}

/// Origin of this traffic.
pub(crate) fn origin() -> Origin {
    Origin::forgetful(|connection| {
        while let Ok(mut request) = connection.request_head() {
            let target = request.target().to_owned();
            let parts: Vec<&str> = target.split('/').skip(1).collect();
            if request.lists("connection", "upgrade") {
                connection.send(ws::accepted());
                while connection.echo_frame() {}
                return;
            }
            if connection.body(&mut request).is_err() {
                return;
            }
            match parts.as_slice() {
                ["echo", token] => connection.reply(200, token.as_bytes()),
                ["upload", token] => connection.reply(200, sum(token, &request.body).as_bytes()),
                ["bytes", seed, count, framing] => {
                    let body = bytes(seed.parse().unwrap_or(0), count.parse().unwrap_or(0));
                    if !send_body(connection, framing, &body) {
                        return;
                    }
                }
                ["fail", "reset"] => {
                    connection.reset();
                    return;
                }
                ["fail", "head"] => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Le");
                    return;
                }
                ["fail", "body"] => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\npart");
                    return;
                }
                ["fail", "nonsense"] => {
                    connection.send("nonsense\r\n\r\n");
                    return;
                }
                _ => connection.reply(404, b""),
            }
        }
    })
}

/// Returns `false` at the end of the connection.
fn send_body(connection: &mut Connection, framing: &str, body: &[u8]) -> bool {
    match framing {
        "chunked" => {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            connection.send(chunked(body, 5_000))
        }
        "close" => {
            connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            connection.send(body);
            false
        }
        _ => {
            connection.reply(200, body);
            true
        }
    }
}

/// Bytes that identify their request.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        bytes.extend_from_slice(&dice.roll().to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

fn sum(token: &str, body: &[u8]) -> String {
    let sum = body.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("{token} {} {sum}", body.len())
}

impl Load {
    /// Prepares a process for the traffic: two instances, a failing app, certificates.
    pub(crate) fn prepare(proxy: &Proxy, origins: &[&Origin], authority: &Authority) {
        let api = proxy.api();
        for (at, origin) in origins.iter().enumerate() {
            match at {
                0 => api.register("app", "app-0", &origin.target()),
                _ => api.add("app", &format!("app-{at}"), &origin.target()),
            };
        }
        api.domain("app.test", "app", None);
        api.domain("cert.test", "app", None);
        api.register("bad", "bad-0", &origins[0].target());
        api.domain("bad.test", "bad", None);
        let pair = authority.server(&["app.test"]);
        let body = json!({ "domain": "app.test", "certificate": pair.certificate, "key": pair.key });
        api.post("/api/tenants/domains/certificate", &body).is(200);
    }

    pub(crate) fn start(proxy: &Proxy, authority: Authority, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            target: Mutex::new(Target::of(proxy)),
            authority,
            done: Default::default(),
            failed: Default::default(),
            examples: Mutex::default(),
            wrong: Mutex::default(),
            domains: Mutex::default(),
        });
        let threads = (0..KINDS.len())
            .map(|kind| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.run(kind, Dice::new(seed.wrapping_add(kind as u64))))
            })
            .collect();
        Self { shared, threads }
    }

    /// Directs the traffic to another process.
    pub(crate) fn retarget(&self, proxy: &Proxy) {
        *self.shared.target.lock().unwrap() = Target::of(proxy);
    }

    /// Successful steps of each kind.
    pub(crate) fn done(&self) -> Vec<(&'static str, u64)> {
        KINDS
            .iter()
            .zip(&self.shared.done)
            .map(|((name, _), count)| (*name, count.load(Ordering::SeqCst)))
            .collect()
    }

    /// Failed steps of each kind, without intended failures.
    pub(crate) fn failed(&self) -> Vec<(&'static str, u64)> {
        KINDS
            .iter()
            .zip(&self.shared.failed)
            .map(|((name, _), count)| (*name, count.load(Ordering::SeqCst)))
            .collect()
    }

    /// Descriptions of the first failures.
    pub(crate) fn examples(&self) -> Vec<String> {
        self.shared.examples.lock().unwrap().clone()
    }

    /// Responses that were not their clients' own.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.shared.wrong.lock().unwrap().clone()
    }

    /// Acknowledged state of domains.
    pub(crate) fn domains(&self) -> BTreeMap<String, Known> {
        self.shared.domains.lock().unwrap().clone()
    }

    /// Waits until a step of every kind succeeds: the proxy serves again.
    pub(crate) fn all_come_through(&self) {
        let before = self.done();
        super::eventually_within(3 * super::SOON, "every kind of traffic comes through again", || {
            self.done().iter().zip(&before).all(|(now, then)| now.1 > then.1).then_some(())
        });
    }

    /// Stops all clients.
    pub(crate) fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn run(&self, kind: usize, mut dice: Dice) {
        let (name, step) = KINDS[kind];
        while !self.stop.load(Ordering::SeqCst) {
            // A failed assertion of the kit counts as a failed step.
            let outcome = catch_unwind(AssertUnwindSafe(|| step(self, &mut dice)));
            match outcome.unwrap_or_else(|_| Err(Problem::Failed("a panic of the kit".into()))) {
                Ok(()) => drop(self.done[kind].fetch_add(1, Ordering::SeqCst)),
                Err(Problem::Wrong(what)) => self.wrong.lock().unwrap().push(format!("{name}: {what}")),
                Err(Problem::Failed(what)) => {
                    self.failed[kind].fetch_add(1, Ordering::SeqCst);
                    let mut examples = self.examples.lock().unwrap();
                    if examples.len() < 50 {
                        examples.push(format!("{name}: {what}"));
                    }
                }
            }
            pause();
        }
    }

    fn target(&self) -> Target {
        *self.target.lock().unwrap()
    }

    fn client(&self) -> Result<Client, Problem> {
        Ok(Client::try_connect(self.target().http)?)
    }

    fn tls(&self, name: &str) -> Result<Client, Problem> {
        let tls = Tls::new(&self.authority, name);
        tls.try_connect(self.target().https).map_err(|fault| Problem::Failed(format!("{fault:?}")))
    }

    fn note(&self, domain: &str, known: Known) {
        self.domains.lock().unwrap().insert(domain.to_owned(), known);
    }

    /// Makes a change; a `success` is on every core.
    fn call(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
        success: u16,
    ) -> Result<(u16, Message), Problem> {
        let api = Api::new(self.target().api);
        let answer = api.try_call(method, path, body)?;
        match answer.status() {
            202 => {
                super::eventually("all cores serve it", || api.have_cores_all().then_some(()));
                Ok((success, answer))
            }
            status => Ok((status, answer)),
        }
    }
}

/// Checks that the response is complete and the client's own; a local reply is a failed step.
fn mine(answer: &Message, body: &[u8]) -> Step {
    let status = answer.status();
    if status == 200 && answer.body == body {
        return Ok(());
    }
    let what = format!(
        "{} with {} bytes: {}",
        answer.first_line,
        answer.body.len(),
        answer.text().chars().take(300).collect::<String>()
    );
    if status == 200 { Err(Problem::Wrong(what)) } else { Err(Problem::Failed(what)) }
}

fn echo(client: &mut Client, host: &str, dice: &mut Dice) -> Step {
    let token = format!("{:016x}", dice.roll());
    client.try_send(format!("GET /echo/{token} HTTP/1.1\r\nHost: {host}\r\n\r\n"))?;
    mine(&client.try_response("GET")?, token.as_bytes())
}

fn kept(shared: &Shared, dice: &mut Dice) -> Step {
    let mut client = shared.client()?;
    for _ in 0..20 {
        echo(&mut client, "app.test", dice)?;
    }
    Ok(())
}

fn new(shared: &Shared, dice: &mut Dice) -> Step {
    echo(&mut shared.client()?, "app.test", dice)
}

fn secure(shared: &Shared, dice: &mut Dice) -> Step {
    let mut client = shared.tls("app.test")?;
    for _ in 0..5 {
        echo(&mut client, "app.test", dice)?;
    }
    Ok(())
}

fn http2(shared: &Shared, dice: &mut Dice) -> Step {
    let tls = Tls::new(&shared.authority, "app.test").alpn(&["h2"]);
    let stream = tls.stream(shared.target().https).map_err(|fault| Problem::Failed(format!("{fault:?}")))?;
    let mut client = H2::open(Box::new(stream), "https", &[]);
    let asked: Vec<(u32, String)> = (0..10)
        .map(|_| {
            let token = format!("{:016x}", dice.roll());
            (client.get("app.test", &format!("/echo/{token}")), token)
        })
        .collect();
    for (stream, token) in asked {
        let answer = client.response(stream);
        match (answer.is_whole(), answer.status()) {
            (true, 200) if answer.text() == token => {}
            (true, 200) => return Err(Problem::Wrong(format!("{token} was answered with {answer:?}"))),
            _ => return Err(Problem::Failed(format!("{answer:?}"))),
        }
    }
    Ok(())
}

fn websocket(shared: &Shared, dice: &mut Dice) -> Step {
    let mut client = shared.client()?;
    client.try_send(ws::upgrade("app.test", "/socket"))?;
    let answer = client.try_response_head("GET")?;
    if answer.status() != 101 {
        return Err(Problem::Failed(answer.first_line));
    }
    for _ in 0..10 {
        let text = format!("{:016x}", dice.roll());
        client.try_send(ws::masked(ws::TEXT, text.as_bytes()))?;
        let (opcode, payload) = ws::read_frame(&mut client)?;
        if opcode != ws::TEXT {
            return Err(Problem::Failed(format!("a frame of kind {opcode}")));
        }
        if payload != text.as_bytes() {
            return Err(Problem::Wrong(format!("{text} came back as {payload:?}")));
        }
    }
    client.try_send(ws::masked(ws::CLOSE, &1000_u16.to_be_bytes()))?;
    let _ = ws::read_frame(&mut client)?;
    Ok(())
}

fn upload(shared: &Shared, dice: &mut Dice) -> Step {
    let mut client = shared.client()?;
    let token = format!("{:016x}", dice.roll());
    let count = [100, 10_000, 100_000, 500_000][dice.below(4) as usize];
    let body = bytes(dice.roll(), count);
    let (framing, sent) = match dice.below(2) {
        0 => ("Transfer-Encoding: chunked".to_owned(), chunked(&body, 3_000)),
        _ => (format!("Content-Length: {count}"), body.clone()),
    };
    client.try_send(format!("POST /upload/{token} HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n"))?;
    client.try_send(sent)?;
    mine(&client.try_response("POST")?, sum(&token, &body).as_bytes())
}

/// Target of a request, and the expected body.
fn wanted(dice: &mut Dice, count: usize) -> (String, Vec<u8>) {
    let seed = dice.roll();
    let framing = ["length", "chunked", "close"][dice.below(3) as usize];
    let request = format!("GET /bytes/{seed}/{count}/{framing} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    (request, bytes(seed, count))
}

fn download(shared: &Shared, dice: &mut Dice) -> Step {
    let count = [0, 1, 4_000, 100_000, 1_000_000][dice.below(5) as usize];
    let (request, body) = wanted(dice, count);
    let secure = dice.below(3) == 0;
    let mut client = if secure { shared.tls("app.test")? } else { shared.client()? };
    client.try_send(request)?;
    mine(&client.try_response("GET")?, &body)
}

fn slow(shared: &Shared, dice: &mut Dice) -> Step {
    let (request, body) = wanted(dice, 300_000);
    let mut client = shared.client()?;
    for piece in request.as_bytes().chunks(20) {
        client.try_send(piece)?;
        pause();
    }
    let mut answer = client.try_response_head("GET")?;
    // The proxy and its origin wait for the client, which does not read.
    for _ in 0..20 {
        pause();
    }
    client.body(&mut answer)?;
    mine(&answer, &body)
}

fn abort(shared: &Shared, dice: &mut Dice) -> Step {
    let mut client = shared.client()?;
    match dice.below(5) {
        0 => client.try_send("GET /echo/x HT")?,
        1 => client
            .try_send("POST /upload/x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\nabc")?,
        2 => {
            client.try_send(wanted(dice, 2_000_000).0)?;
            client.try_exactly(10_000)?;
        }
        3 => {
            let hello = super::tls::junk_hello();
            Client::try_connect(shared.target().https)?.try_send(&hello[..100])?;
        }
        _ => {
            client.try_send(ws::upgrade("app.test", "/socket"))?;
            client.try_response_head("GET")?;
            client.try_send(&ws::masked(ws::TEXT, b"never finished")[..7])?;
        }
    }
    Ok(())
}

/// Its errors are intended; a complete 200 would be another client's response.
fn failing(shared: &Shared, dice: &mut Dice) -> Step {
    let mut client = shared.client()?;
    let how = ["reset", "head", "body", "nonsense"][dice.below(4) as usize];
    client.try_send(format!("GET /fail/{how} HTTP/1.1\r\nHost: bad.test\r\n\r\n"))?;
    match client.try_response("GET") {
        Ok(answer) if answer.status() == 200 => Err(Problem::Wrong(format!("{how}: {answer:?}"))),
        Ok(_) | Err(Fault::Cut(_) | Fault::Reset | Fault::Closed | Fault::CutHead) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

fn domains(shared: &Shared, dice: &mut Dice) -> Step {
    let domain = format!("d{}.test", dice.below(200));
    let before = shared.domains.lock().unwrap().get(&domain).copied();
    let body = json!({ "domain": domain, "app_id": "app", "type": "subdomain" });
    shared.note(&domain, Known::Unknown);
    match before {
        None | Some(Known::Absent) => {
            let (status, answer) = shared.call("POST", "/api/tenants/domains", &body, 201)?;
            if status != 201 {
                return Err(Problem::Failed(answer.first_line));
            }
            shared.note(&domain, Known::Present);
            // Acknowledged is live.
            echo(&mut shared.client()?, &domain, dice)
        }
        Some(Known::Present | Known::Unknown) => {
            let (status, answer) =
                shared.call("DELETE", "/api/tenants/domains", &json!({ "domain": domain }), 204)?;
            if status != 204 && !(status == 404 && before == Some(Known::Unknown)) {
                return Err(Problem::Failed(answer.first_line));
            }
            shared.note(&domain, Known::Absent);
            let mut client = shared.client()?;
            client.try_send(format!("GET /echo/x HTTP/1.1\r\nHost: {domain}\r\n\r\n"))?;
            match client.try_response("GET")?.status() {
                404 => Ok(()),
                other => Err(Problem::Wrong(format!("{domain} was removed, and answers {other}"))),
            }
        }
    }
}

/// Adds and removes an instance of the same origin.
fn instances(shared: &Shared, _: &mut Dice) -> Step {
    let target = "http://127.0.0.1:9";
    let app = json!({ "app_id": "passing", "app_name": "passing", "instance": { "instance_id": "passing-1", "target": target } });
    for (method, path, body, right) in [
        ("POST", "/api/apps/register", app, [201, 200]),
        ("DELETE", "/api/apps/instances", json!({ "instance_id": "passing-1" }), [204, 404]),
    ] {
        let (status, answer) = shared.call(method, path, &body, right[0])?;
        if !right.contains(&status) {
            return Err(Problem::Failed(format!("{path}: {} {}", answer.first_line, answer.text())));
        }
    }
    Ok(())
}

fn heartbeats(shared: &Shared, _: &mut Dice) -> Step {
    let (status, answer) =
        shared.call("POST", "/api/apps/heartbeat", &json!({ "instance_id": "app-0" }), 204)?;
    pace(Duration::from_millis(100));
    if status == 204 { Ok(()) } else { Err(Problem::Failed(answer.first_line)) }
}

fn certificates(shared: &Shared, _: &mut Dice) -> Step {
    let begun = Instant::now();
    let pair = shared.authority.server(&["cert.test"]);
    let body = json!({ "domain": "cert.test", "certificate": pair.certificate, "key": pair.key });
    let (status, answer) = shared.call("POST", "/api/tenants/domains/certificate", &body, 200)?;
    if status != 200 {
        return Err(Problem::Failed(format!("{} {}", answer.first_line, answer.text())));
    }
    let stream = Tls::new(&shared.authority, "cert.test")
        .stream(shared.target().https)
        .map_err(|fault| Problem::Failed(format!("{fault:?}")))?;
    // No other thread uploads for it: the acknowledged certificate is the one shown.
    if presented(&stream) != pair.der() {
        return Err(Problem::Wrong("an older certificate after the upload was acknowledged".into()));
    }
    pace(Duration::from_millis(300).saturating_sub(begun.elapsed()));
    Ok(())
}
