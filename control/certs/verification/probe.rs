//! HTTP probe of our own challenge URL at one address.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use ringway_model::{Hostname, Tick};
use ringway_net::{Stream, WriteRate, clock, connect};
use ringway_wire::h1::{Limits, Parse, ResponseHead, write_get};
use ringway_wire::message::Method;

use super::{Probe, ProbeOutcome};
use crate::limits::{CHALLENGE_PROBE_BYTES_MAX, CHALLENGE_PROBE_TIMEOUT};

/// Random challenge token and key authorization that only this server can serve.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    pub(crate) token: String,
    pub(crate) key_authorization: String,
}

impl Challenge {
    /// Generates a challenge; `None` when the system has no randomness.
    pub(crate) fn random() -> Option<Self> {
        let mut bytes = [0; 48];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let token = format!("ringway-probe-{}", text(&bytes[..16]));
        let key_authorization = format!("{token}.{}", text(&bytes[16..]));
        Some(Self { token, key_authorization })
    }
}

/// Fetches the challenge URL of `host` from one address.
pub(crate) async fn probe(host: &Hostname, challenge: &Challenge, address: SocketAddr) -> Probe {
    let deadline = clock::now().after(CHALLENGE_PROBE_TIMEOUT);
    let outcome = match fetch(host, challenge, address, deadline).await {
        Ok(outcome) | Err(outcome) => outcome,
    };
    // Port 0 is always free, so that only a foreign address fails to bind.
    let is_local = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok();
    Probe { address, outcome, is_local }
}

pub(super) async fn fetch(
    host: &Hostname,
    challenge: &Challenge,
    address: SocketAddr,
    deadline: Tick,
) -> Result<ProbeOutcome, ProbeOutcome> {
    let stream = connect(address, deadline).await.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => ProbeOutcome::Refused,
        ErrorKind::TimedOut => ProbeOutcome::TimedOut,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => ProbeOutcome::InvalidResponse,
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::AddrNotAvailable
        | ErrorKind::PermissionDenied
        | ErrorKind::InvalidInput => ProbeOutcome::NoRoute,
        _ => ProbeOutcome::NotSent,
    })?;
    let mut buf = Vec::with_capacity(CHALLENGE_PROBE_BYTES_MAX);
    let path = format!("/.well-known/acme-challenge/{}", challenge.token);
    write_get(&mut buf, host.as_str(), &path, USER_AGENT).map_err(|_| ProbeOutcome::NotSent)?;
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::TimedOut => ProbeOutcome::TimedOut,
        _ => ProbeOutcome::InvalidResponse,
    };
    let (written, mut buf) = stream.write_all(buf, WriteRate::until(deadline)).await;
    written.map_err(failed)?;
    buf.clear();
    let mut head = ResponseHead::default();
    let bounds = Limits { head_bytes_max: CHALLENGE_PROBE_BYTES_MAX, ..Limits::default() };
    let mut is_complete = false;
    while buf.len() < CHALLENGE_PROBE_BYTES_MAX {
        let (read, back) = stream.read(buf, deadline).await;
        buf = back;
        let has_ended = match read {
            Ok(count) => count == 0,
            Err(error) if !is_complete => return Err(failed(error)),
            Err(_) => true,
        };
        if !is_complete {
            is_complete = match head.parse(&buf, Method::Get, &bounds) {
                Ok(parse) => parse == Parse::Complete,
                Err(_) => return Err(ProbeOutcome::InvalidResponse),
            };
        }
        if is_complete {
            // Searched in the raw body, whatever its framing: no other server has these random bytes.
            let body = &buf[head.len()..];
            let expected = challenge.key_authorization.as_bytes();
            if head.status() == 200 && body.windows(expected.len()).any(|window| window == expected) {
                return Ok(ProbeOutcome::Reached);
            }
        }
        if has_ended || (is_complete && head.status() != 200) {
            break;
        }
    }
    if is_complete {
        Ok(ProbeOutcome::OtherServer(head.status()))
    } else {
        Err(ProbeOutcome::InvalidResponse)
    }
}

const USER_AGENT: &str = concat!("ringway-probe/", env!("CARGO_PKG_VERSION"));
