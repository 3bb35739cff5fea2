//! Probes of an instance: a TCP connection, or one HTTP request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use ringway_model::{AppId, BodyText, Hostname, HttpProbe, Probe, ProbeMethod, Target, TargetHost, Tick};
use ringway_net::tls::{TlsError, connect_tls};
use ringway_net::{LingerLimits, Stream, SystemClock, TcpStream, WriteRate, clock, connect, linger, resolve};
use ringway_wire::h1::{
    BodyError, BodyState, ChunkMode, ChunkedBody, HeadFault, Limits, Parse, ResponseError, ResponseHead,
    write_bodiless_request,
};
use ringway_wire::headers::FieldError;
use ringway_wire::message::{Framing, Method};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::answer::{Answer, Failure, LocalFault};
use crate::schedule::Plan;

/// Asks instances how they are.
pub trait Prober: 'static {
    /// Asks once. Ends within the plan's timeout or a little later, whatever the instance does.
    fn probe(&self, plan: &Plan) -> impl Future<Output = Answer>;
}

/// Says whom to believe when an instance speaks TLS.
pub trait Trust: 'static {
    /// With what and under which name to speak to a target of `app`; `None` when that cannot be loaded by the deadline.
    fn of(
        &self,
        app: &AppId,
        target: &Target,
        deadline: Tick,
    ) -> impl Future<Output = Option<(Arc<ClientConfig>, ServerName<'static>)>>;
}

/// Believes nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrust;

impl Trust for NoTrust {
    async fn of(&self, _: &AppId, _: &Target, _: Tick) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        None
    }
}

/// Asks over the network, on the runtime of the calling thread.
///
/// A TCP probe is well when the connection is established. An HTTP probe is well when the response has an expected status and,
/// where a text is expected, its body contains it; redirects are not followed. Names are resolved at most
/// once in [`ringway_model::limits::DNS_TTL`]; when the resolver fails, the addresses that were last known are asked, for a broken
/// resolver is no fault of the instance. Of several addresses, the first that accepts a connection is asked.
#[derive(Debug, Default)]
pub struct NetProber<T = NoTrust> {
    names: RefCell<HashMap<Hostname, Resolved>>,
    trust: T,
}

#[derive(Clone, Debug)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    fresh_until: Tick,
}

impl NetProber {
    /// Without known names. Instances that speak TLS are not asked.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T> NetProber<T> {
    /// The same, believing those whom `trust` says.
    pub fn trusting(trust: T) -> Self {
        Self { names: RefCell::default(), trust }
    }

    async fn addresses(&self, target: &Target, deadline: Tick) -> Result<Vec<SocketAddr>, Answer> {
        let name = match target.host() {
            TargetHost::Address(ip) => return Ok(vec![SocketAddr::new(*ip, target.port())]),
            TargetHost::Name(name) => name,
        };
        let known = self.names.borrow().get(name).cloned();
        let with_port = |known: Resolved| {
            known.addresses.iter().map(|addr| SocketAddr::new(addr.ip(), target.port())).collect()
        };
        if let Some(known) = &known
            && clock::now() < known.fresh_until
        {
            return Ok(with_port(known.clone()));
        }
        let resolved = resolve(name.as_str(), target.port(), deadline).await;
        match (resolved, known) {
            (Ok(addresses), _) if !addresses.is_empty() => {
                self.remember(name, &addresses);
                Ok(addresses)
            }
            (_, Some(known)) => Ok(with_port(known)),
            (Err(error), None) if error.kind() == ErrorKind::ResourceBusy => {
                Err(Answer::NotAsked(LocalFault::ResolverBusy))
            }
            (_, None) => Err(Answer::Failed(Failure::NameNotResolved)),
        }
    }

    fn remember(&self, name: &Hostname, addresses: &[SocketAddr]) {
        let now = clock::now();
        let mut names = self.names.borrow_mut();
        if names.len() >= NAMES_MAX {
            // Those of instances that are gone; what is still asked for was renewed since.
            names.retain(|_, known| now < known.fresh_until.after(NAME_AGE_MAX));
        }
        if names.len() < NAMES_MAX || names.contains_key(name) {
            let fresh_until = now.after(ringway_model::limits::DNS_TTL);
            names.insert(name.clone(), Resolved { addresses: addresses.to_vec(), fresh_until });
        }
    }
}

/// Names remembered: as many as there can be instances.
const NAMES_MAX: usize = ringway_model::limits::INSTANCES_MAX;
/// A name that was not resolved anew for so long is not in use: the longest interval, twice.
const NAME_AGE_MAX: Duration = Duration::from_secs(2 * ringway_model::limits::HEALTH_INTERVAL_MAX.as_secs());

