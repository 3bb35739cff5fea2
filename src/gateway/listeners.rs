//! Listeners, bound before anything else starts: an address in use fails the start.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use ringway_api::Listeners;
use ringway_control::Service;
use ringway_model::limits;
use ringway_worker::{HttpMode, ListenerConfig};

use super::{Admin, StartError};

/// Binds one set of listeners per worker. Returns the sets and their addresses, empty without addresses and
/// sockets.
pub(super) fn bind(
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

/// Groups the listeners by worker, each with its protocol.
pub(super) fn of_workers(
    http: Vec<Vec<TcpListener>>,
    http_mode: HttpMode,
    https: Vec<Vec<TcpListener>>,
) -> Vec<Vec<(TcpListener, ListenerConfig)>> {
    let http_config = ListenerConfig::http(http_mode);
    let of_worker = |(http, https): (Vec<TcpListener>, Vec<TcpListener>)| {
        let http = http.into_iter().map(|listener| (listener, http_config));
        http.chain(https.into_iter().map(|listener| (listener, ListenerConfig::https()))).collect()
    };
    http.into_iter().zip(https).map(of_worker).collect()
}

/// Binds the admin API. Returns it as a service of the control thread, and its addresses.
pub(super) fn api_service(admin: Admin) -> Result<(Vec<Service>, Vec<SocketAddr>), StartError> {
    let Admin { addresses, sockets, unix, settings } = admin;
    let mut tcp = sockets;
    for address in addresses {
        ringway_api::check_bind(address, settings.token.as_ref()).map_err(StartError::OpenAdmin)?;
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        tcp.push(ringway_net::retry_in_use(bind).map_err(|error| StartError::Bind { address, error })?);
    }
    let bound =
        tcp.iter().map(TcpListener::local_addr).collect::<io::Result<_>>().map_err(StartError::System)?;
    let listeners = Listeners { tcp, unix };
    let service: Service = Box::new(move |control| {
        Box::pin(async move {
            let plane = std::rc::Rc::new(control);
            // Runs until the control thread drops it.
            if let Err(error) = ringway_api::serve(listeners, plane, settings, std::future::pending()).await {
                tracing::error!(%error, "the admin API cannot be served");
            }
        })
    });
    Ok((vec![service], bound))
}
