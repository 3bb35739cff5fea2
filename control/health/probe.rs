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

use crate::probe_result::{Failure, LocalFault, ProbeResult};
use crate::schedule::Plan;

/// Sender of probes.
pub trait Prober: 'static {
    /// Sends one probe. Ends within the plan's timeout or a little later, whatever the instance does.
    fn probe(&self, plan: &Plan) -> impl Future<Output = ProbeResult>;
}

/// TLS settings of probes.
pub trait ProbeTls: 'static {
    /// Client configuration and server name for a target of `app`; `None` when they cannot be loaded by the
    /// deadline.
    fn settings(
        &self,
        app: &AppId,
        target: &Target,
        deadline: Tick,
    ) -> impl Future<Output = Option<(Arc<ClientConfig>, ServerName<'static>)>>;
}

/// No TLS settings: instances with TLS are not probed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTls;

impl ProbeTls for NoTls {
    async fn settings(
        &self,
        _: &AppId,
        _: &Target,
        _: Tick,
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        None
    }
}

/// Prober over the network, on the runtime of the calling thread.
///
/// A TCP probe passes when the connection is established. An HTTP probe passes when the response has an
/// expected status and its body contains the expected text, if there is one; redirects are not followed.
/// Names are resolved at most once in [`ringway_model::limits::DNS_TTL`]; when that fails the last known
/// addresses are probed, as a broken DNS resolver is no fault of the instance. Of several addresses, the
/// first that accepts a connection gets the probe.
#[derive(Debug, Default)]
pub struct NetProber<T = NoTls> {
    names: RefCell<HashMap<Hostname, Resolved>>,
    tls: T,
}

#[derive(Clone, Debug)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    fresh_until: Tick,
}

impl NetProber {
    /// Creates a prober without TLS settings: instances with TLS are not probed.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T> NetProber<T> {
    /// Creates a prober with TLS settings.
    pub fn with_tls(tls: T) -> Self {
        Self { names: RefCell::default(), tls }
    }

    async fn addresses(&self, target: &Target, deadline: Tick) -> Result<Vec<SocketAddr>, ProbeResult> {
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
                Err(ProbeResult::NotProbed(LocalFault::ResolverBusy))
            }
            (_, None) => Err(ProbeResult::Failed(Failure::NameNotResolved)),
        }
    }

    fn remember(&self, name: &Hostname, addresses: &[SocketAddr]) {
        let now = clock::now();
        let mut names = self.names.borrow_mut();
        if names.len() >= NAMES_MAX {
            // Names of removed instances; those in use were renewed since.
            names.retain(|_, known| now < known.fresh_until.after(NAME_AGE_MAX));
        }
        if names.len() < NAMES_MAX || names.contains_key(name) {
            let fresh_until = now.after(ringway_model::limits::DNS_TTL);
            names.insert(name.clone(), Resolved { addresses: addresses.to_vec(), fresh_until });
        }
    }
}

/// Names kept: as many as there can be instances.
const NAMES_MAX: usize = ringway_model::limits::INSTANCES_MAX;
/// Age of an unused name: twice the longest interval.
const NAME_AGE_MAX: Duration = Duration::from_secs(2 * ringway_model::limits::HEALTH_INTERVAL_MAX.as_secs());

impl<T: ProbeTls> Prober for NetProber<T> {
    async fn probe(&self, plan: &Plan) -> ProbeResult {
        let Plan { app, probe, timeout, .. } = plan;
        let target = &plan.endpoint();
        let deadline = clock::now().after(*timeout);
        let addresses = match self.addresses(target, deadline).await {
            Ok(addresses) => addresses,
            Err(result) => return result,
        };
        let stream = match connect_first(&addresses, deadline).await {
            Ok(stream) => stream,
            Err(result) => return result,
        };
        let probe = match probe {
            Probe::Http(probe) if !plan.only_connects() => probe,
            Probe::Http(_) | Probe::Tcp => return ProbeResult::Healthy,
        };
        let Some(app) = app else { return exchange(&stream, target, probe, deadline).await };
        let Some((config, name)) = self.tls.settings(app, target, deadline).await else {
            return ProbeResult::NotProbed(LocalFault::TlsUnavailable);
        };
        match connect_tls(stream, config, name, deadline).await {
            Ok(stream) => exchange(&stream, target, probe, deadline).await,
            Err(TlsError::TimedOut) => ProbeResult::Failed(Failure::ConnectTimeout),
            Err(_) => ProbeResult::Failed(Failure::Tls),
        }
    }
}

/// Connects to the first address that accepts. Otherwise returns the result of the last one.
async fn connect_first(addresses: &[SocketAddr], deadline: Tick) -> Result<TcpStream, ProbeResult> {
    let mut result = ProbeResult::Failed(Failure::NameNotResolved);
    for address in addresses {
        match connect(*address, deadline).await {
            Ok(stream) => return Ok(stream),
            Err(error) => result = classify_connect(&error),
        }
    }
    Err(result)
}

/// Classifies a failed connection. Unknown errors count as local faults.
fn classify_connect(error: &io::Error) -> ProbeResult {
    match error.kind() {
        ErrorKind::ConnectionRefused => ProbeResult::Failed(Failure::Refused),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
            ProbeResult::Failed(Failure::ClosedEarly)
        }
        ErrorKind::TimedOut => ProbeResult::Failed(Failure::ConnectTimeout),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::PermissionDenied => {
            ProbeResult::Failed(Failure::Unreachable)
        }
        _ => ProbeResult::NotProbed(LocalFault::NoResources),
    }
}