impl<T: Trust> Prober for NetProber<T> {
    async fn probe(&self, plan: &Plan) -> Answer {
        let Plan { app, probe, timeout, .. } = plan;
        let target = &plan.endpoint();
        let deadline = clock::now().after(*timeout);
        let addresses = match self.addresses(target, deadline).await {
            Ok(addresses) => addresses,
            Err(answer) => return answer,
        };
        let stream = match connect_first(&addresses, deadline).await {
            Ok(stream) => stream,
            Err(answer) => return answer,
        };
        let probe = match probe {
            Probe::Http(probe) if !plan.only_connects() => probe,
            Probe::Http(_) | Probe::Tcp => return Answer::Well,
        };
        let Some(app) = app else { return exchange(&stream, target, probe, deadline).await };
        let Some((config, name)) = self.trust.of(app, target, deadline).await else {
            return Answer::NotAsked(LocalFault::NoTrust);
        };
        match connect_tls(stream, config, name, deadline).await {
            Ok(stream) => exchange(&stream, target, probe, deadline).await,
            Err(TlsError::TimedOut) => Answer::Failed(Failure::ConnectTimeout),
            Err(_) => Answer::Failed(Failure::Tls),
        }
    }
}

/// Connects to the first address that accepts; else says what the last one did.
async fn connect_first(addresses: &[SocketAddr], deadline: Tick) -> Result<TcpStream, Answer> {
    let mut answer = Answer::Failed(Failure::NameNotResolved);
    for address in addresses {
        match connect(*address, deadline).await {
            Ok(stream) => return Ok(stream),
            Err(error) => answer = judge_connect(&error),
        }
    }
    Err(answer)
}

/// Whose fault it is that there is no connection. What is not known to be the instance's is ours.
fn judge_connect(error: &io::Error) -> Answer {
    match error.kind() {
        ErrorKind::ConnectionRefused => Answer::Failed(Failure::Refused),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Answer::Failed(Failure::ClosedEarly),
        ErrorKind::TimedOut => Answer::Failed(Failure::ConnectTimeout),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::PermissionDenied => {
            Answer::Failed(Failure::Unreachable)
        }
        _ => Answer::NotAsked(LocalFault::NoResources),
    }
}

async fn exchange<S: Stream>(stream: &S, target: &Target, probe: &HttpProbe, deadline: Tick) -> Answer {
    let mut buf = Vec::with_capacity(limits::HEALTH_RESPONSE_BYTES_MAX);
    if write_request(&mut buf, target, probe).is_err() {
        return Answer::NotAsked(LocalFault::InvalidRequest);
    }
    let (written, mut buf) = stream.write_all(buf, WriteRate::until(deadline)).await;
    if let Err(error) = written {
        return judge_exchange(&error);
    }
    buf.clear();
    let (answer, _) = read_response(stream, buf, probe, deadline).await;
    if matches!(answer, Answer::Well | Answer::Failed(Failure::Status(_) | Failure::TextMissing)) {
        // So that the instance sees its answer read and not a reset.
        let rest = LingerLimits {
            timeout: limits::HEALTH_LINGER,
            bytes_max: limits::HEALTH_RESPONSE_BYTES_MAX as u64,
            ..LingerLimits::BRIEF
        };
        linger(stream, rest.and_until(deadline, clock::now()), &SystemClock).await;
    }
    answer
}

fn write_request(out: &mut Vec<u8>, target: &Target, probe: &HttpProbe) -> Result<(), FieldError> {
    let host = match &probe.host {
        Some(host) => host.to_string(),
        None => target.authority(),
    };
    let own = [("User-Agent", USER_AGENT), ("Accept", "*/*")];
    let is_given = |own: &str| probe.headers.names().any(|name| name.eq_ignore_ascii_case(own));
    let fields = own.into_iter().filter(|(name, _)| !is_given(name)).chain(probe.headers.expose());
    write_bodiless_request(out, method(probe.method), &host, probe.path.as_str(), fields)
}

fn method(method: ProbeMethod) -> Method {
    match method {
        ProbeMethod::Get => Method::Get,
        ProbeMethod::Head => Method::Head,
        ProbeMethod::Options => Method::Options,
    }
}

