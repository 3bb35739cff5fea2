//! Listeners, bound before anything else starts: an address in use fails the start.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use ringway_api::Listeners;
use ringway_control::Service;
use ringway_model::limits;
use ringway_worker::ListenerConfig;

use super::listener::Protocol;
use super::{Admin, Listener, StartError};

/// Bound public listeners.
pub(super) struct Bound {
    /// Sockets of each worker.
    pub(super) workers: Vec<Vec<(TcpListener, ListenerConfig)>>,
    pub(super) http_addresses: Vec<SocketAddr>,
    pub(super) https_addresses: Vec<SocketAddr>,
    pub(super) forward_addresses: Vec<SocketAddr>,
}

/// Binds all public listeners, once for each worker.
pub(super) fn bind_all(
    listeners: &[Listener],
    settings: &ringway_worker::Settings,
    workers: usize,
) -> Result<Bound, StartError> {
    let count = listeners.iter().map(|listener| listener.addresses.len() + listener.sockets.len()).sum();
    match count {
        0 => return Err(StartError::NoListener),
        1..=limits::LISTENERS_MAX => {}
        _ => return Err(StartError::TooManyListeners(count)),
    }
    let mut bound = Bound {
        workers: (0..workers).map(|_| Vec::new()).collect(),
        http_addresses: Vec::new(),
        https_addresses: Vec::new(),
        forward_addresses: Vec::new(),
    };
    for listener in listeners {
        let (sets, addresses) = bind(&listener.addresses, &listener.sockets, workers)?;
        match listener.protocol {
            Protocol::Http(_) => bound.http_addresses.extend(addresses),
            Protocol::Https => bound.https_addresses.extend(addresses),
            Protocol::Forward => bound.forward_addresses.extend(addresses),
        }
        // Shared by all workers: so is its limit of connections.
        let config = listener.config(settings);
        for (worker, sockets) in bound.workers.iter_mut().zip(sets) {
            worker.extend(sockets.into_iter().map(|socket| (socket, config.clone())));
        }
    }
    Ok(bound)
}

/// Binds one set of listeners per worker. Returns the sets and their addresses, empty without addresses and
/// sockets.
fn bind(
    addresses: &[SocketAddr],
    sockets: &[TcpListener],
    workers: usize,
) -> Result<(Vec<Vec<TcpListener>>, Vec<SocketAddr>), StartError> {
    let mut tries = 0;
    let (mut sets, mut bound) = loop {
        tries += 1;
        match bind_addresses(addresses, workers) {
            // The kernel's free port of one address is in use on another: try again with another port.
            Err(StartError::Bind { error, .. })
                if error.kind() == ErrorKind::AddrInUse
                    && addresses.iter().all(|address| address.port() == 0)
                    && tries < limits::FREE_PORT_TRIES => {}
            result => break result?,
        }
    };
    for socket in sockets {
        for set in &mut sets {
            set.push(socket.try_clone().map_err(StartError::System)?);
        }
        bound.push(socket.local_addr().map_err(StartError::System)?);
    }
    Ok((sets, bound))
}

fn bind_addresses(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<(Vec<Vec<TcpListener>>, Vec<SocketAddr>), StartError> {
    let mut sets: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    let mut free_port = None;
    for address in addresses {
        let mut address = *address;
        let is_free = if address.port() == 0 {
            address.set_port(free_port.unwrap_or(0));
            ringway_net::check_free(address)
        } else {
            ringway_net::retry_in_use(|| ringway_net::check_free(address))
        };
        match is_free {
            Ok(()) => {}
            // A machine without IPv6 serves IPv4 only.
            Err(error) if is_family_missing(&error) && addresses.len() > 1 => continue,
            Err(error) => return Err(StartError::Bind { address, error }),
        }
        for set in &mut sets {
            let listener = ringway_net::bind_reuseport(address, limits::LISTEN_BACKLOG)
                .map_err(|error| StartError::Bind { address, error })?;
            address = listener.local_addr().map_err(StartError::System)?;
            set.push(listener);
        }
        free_port = Some(address.port());
        bound.push(address);
    }
    Ok((sets, bound))
}

fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// The admin API as a service of the control thread, with its addresses.
#[derive(Default)]
pub(super) struct BoundAdmin {
    pub(super) services: Vec<Service>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) metrics: Vec<SocketAddr>,
}

/// Binds the admin API.
pub(super) fn api_service(admin: Admin) -> Result<BoundAdmin, StartError> {
    let Admin { addresses, sockets, unix, metrics, settings } = admin;
    let mut bound = sockets;
    for address in &addresses {
        settings.access.check_bind(*address).map_err(StartError::OpenAdmin)?;
    }
    bound.extend(bind_exclusive(&addresses)?);
    let metrics = bind_exclusive(&metrics)?;
    let local = |sockets: &[TcpListener]| {
        sockets
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()
            .map_err(StartError::System)
    };
    let (addresses, metrics_addresses) = (local(&bound)?, local(&metrics)?);
    let (tls, tcp) = bound
        .into_iter()
        .zip(&addresses)
        .partition::<Vec<_>, _>(|(_, address)| settings.access.uses_tls(**address));
    let listeners_of =
        |sockets: Vec<(TcpListener, _)>| sockets.into_iter().map(|(socket, _)| socket).collect();
    let listeners = Listeners { tcp: listeners_of(tcp), tls: listeners_of(tls), metrics, unix };
    let service = ringway_api::service(listeners, settings);
    Ok(BoundAdmin { services: vec![service], addresses, metrics: metrics_addresses })
}

/// Binds sockets of one thread.
fn bind_exclusive(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    let mut sockets = Vec::new();
    for &address in addresses {
        let bind = || ringway_net::bind_exclusive(address, limits::LISTEN_BACKLOG);
        match ringway_net::retry_in_use(bind) {
            Ok(socket) => sockets.push(socket),
            // A machine without IPv6 serves IPv4 only.
            Err(error) if is_family_missing(&error) && addresses.len() > 1 => {}
            Err(error) => return Err(StartError::Bind { address, error }),
        }
    }
    Ok(sockets)
}