async fn exchange<S: Stream>(stream: &S, target: &Target, probe: &HttpProbe, deadline: Tick) -> ProbeResult {
    let mut buf = Vec::with_capacity(limits::HEALTH_RESPONSE_BYTES_MAX);
    if write_request(&mut buf, target, probe).is_err() {
        return ProbeResult::NotProbed(LocalFault::InvalidRequest);
    }
    let (written, mut buf) = stream.write_all(buf, WriteRate::until(deadline)).await;
    if let Err(error) = written {
        return classify_exchange(&error);
    }
    buf.clear();
    let (result, _) = read_response(stream, buf, probe, deadline).await;
    if matches!(result, ProbeResult::Healthy | ProbeResult::Failed(Failure::Status(_) | Failure::TextMissing))
    {
        // Reads the rest of the response, or the instance would see a reset.
        let rest = LingerLimits {
            timeout: limits::HEALTH_LINGER,
            bytes_max: limits::HEALTH_RESPONSE_BYTES_MAX as u64,
            ..LingerLimits::BRIEF
        };
        linger(stream, rest.and_until(deadline, clock::now()), &SystemClock).await;
    }
    result
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

/// Reads the head of the final response, past interim ones: at most [`limits::HEALTH_RESPONSE_BYTES_MAX`] in
/// all; then as much of the body as the probe needs.
async fn read_response<S: Stream>(
    stream: &S,
    mut buf: Vec<u8>,
    probe: &HttpProbe,
    deadline: Tick,
) -> (ProbeResult, Vec<u8>) {
    let bounds = Limits { head_bytes_max: limits::HEALTH_RESPONSE_BYTES_MAX, ..Limits::default() };
    let mut head = ResponseHead::default();
    let mut head_at = 0;
    loop {
        if buf.len() == limits::HEALTH_RESPONSE_BYTES_MAX {
            let error = ResponseError::from(HeadFault::HeadTooLarge);
            return (ProbeResult::Failed(Failure::Malformed(error)), buf);
        }
        let (read, back) = stream.read(buf, deadline).await;
        buf = back;
        match read {
            Ok(0) => return (ProbeResult::Failed(Failure::ClosedEarly), buf),
            Ok(_) => {}
            Err(error) => return (classify_exchange(&error), buf),
        }
        loop {
            match head.parse(&buf[head_at..], method(probe.method), &bounds) {
                Ok(Parse::Partial) => break,
                Ok(Parse::Complete) if head.is_interim() && head.switch().is_none() => {
                    head_at += head.len();
                    head.reset();
                }
                Ok(Parse::Complete) if !probe.statuses.has(head.status()) => {
                    return (ProbeResult::Failed(Failure::Status(head.status())), buf);
                }
                Ok(Parse::Complete) => {
                    let Some(text) = &probe.body else { return (ProbeResult::Healthy, buf) };
                    buf.drain(..head_at + head.len());
                    return find_text(stream, buf, head.framing(), text, deadline).await;
                }
                Err(error) => return (ProbeResult::Failed(Failure::Malformed(error)), buf),
            }
        }
    }
}

/// Searches a body for a text; `buf` has its first bytes.
async fn find_text<S: Stream>(
    stream: &S,
    mut buf: Vec<u8>,
    framing: Framing,
    text: &BodyText,
    deadline: Tick,
) -> (ProbeResult, Vec<u8>) {
    let mut search = BodySearch::new(framing, text.as_str().as_bytes());
    loop {
        match search.feed(&mut buf) {
            Ok(Searched::Found) => return (ProbeResult::Healthy, buf),
            Ok(Searched::Missing) => return (ProbeResult::Failed(Failure::TextMissing), buf),
            Ok(Searched::More) => {}
            Err(_) => return (ProbeResult::Failed(Failure::MalformedBody), buf),
        }
        let (read, back) = stream.read(buf, deadline).await;
        buf = back;
        match read {
            Ok(0) if framing == Framing::UntilClose => {
                return (ProbeResult::Failed(Failure::TextMissing), buf);
            }
            Ok(0) => return (ProbeResult::Failed(Failure::ClosedEarly), buf),
            Ok(_) => {}
            Err(error) => return (classify_exchange(&error), buf),
        }
    }
}

/// Search for a text in the first [`limits::HEALTH_BODY_BYTES_MAX`] bytes of a body; pure.
struct BodySearch<'a> {
    text: &'a [u8],
    framing: Framing,
    chunks: ChunkedBody,
    /// Bytes of the body so far.
    seen: usize,
    /// Last bytes searched: as many as may be a prefix of the text.
    tail: Vec<u8>,
}

/// State of a [`BodySearch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Searched {
    Found,
    /// Not in the body, or not in its searched part.
    Missing,
    More,
}

impl<'a> BodySearch<'a> {
    fn new(framing: Framing, text: &'a [u8]) -> Self {
        Self { text, framing, chunks: ChunkedBody::new(ChunkMode::Decode), seen: 0, tail: Vec::new() }
    }

    /// Takes received bytes; leaves those in `buf` that are needed again together with later ones.
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

fn classify_exchange(error: &io::Error) -> ProbeResult {
    ProbeResult::Failed(match error.kind() {
        ErrorKind::TimedOut => Failure::ResponseTimeout,
        _ => Failure::ClosedEarly,
    })
}

const USER_AGENT: &str = concat!("ringway-health/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