/// Reads the head of the final response, past interim ones: at most [`limits::HEALTH_RESPONSE_BYTES_MAX`] in all; then as
/// much of the body as the probe needs.
async fn read_response<S: Stream>(
    stream: &S,
    mut buf: Vec<u8>,
    probe: &HttpProbe,
    deadline: Tick,
) -> (Answer, Vec<u8>) {
    let bounds = Limits { head_bytes_max: limits::HEALTH_RESPONSE_BYTES_MAX, ..Limits::default() };
    let mut head = ResponseHead::default();
    let mut head_at = 0;
    loop {
        if buf.len() == limits::HEALTH_RESPONSE_BYTES_MAX {
            let error = ResponseError::from(HeadFault::HeadTooLarge);
            return (Answer::Failed(Failure::Malformed(error)), buf);
        }
        let (read, back) = stream.read(buf, deadline).await;
        buf = back;
        match read {
            Ok(0) => return (Answer::Failed(Failure::ClosedEarly), buf),
            Ok(_) => {}
            Err(error) => return (judge_exchange(&error), buf),
        }
        loop {
            match head.parse(&buf[head_at..], method(probe.method), &bounds) {
                Ok(Parse::Partial) => break,
                Ok(Parse::Complete) if head.is_interim() && head.switch().is_none() => {
                    head_at += head.len();
                    head.reset();
                }
                Ok(Parse::Complete) if !probe.statuses.has(head.status()) => {
                    return (Answer::Failed(Failure::Status(head.status())), buf);
                }
                Ok(Parse::Complete) => {
                    let Some(text) = &probe.body else { return (Answer::Well, buf) };
                    buf.drain(..head_at + head.len());
                    return find_text(stream, buf, head.framing(), text, deadline).await;
                }
                Err(error) => return (Answer::Failed(Failure::Malformed(error)), buf),
            }
        }
    }
}

/// Looks for a text in a body of which `buf` has the first bytes.
async fn find_text<S: Stream>(
    stream: &S,
    mut buf: Vec<u8>,
    framing: Framing,
    text: &BodyText,
    deadline: Tick,
) -> (Answer, Vec<u8>) {
    let mut search = BodySearch::new(framing, text.as_str().as_bytes());
    loop {
        match search.feed(&mut buf) {
            Ok(Searched::Found) => return (Answer::Well, buf),
            Ok(Searched::Missing) => return (Answer::Failed(Failure::TextMissing), buf),
            Ok(Searched::More) => {}
            Err(_) => return (Answer::Failed(Failure::MalformedBody), buf),
        }
        let (read, back) = stream.read(buf, deadline).await;
        buf = back;
        match read {
            Ok(0) if framing == Framing::UntilClose => return (Answer::Failed(Failure::TextMissing), buf),
            Ok(0) => return (Answer::Failed(Failure::ClosedEarly), buf),
            Ok(_) => {}
            Err(error) => return (judge_exchange(&error), buf),
        }
    }
}

/// A search for a text in the first [`limits::HEALTH_BODY_BYTES_MAX`] bytes of a body; pure.
struct BodySearch<'a> {
    text: &'a [u8],
    framing: Framing,
    chunks: ChunkedBody,
    /// Bytes of the body so far.
    seen: usize,
    /// The end of what was searched: as much of it as may be the beginning of the text.
    tail: Vec<u8>,
}

/// The state of a [`BodySearch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Searched {
    Found,
    /// It is in none of the body, or in none of the bytes that are looked at.
    Missing,
    More,
}

impl<'a> BodySearch<'a> {
    fn new(framing: Framing, text: &'a [u8]) -> Self {
        Self { text, framing, chunks: ChunkedBody::new(ChunkMode::Decode), seen: 0, tail: Vec::new() }
    }

    /// Takes bytes that were received; leaves those that it needs again with more behind them.
    fn feed(&mut self, buf: &mut Vec<u8>) -> Result<Searched, BodyError> {
        let (kept, consumed, mut is_done) = match self.framing {
            Framing::Empty => (0, 0, true),
            Framing::UntilClose => (buf.len(), buf.len(), false),
            Framing::Length(length) => {
                let left = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(self.seen);
                let count = buf.len().min(left);
                (count, count, count == left)
            }
            Framing::Chunked => {
                let fed = self.chunks.feed(buf)?;
                (fed.kept, fed.consumed, fed.state == BodyState::Done)
            }
        };
        let room = limits::HEALTH_BODY_BYTES_MAX - self.seen;
        is_done |= kept >= room;
        self.seen += kept.min(room);
        self.tail.extend_from_slice(&buf[..kept.min(room)]);
        buf.drain(..consumed);
        if self.tail.windows(self.text.len()).any(|window| window == self.text) {
            return Ok(Searched::Found);
        }
        self.tail.drain(..self.tail.len().saturating_sub(self.text.len() - 1));
        Ok(if is_done { Searched::Missing } else { Searched::More })
    }
}

fn judge_exchange(error: &io::Error) -> Answer {
    Answer::Failed(match error.kind() {
        ErrorKind::TimedOut => Failure::ResponseTimeout,
        _ => Failure::ClosedEarly,
    })
}

const USER_AGENT: &str = concat!("ringway-health/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
