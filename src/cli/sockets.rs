//! Listening sockets that a service manager handed over (sd_listen_fds(3)), told apart by `FileDescriptorName=`.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// What was handed over.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Public listeners: those named `http`, and TCP sockets without a name that says anything.
    pub(crate) http: Vec<TcpListener>,
    /// TCP listeners of the admin API: those named `api`.
    pub(crate) api: Vec<TcpListener>,
    /// Unix sockets, which can only be the admin API's.
    pub(crate) api_unix: Vec<UnixListener>,
}

/// A socket that cannot be used; which one, from 0.
#[derive(Debug)]
pub(crate) struct SocketError {
    index: usize,
    name: String,
    error: io::Error,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Http,
    Api,
}

/// Takes all of them. To be called once, first thing: it takes the variables out of the environment, and no other thread
/// may read that meanwhile.
pub(crate) fn take() -> Result<Inherited, SocketError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed_over = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for index in 0..handed_over.len() {
        let name = names.next().unwrap_or_default();
        // What is no unix socket is tried as a TCP one, whose error is the one worth telling.
        if let Ok(Some(socket)) = handed_over.take_unix_listener(index) {
            inherited.api_unix.push(socket);
            continue;
        }
        match handed_over.take_tcp_listener(index) {
            Ok(Some(socket)) => match purpose(name) {
                Purpose::Http => inherited.http.push(socket),
                Purpose::Api => inherited.api.push(socket),
            },
            Ok(None) => {}
            Err(error) => return Err(SocketError { index, name: name.to_owned(), error }),
        }
    }
    Ok(inherited)
}

/// systemd's own names for sockets without one are `unknown`, `stored` and the unit's.
fn purpose(name: &str) -> Purpose {
    if name == "api" || name.starts_with("api-") { Purpose::Api } else { Purpose::Http }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "socket {} ({:?}) that the service manager handed over cannot be used; it must be a TCP or unix stream listener",
            self.index, self.name
        )
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_api_makes_a_socket_the_apis() {
        for name in ["http", "", "unknown", "ringway.socket", "apis"] {
            assert_eq!(purpose(name), Purpose::Http, "{name}");
        }
        for name in ["api", "api-v6"] {
            assert_eq!(purpose(name), Purpose::Api, "{name}");
        }
    }

    #[test]
    fn without_a_service_manager_there_are_none() {
        let inherited = take().expect("nothing is handed over to a test");
        assert!(inherited.http.is_empty() && inherited.api.is_empty() && inherited.api_unix.is_empty());
    }
}
