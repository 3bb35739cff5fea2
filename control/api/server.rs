//! Server of the API: listeners, connection limit, shutdown.

mod acceptor;
mod clients;

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ringway_net::{clock, spawn};

use self::acceptor::{Acceptor, MetricsListener, Server, TlsListener};
use crate::access::{AccessControl, AccessSettings};
use crate::audit::AuditLog;
use crate::limits;
use crate::plane::Plane;
use crate::service::Service;
use crate::waits::Waits;

/// Listeners of the API.
#[derive(Debug, Default)]
pub struct Listeners {
    /// TCP sockets, bound and listening.
    pub tcp: Vec<TcpListener>,
    /// TCP sockets that use TLS; see [`AccessSettings::tls`].
    pub tls: Vec<TcpListener>,
    /// TCP sockets that serve metrics and health probes without a token, and nothing else.
    pub metrics: Vec<TcpListener>,
    /// Unix sockets; see [`bind_unix`].
    pub unix: Vec<UnixSocket>,
}

/// A listening Unix socket and its file.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    /// None for a socket that was created elsewhere.
    file: Option<SocketFile>,
}

/// File of a socket; removed when dropped, if it still belongs to that socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl From<UnixListener> for UnixSocket {
    /// Takes an inherited socket, for example from systemd; its file is not removed.
    fn from(listener: UnixListener) -> Self {
        Self { listener, file: None }
    }
}

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tokens and certificates.
    pub access: AccessSettings,
    /// Audit log; `None` for none.
    pub audit: Option<AuditLog>,
    /// Connection limit. For a further connection the longest idle one is closed; when none is idle, it is
    /// answered with 503.
    pub connections_max: usize,
    /// Limit of waiting requests. A further one is refused with 503; a drain continues without its request,
    /// which is answered with 202.
    pub waits_max: usize,
    /// Timeout of one request, from its first to its last byte.
    pub request_timeout: Duration,
    /// Idle timeout between two requests of a connection.
    pub idle_timeout: Duration,
    /// Time for requests in progress after the API was stopped.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access: AccessSettings::default(),
            audit: None,
            connections_max: limits::API_CONNECTIONS_MAX,
            waits_max: limits::API_WAITS_MAX,
            request_timeout: limits::API_REQUEST_TIMEOUT,
            idle_timeout: limits::API_IDLE_TIMEOUT,
            drain_timeout: limits::API_REQUEST_TIMEOUT,
        }
    }
}

/// Creates a listening Unix socket for its owner and group (mode 0660).
///
/// A stale socket file is replaced; a socket in use is not. The new socket appears under its name with its
/// mode set.
///
/// # Errors
/// `AddrInUse` when a process listens there, after retries of two seconds; `AlreadyExists` when the file is
/// not a socket; otherwise the system's error.
pub fn bind_unix(path: &Path) -> io::Result<UnixSocket> {
    ringway_net::retry_in_use(|| bind_unix_now(path))
}

fn bind_unix_now(path: &Path) -> io::Result<UnixSocket> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let message = format!("{} exists and is no socket", path.display());
            return Err(io::Error::new(ErrorKind::AlreadyExists, message));
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => {
                let message = format!("a process listens on {} already", path.display());
                return Err(io::Error::new(ErrorKind::AddrInUse, message));
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Bound under another name first: until the mode is set, the umask would decide about access.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    let finished = fs::set_permissions(&draft, fs::Permissions::from_mode(0o660))
        .and_then(|()| fs::symlink_metadata(&draft))
        .and_then(|made| fs::rename(&draft, path).map(|()| made.ino()));
    match finished {
        Ok(inode) => {
            let file = SocketFile { path: path.to_owned(), inode };
            Ok(UnixSocket { listener, file: Some(file) })
        }
        Err(error) => {
            let _ = fs::remove_file(&draft);
            Err(error)
        }
    }
}

/// Serves the API until `stop` is ready, then completes requests in progress. Runs inside of
/// [`ringway_net::run`], on the control thread.
///
/// # Errors
/// `InvalidInput` when a TCP listener is open to the network without access control (see
/// [`AccessSettings::check_bind`]), otherwise the system's error when a listener cannot be used; nothing is
/// served then.
pub async fn serve<P: Plane>(
    listeners: Listeners,
    plane: Rc<P>,
    settings: Settings,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let access = Rc::new(AccessControl::new(&settings.access));
    let waits = Waits::new(settings.waits_max);
    let service = Rc::new(Service::new(plane, Rc::clone(&access), waits, settings.audit.clone()));
    let server = |connections_max| Rc::new(Server::new(Rc::clone(&service), connections_max, &settings));
    // A server of their own: clients of the metrics take no connection of the API.
    let of_metrics = server(settings.connections_max.min(limits::METRICS_CONNECTIONS_MAX));
    let of_api = server(settings.connections_max);
    let mut acceptors: Vec<(Rc<dyn Acceptor<P>>, _)> = Vec::new();
    for listener in listeners.tcp {
        check_bind(&settings.access, &listener)?;
        acceptors.push((Rc::new(ringway_net::Listener::from_std(listener)?), &of_api));
    }
    for listener in listeners.tls {
        check_bind(&settings.access, &listener)?;
        let listener = TlsListener::new(ringway_net::Listener::from_std(listener)?, Rc::clone(&access));
        acceptors.push((Rc::new(listener), &of_api));
    }
    for listener in listeners.metrics {
        let listener = MetricsListener(ringway_net::Listener::from_std(listener)?);
        acceptors.push((Rc::new(listener), &of_metrics));
    }
    let mut files = Vec::new();
    for socket in listeners.unix {
        acceptors.push((Rc::new(ringway_net::UnixListener::from_std(socket.listener)?), &of_api));
        files.extend(socket.file);
    }
    for (acceptor, server) in &acceptors {
        let (acceptor, server) = (Rc::clone(acceptor), Rc::clone(server));
        spawn(async move { acceptor.accept_all(server).await }, |panic| {
            tracing::error!(%panic, "admin API listener task panicked; no new connections are accepted");
        });
    }
    access.watch_files();
    stop.await;
    for (acceptor, _) in &acceptors {
        acceptor.close();
    }
    let deadline = clock::now().after(settings.drain_timeout);
    of_metrics.drain(deadline).await;
    of_api.drain(deadline).await;
    drop(files);
    Ok(())
}

fn check_bind(access: &AccessSettings, listener: &TcpListener) -> io::Result<()> {
    access.check_bind(listener.local_addr()?).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))
}

/// The API as a service of the control thread. It runs until the thread ends, so that the status is available
/// while the process drains.
///
/// Errors of [`serve`] are logged; a start should call [`AccessSettings::check_bind`] first.
pub fn service(listeners: Listeners, settings: Settings) -> ringway_control::Service {
    Box::new(move |control| {
        Box::pin(async move {
            if let Err(error) = serve(listeners, Rc::new(control), settings, std::future::pending()).await {
                tracing::error!(%error, "the admin API cannot be served");
            }
        })
    })
}
