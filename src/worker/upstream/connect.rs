//! A connection to an endpoint: a pooled one that is alive, or a new one.

use ringway_model::{Scheme, Tick};
use ringway_net::tls::TlsError;
use ringway_traffic::snapshot::{self, Endpoint};

use super::{Reuse, Upstream};
use crate::core::Core;
use crate::failure::Failure;
use crate::world::World;

/// Whether a connection has carried requests before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Pooled,
    New,
}

/// Takes a pooled connection, or connects to the endpoint's addresses one after the other. All of them together
/// have one connect timeout, handshakes included.
pub(crate) async fn connect<W: World>(
    core: &Core<W>,
    pool: &snapshot::Pool,
    endpoint: &Endpoint,
    reuse: Reuse,
) -> Result<(Upstream<W::Stream>, Origin), Failure> {
    let pooled = match reuse {
        Reuse::Allowed => core.upstreams.borrow_mut().checkout(endpoint.id, core.world.now()),
        Reuse::Never => None,
    };
    if let Some(upstream) = pooled {
        return Ok((upstream, Origin::Pooled));
    }
    let deadline = core.world.now().after(core.settings.connect_timeout);
    let mut failure = Failure::ConnectFailed;
    for address in &endpoint.addresses {
        match core.world.connect(*address, deadline).await {
            Ok(stream) => {
                let stream = match endpoint.target.scheme() {
                    Scheme::Http => stream,
                    Scheme::Https => secure(core, pool, endpoint, stream, deadline).await?,
                };
                let upstream = Upstream { stream, endpoint: endpoint.id, requests: 0, keep_alive: None };
                return Ok((upstream, Origin::New));
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(Failure::ConnectTimedOut);
            }
            Err(error) if is_ours(&error) => return Err(Failure::Exhausted),
            Err(_) => failure = Failure::ConnectFailed,
        }
    }
    Err(failure)
}

/// Speaks TLS on a new connection. An address that answers wrongly is not made up for by another: it would be asked the
/// next time, and be a way in.
async fn secure<W: World>(
    core: &Core<W>,
    pool: &snapshot::Pool,
    endpoint: &Endpoint,
    stream: W::Stream,
    deadline: Tick,
) -> Result<W::Stream, Failure> {
    let now = core.world.now();
    let Some((config, name)) = core.trust.of(&core.materials, pool, endpoint, (now, deadline)).await else {
        return Err(Failure::UpstreamTlsUnloadable);
    };
    core.world.connect_tls(stream, config, name, deadline).await.map_err(|error| {
        let (app, instance) = (&pool.app, &endpoint.instance);
        match error {
            TlsError::TimedOut => Failure::ConnectTimedOut,
            TlsError::Tls(why) => {
                tracing::warn!(%app, %instance, %why, "an instance could not be spoken to securely");
                Failure::UpstreamTlsFailed
            }
            _ => Failure::UpstreamTlsFailed,
        }
    })
}

/// Whether it is this machine that is short of something: no endpoint is to blame for it, and none would do better.
fn is_ours(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_not_blamed_for_our_own_shortage() {
        let is = |code| is_ours(&std::io::Error::from_raw_os_error(code));
        assert!(is(libc::EMFILE) && is(libc::ENFILE) && is(libc::ENOBUFS) && is(libc::ENOMEM));
        assert!(!is(libc::ECONNREFUSED) && !is(libc::EHOSTUNREACH) && !is(libc::ECONNRESET));
        // Of this endpoint only: where there is no IPv6, an IPv4 one may do.
        assert!(!is(libc::EADDRNOTAVAIL));
    }
}
