//! DNS resolution by the system's resolver on a thread pool. For the control thread.

use crate::core;
use crate::sync::oneshot;
use crate::task::spawn;
use crate::timer::{sleep_until, timeout};
use ringway_model::Tick;
use ringway_model::limits::{DNS_ADDRESSES_MAX, DNS_IN_FLIGHT_MAX};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

/// Resolves `name` to at most [`DNS_ADDRESSES_MAX`] distinct addresses, each with `port`, in the system's
/// order.
///
/// The blocking call runs on a thread of [`RuntimeOptions::blocking_threads`](crate::RuntimeOptions). At the
/// deadline it is abandoned, and counts towards [`DNS_IN_FLIGHT_MAX`] until it ends: a resolver that hangs
/// occupies a bounded number of threads and queued calls.
///
/// # Errors
/// `TimedOut` at `deadline`, `ResourceBusy` when too many calls are in flight, `Unsupported` on a runtime
/// without blocking threads, else the resolver's.
pub async fn resolve(name: &str, port: u16, deadline: Tick) -> io::Result<Vec<SocketAddr>> {
    let core = core::current()?;
    if !core.has_blocking_threads {
        return Err(ErrorKind::Unsupported.into());
    }
    if core.resolutions.get() >= DNS_IN_FLIGHT_MAX {
        return Err(ErrorKind::ResourceBusy.into());
    }
    core.resolutions.update(|count| count + 1);
    let name = name.to_owned();
    let call = monoio::spawn_blocking(move || (name.as_str(), port).to_socket_addrs().map(distinct));
    let (sender, receiver) = oneshot();
    // A task of its own outlives the deadline, and counts the call until it ends.
    spawn(
        async move {
            let result = call.await.unwrap_or_else(|_| Err(ErrorKind::Interrupted.into()));
            core.resolutions.update(|count| count - 1);
            sender.send(result);
        },
        |_| {},
    );
    match timeout(receiver, sleep_until(deadline)).await {
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(ErrorKind::Interrupted.into()),
        None => Err(ErrorKind::TimedOut.into()),
    }
}

fn distinct(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut distinct = Vec::new();
    for address in addresses {
        if !distinct.contains(&address) && distinct.len() < DNS_ADDRESSES_MAX {
            distinct.push(address);
        }
    }
    distinct
}
