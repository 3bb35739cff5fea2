//! Server of the API: listeners, connection limit, shutdown.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{Stream, WriteRate, clock, sleep_until, spawn};
use ringway_wire::h1::{ConnectionSignal, SimpleResponse, write_simple_response};
use slab::Slab;

use crate::connection::{self, Activity, Host, Timeouts};
use crate::guard::{Guard, Listener, Token, check_bind};
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::service::Service;
use crate::waits::Waits;

/// Listeners of the API.
#[derive(Debug, Default)]
pub struct Listeners {
    /// TCP sockets, bound and listening.
    pub tcp: Vec<TcpListener>,
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
    /// Bearer token of TCP clients. Required for listeners outside of the loopback interface.
    pub token: Option<Token>,
    /// Further host names of the API, besides localhost and its addresses.
    pub hosts: Vec<String>,
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
            token: None,
            hosts: Vec::new(),
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
/// `InvalidInput` when a TCP listener is open to the network without a token (see [`check_bind`]), otherwise
/// the system's error when a listener cannot be used; nothing is served then.
pub async fn serve<P: Plane>(
    listeners: Listeners,
    plane: Rc<P>,
    settings: Settings,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut acceptors: Vec<Rc<dyn Acceptor<P>>> = Vec::new();
    for listener in listeners.tcp {
        let address = listener.local_addr()?;
        check_bind(address, settings.token.as_ref())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        acceptors.push(Rc::new(ringway_net::Listener::from_std(listener)?));
    }
    let mut files = Vec::new();
    for socket in listeners.unix {
        acceptors.push(Rc::new(ringway_net::UnixListener::from_std(socket.listener)?));
        files.extend(socket.file);
    }
    let hosts = settings.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    let guard = Guard { token: settings.token, hosts };
    let server = Rc::new(Server {
        service: Rc::new(Service::new(plane, guard, Waits::new(settings.waits_max))),
        clients: Rc::new(Clients::default()),
        connections_max: settings.connections_max,
        timeouts: Timeouts { request: settings.request_timeout, idle: settings.idle_timeout },
    });
    for acceptor in &acceptors {
        let (acceptor, server) = (Rc::clone(acceptor), Rc::clone(&server));
        spawn(async move { acceptor.accept_all(server).await }, |panic| {
            tracing::error!(%panic, "admin API listener task panicked; no new connections are accepted");
        });
    }
    stop.await;
    for acceptor in &acceptors {
        acceptor.close();
    }
    server.clients.drain(clock::now().after(settings.drain_timeout)).await;
    drop(files);
    Ok(())
}

/// The API as a service of the control thread. It runs until the thread ends, so that the status is available
/// while the process drains.
///
/// Errors of [`serve`] are logged; a start should call [`check_bind`] first.
pub fn service(listeners: Listeners, settings: Settings) -> ringway_control::Service {
    Box::new(move |control| {
        Box::pin(async move {
            if let Err(error) = serve(listeners, Rc::new(control), settings, std::future::pending()).await {
                tracing::error!(%error, "the admin API cannot be served");
            }
        })
    })
}

struct Server<P> {
    service: Rc<Service<P>>,
    clients: Rc<Clients>,
    connections_max: usize,
    timeouts: Timeouts,
}

impl<P: Plane> Server<P> {
    /// Serves a new connection in a task of its own.
    async fn serve_connection<S: Stream>(&self, stream: S, listener: &Rc<Listener>) {
        if self.clients.count() >= self.connections_max && !self.clients.make_room(self.connections_max) {
            send_too_many_connections(stream, &self.service.draw_id().to_string()).await;
            return;
        }
        let stream = Rc::new(stream);
        let client = self.clients.enter(Rc::clone(&stream));
        let (listener, service) = (Rc::clone(listener), Rc::clone(&self.service));
        spawn(connection::serve(stream, listener, service, client, self.timeouts), |panic| {
            tracing::error!(%panic, "admin API connection task panicked; connection closed");
        });
    }
}

/// A new socket accepts this many bytes at once, so the write does not block.
async fn send_too_many_connections<S: Stream>(stream: S, id: &str) {
    let problem = Problem::new(Kind::Crowded, "too many connections to the admin API are open");
    let mut out = Vec::new();
    write_simple_response(
        &mut out,
        &SimpleResponse {
            status: problem.kind.status(),
            connection: ConnectionSignal::Close,
            fields: b"Retry-After: 1\r\n",
            content_type: "application/problem+json",
            body: &problem.body(id),
            is_head: false,
        },
    );
    let deadline = clock::now().after(Duration::from_secs(1));
    let _ = stream.write_all(out, WriteRate::until(deadline)).await;
}

/// A listener of any kind.
trait Acceptor<P> {
    /// Accepts until closed.
    fn accept_all(&self, server: Rc<Server<P>>) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;
    fn close(&self);
}

impl<P: Plane> Acceptor<P> for ringway_net::Listener {
    fn accept_all(&self, server: Rc<Server<P>>) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let listener = Rc::new(Listener::Tcp(self.local_addr()));
            loop {
                match self.accept().await {
                    Ok((stream, _)) => server.serve_connection(stream, &listener).await,
                    Err(error) if is_transient(&error) => {}
                    Err(_) => return,
                }
            }
        })
    }

    fn close(&self) {
        self.stop();
    }
}

