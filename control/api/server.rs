//! The sockets of the API: who is let in, how many at once, and how it ends.

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
use crate::guard::{Door, Guard, Token, check_bind};
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::service::Service;
use crate::waits::Waits;

/// What the API listens on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// TCP sockets, bound and listening.
    pub tcp: Vec<TcpListener>,
    /// Unix sockets; see [`bind_unix`].
    pub unix: Vec<UnixSocket>,
}

/// A listening Unix socket and the file by which it is reached.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    /// None for a socket that somebody else made.
    file: Option<SocketFile>,
}

/// A socket's file; removed when dropped, if it is still that socket's.
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
    /// A socket that was handed over, by systemd for example; its file is left alone.
    fn from(listener: UnixListener) -> Self {
        Self { listener, file: None }
    }
}

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bearer token that TCP clients must show. Needed for any listener that is not on the loopback interface.
    pub token: Option<Token>,
    /// Host names beside localhost and the addresses under which clients reach the API.
    pub hosts: Vec<String>,
    /// Connections at once. For one more the one ends that has waited for its client the longest; when all wait for us, it is
    /// answered with 503.
    pub connections_max: usize,
    /// Requests that wait for a state of an instance at one time. One more is refused with 503; a drain goes on without
    /// its request, which is answered with 202.
    pub waits_max: usize,
    /// For one request to arrive, from its first byte to its last.
    pub request_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// How long requests under way may take to end once the API is to stop.
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

/// Makes a listening Unix socket that the owner and the group may use (mode 0660).
///
/// A socket file that an earlier process left behind is replaced; one that somebody listens on is not. The new
/// socket appears under its name with its mode already set.
///
/// # Errors
/// `AddrInUse` when a process listens there, after retries of two seconds,
/// `AlreadyExists` when the file is no socket, else the system's.
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
    // Bound under another name first: under its own it would be open to whom the umask allows until the mode is set.
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

/// Serves the API until `stop` is ready, then lets requests under way end. Inside of [`ringway_net::run`], on the
/// control thread.
///
/// # Errors
/// `InvalidInput` when a TCP listener is open to the network without a token (see [`check_bind`]), else the system's
/// when a listener cannot be taken over; nothing is served then.
pub async fn serve<P: Plane>(
    listeners: Listeners,
    plane: Rc<P>,
    settings: Settings,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut doors: Vec<Rc<dyn Entrance<P>>> = Vec::new();
    for listener in listeners.tcp {
        let address = listener.local_addr()?;
        check_bind(address, settings.token.as_ref())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        doors.push(Rc::new(ringway_net::Listener::from_std(listener)?));
    }
    let mut files = Vec::new();
    for socket in listeners.unix {
        doors.push(Rc::new(ringway_net::UnixListener::from_std(socket.listener)?));
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
    for door in &doors {
        let (door, server) = (Rc::clone(door), Rc::clone(&server));
        spawn(async move { door.admit_all(server).await }, |panic| {
            tracing::error!(%panic, "the admin API's listener has panicked and accepts no more connections");
        });
    }
    stop.await;
    for door in &doors {
        door.close();
    }
    server.clients.drain(clock::now().after(settings.drain_timeout)).await;
    drop(files);
    Ok(())
}

/// The API as a service of the control thread. It answers until the thread ends, so that the status can be asked for
/// while the process drains.
///
/// What [`serve`] complains about is logged; a start should ask [`check_bind`] first.
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
    async fn welcome<S: Stream>(&self, stream: S, door: &Rc<Door>) {
        if self.clients.count() >= self.connections_max && !self.clients.make_room(self.connections_max) {
            turn_away(stream, &self.service.draw_id().to_string()).await;
            return;
        }
        let stream = Rc::new(stream);
        let client = self.clients.enter(Rc::clone(&stream));
        let (door, service) = (Rc::clone(door), Rc::clone(&self.service));
        spawn(connection::serve(stream, door, service, client, self.timeouts), |panic| {
            tracing::error!(%panic, "a task of the admin API has panicked; its connection was closed");
        });
    }
}

/// A fresh socket takes so few bytes at once, so this does not keep others waiting.
async fn turn_away<S: Stream>(stream: S, id: &str) {
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

/// A listener of either kind.
trait Entrance<P> {
    /// Accepts until closed.
    fn admit_all(&self, server: Rc<Server<P>>) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;
    fn close(&self);
}

impl<P: Plane> Entrance<P> for ringway_net::Listener {
    fn admit_all(&self, server: Rc<Server<P>>) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let door = Rc::new(Door::Tcp(self.local_addr()));
            loop {
                match self.accept().await {
                    Ok((stream, _)) => server.welcome(stream, &door).await,
                    Err(error) if goes_on(&error) => {}
                    Err(_) => return,
                }
            }
        })
    }

    fn close(&self) {
        self.stop();
    }
}

impl<P: Plane> Entrance<P> for ringway_net::UnixListener {
    fn admit_all(&self, server: Rc<Server<P>>) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let door = Rc::new(Door::Unix);
            loop {
                match self.accept().await {
                    Ok(stream) => server.welcome(stream, &door).await,
                    Err(error) if goes_on(&error) => {}
                    Err(_) => return,
                }
            }
        })
    }

    fn close(&self) {
        self.stop();
    }
}

/// Whether a listener is of use after an error: it is when only descriptors or memory are short, for `accept` has
/// paused already.
fn goes_on(error: &io::Error) -> bool {
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

/// A fourth more than there may be, while those that were told to end do so.
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
    /// When that began, counted in turns.
    since: u64,
    /// It was told to end.
    is_leaving: bool,
    stream: Rc<dyn Cancel>,
}

/// Ends what a connection waits for.
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

/// A connection's place among the others; left when dropped.
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

    /// Ends the connection that has waited for its client the longest, so that nobody keeps others out by being slow. Says no
    /// when all wait for us, or when so many are leaving that they would be too many.
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
        // One whose request is there already is still answered.
        stream.reads();
        if is_sending {
            stream.writes();
        }
        true
    }

    /// Ends idle connections now, the others after their answer, and all at `deadline`.
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
        // They end at once now, and the kernel gives their buffers back.
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
