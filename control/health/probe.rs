//! Asking an instance: a TCP connection, or one GET.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{AppId, Hostname, Probe, Scheme, Target, TargetHost, Tick, limits};
use ringway_net::tls::{TlsError, connect_tls};
use ringway_net::{Pace, Stream, TcpStream, clock, connect, linger, resolve};
use ringway_wire::h1::{HeadFault, Limits, Parse, ResponseError, ResponseHead, write_get};
use ringway_wire::message::Method;

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
/// A TCP probe is well when the connection is established. An HTTP probe is well when `GET path` is answered with a
/// status from 200 to 399; redirects are not followed, the body does not matter. Names are resolved at most
/// once in [`limits::DNS_TTL`]; when the resolver fails, the addresses that were last known are asked, for a broken
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
            let fresh_until = now.after(limits::DNS_TTL);
            names.insert(name.clone(), Resolved { addresses: addresses.to_vec(), fresh_until });
        }
    }
}

/// Names remembered: as many as there can be instances.
const NAMES_MAX: usize = limits::INSTANCES_MAX;
/// A name that was not resolved anew for so long is not in use: the longest interval, twice.
const NAME_AGE_MAX: Duration = Duration::from_secs(2 * limits::HEALTH_INTERVAL_MAX.as_secs());

impl<T: Trust> Prober for NetProber<T> {
    async fn probe(&self, plan: &Plan) -> Answer {
        let Plan { target, app, probe, timeout, .. } = plan;
        let deadline = clock::now().after(*timeout);
        let addresses = match self.addresses(target, deadline).await {
            Ok(addresses) => addresses,
            Err(answer) => return answer,
        };
        let stream = match connect_first(&addresses, deadline).await {
            Ok(stream) => stream,
            Err(answer) => return answer,
        };
        let path = match probe {
            Probe::Tcp => return Answer::Well,
            // It speaks HTTP/2 only, as gRPC servers do: that it takes connections is all that is asked.
            Probe::Http(_) if target.scheme() == Scheme::H2c => return Answer::Well,
            Probe::Http(path) => path,
        };
        let Some(app) = app else { return get(&stream, target, path, deadline).await };
        let Some((config, name)) = self.trust.of(app, target, deadline).await else {
            return Answer::NotAsked(LocalFault::NoTrust);
        };
        match connect_tls(stream, config, name, deadline).await {
            Ok(stream) => get(&stream, target, path, deadline).await,
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

async fn get<S: Stream>(stream: &S, target: &Target, path: &str, deadline: Tick) -> Answer {
    let host = &target.authority();
    let mut buf = Vec::with_capacity(limits::HEALTH_RESPONSE_BYTES_MAX);
    if write_get(&mut buf, host, path, USER_AGENT).is_err() {
        return Answer::NotAsked(LocalFault::InvalidPath);
    }
    let (written, mut buf) = stream.write_all(buf, Pace::until(deadline)).await;
    if let Err(error) = written {
        return judge_exchange(&error);
    }
    buf.clear();
    let (answer, buf) = read_answer(stream, buf, deadline).await;
    if matches!(answer, Answer::Well | Answer::Failed(Failure::Status(_))) {
        // So that the instance sees its answer read and not a reset.
        let until = deadline.min(clock::now().after(limits::HEALTH_LINGER));
        linger(stream, buf, limits::HEALTH_RESPONSE_BYTES_MAX, until).await;
    }
    answer
}

/// Reads the head of the final response, past interim ones: at most [`limits::HEALTH_RESPONSE_BYTES_MAX`] in all.
async fn read_answer<S: Stream>(stream: &S, mut buf: Vec<u8>, deadline: Tick) -> (Answer, Vec<u8>) {
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
            match head.parse(&buf[head_at..], Method::Get, &bounds) {
                Ok(Parse::Partial) => break,
                Ok(Parse::Complete) if head.is_interim() && head.switch().is_none() => {
                    head_at += head.len();
                    head.reset();
                }
                Ok(Parse::Complete) => return (judge_status(head.status()), buf),
                Err(error) => return (Answer::Failed(Failure::Malformed(error)), buf),
            }
        }
    }
}

fn judge_status(status: u16) -> Answer {
    match status {
        200..=399 => Answer::Well,
        status => Answer::Failed(Failure::Status(status)),
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
mod tests;