impl<P: Plane> Acceptor<P> for ringway_net::UnixListener {
    fn accept_all(&self, server: Rc<Server<P>>) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let listener = Rc::new(Listener::Unix);
            loop {
                match self.accept().await {
                    Ok(stream) => server.serve_connection(stream, &listener).await,
                    Err(error) if is_transient(&error) => {}
                    Err(_) => return,
                }
            }
        })
    }

    fn close(&self) {
        self.stop();
    }
}

/// Whether a listener is usable after an error: it is when descriptors or memory are short, and `accept` has
/// paused already.
fn is_transient(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    match error.kind() {
        ErrorKind::Interrupted => false,
        _ if matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS)) => {
            tracing::warn!(%error, "the admin API cannot accept a connection");
            true
        }
        _ => {
            tracing::error!(%error, "a listener of the admin API has failed");
            false
        }
    }
}

/// A fourth more than the limit, while connections are closing.
const LEAVING_SHARE: usize = 4;

/// The open connections.
#[derive(Default)]
struct Clients {
    open: RefCell<Slab<Entry>>,
    turn: Cell<u64>,
    is_draining: Cell<bool>,
    last_left: RefCell<Option<Waker>>,
}

struct Entry {
    activity: Activity,
    /// Sequence number of the last change of activity.
    since: u64,
    /// Whether it is being closed.
    is_leaving: bool,
    stream: Rc<dyn Cancel>,
}

/// Wakes a waiting connection.
trait Cancel {
    fn reads(&self);
    fn writes(&self);
}

impl<S: Stream> Cancel for S {
    fn reads(&self) {
        self.cancel_reads();
    }

    fn writes(&self) {
        self.cancel_writes();
    }
}

/// Entry of a connection; removed when dropped.
struct Client {
    clients: Rc<Clients>,
    key: usize,
}

impl Clients {
    fn count(&self) -> usize {
        self.open.borrow().len()
    }

    fn enter<S: Stream>(self: &Rc<Self>, stream: Rc<S>) -> Client {
        let entry = Entry { activity: Activity::Idle, since: self.next_turn(), is_leaving: false, stream };
        let key = self.open.borrow_mut().insert(entry);
        Client { clients: Rc::clone(self), key }
    }

    fn next_turn(&self) -> u64 {
        self.turn.replace(self.turn.get() + 1)
    }

    /// Closes the connection that has been idle for the longest time, so that slow clients do not exclude
    /// others. False when none is idle, or when too many are closing.
    fn make_room(&self, connections_max: usize) -> bool {
        let mut open = self.open.borrow_mut();
        if open.len() >= connections_max + connections_max.div_ceil(LEAVING_SHARE) {
            return false;
        }
        let waiting = open.iter_mut().map(|(_, entry)| entry);
        let waiting = waiting.filter(|entry| entry.activity != Activity::Answering && !entry.is_leaving);
        let Some(entry) = waiting.min_by_key(|entry| entry.since) else { return false };
        entry.is_leaving = true;
        let (stream, is_sending) = (Rc::clone(&entry.stream), entry.activity == Activity::Sending);
        drop(open);
        // A request that has arrived is still answered.
        stream.reads();
        if is_sending {
            stream.writes();
        }
        true
    }

    /// Closes idle connections now, the others after their response, and all at `deadline`.
    async fn drain(&self, deadline: Tick) {
        self.is_draining.set(true);
        self.cancel(|activity| activity == Activity::Idle);
        let mut timer = pin!(sleep_until(deadline));
        poll_fn(|cx| {
            if self.count() == 0 {
                return Poll::Ready(());
            }
            *self.last_left.borrow_mut() = Some(cx.waker().clone());
            timer.as_mut().poll(cx)
        })
        .await;
        self.cancel(|_| true);
        // They end at once, and the kernel returns their buffers.
        poll_fn(|cx| match self.count() {
            0 => Poll::Ready(()),
            _ => {
                *self.last_left.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await;
    }

    fn cancel(&self, is_meant: impl Fn(Activity) -> bool) {
        let meant: Vec<Rc<dyn Cancel>> = self
            .open
            .borrow()
            .iter()
            .filter(|(_, entry)| is_meant(entry.activity))
            .map(|(_, entry)| Rc::clone(&entry.stream))
            .collect();
        for stream in meant {
            stream.reads();
            stream.writes();
        }
    }
}

impl Host for Client {
    fn report(&self, activity: Activity) {
        if let Some(entry) = self.clients.open.borrow_mut().get_mut(self.key) {
            entry.activity = activity;
            entry.since = self.clients.next_turn();
        }
    }

    fn is_draining(&self) -> bool {
        self.clients.is_draining.get()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let entry = self.clients.open.borrow_mut().try_remove(self.key);
        drop(entry);
        if self.clients.count() == 0
            && let Some(waker) = self.clients.last_left.borrow_mut().take()
        {
            waker.wake();
        }
    }
}
