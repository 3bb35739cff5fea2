//! Listening sockets from a service manager (sd_listen_fds(3)), distinguished by `FileDescriptorName=`.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// Sockets that the service manager passed.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Public listeners without TLS: those named `http`, and unnamed TCP sockets.
    pub(crate) http: Vec<TcpListener>,
    /// Public listeners with TLS: those named `https`.
    pub(crate) https: Vec<TcpListener>,
    /// TCP listeners of the admin API: those named `api`.
    pub(crate) api: Vec<TcpListener>,
    /// Unix sockets, always of the admin API.
    pub(crate) api_unix: Vec<UnixListener>,
}

/// Unusable socket, with its position from 0.
#[derive(Debug)]
pub(crate) struct SocketError {
    index: usize,
    name: String,
    error: Option<io::Error>,
}

/// Purpose of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Http,
    Https,
    Api,
}

/// Takes all passed sockets. Called once and first: it removes the variables from the environment, which no
/// other thread may read meanwhile.
pub(crate) fn take() -> Result<Inherited, SocketError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed_over = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for index in 0..handed_over.len() {
        let name = names.next().unwrap_or_default();
        let wrong = |error| SocketError { index, name: name.to_owned(), error };
        // A socket without a known purpose is refused: one that is guessed to be public might not be.
        let Some(purpose) = purpose(name) else { return Err(wrong(None)) };
        // Tried as a unix socket first: the error of a TCP socket is the useful one.
        if let Ok(Some(socket)) = handed_over.take_unix_listener(index) {
            // Socket of the API; its name does not matter.
            inherited.api_unix.push(socket);
            continue;
        }
        match handed_over.take_tcp_listener(index) {
            Ok(Some(socket)) => match purpose {
                Purpose::Http => inherited.http.push(socket),
                Purpose::Https => inherited.https.push(socket),
                Purpose::Api => inherited.api.push(socket),
            },
            Ok(None) => {}
            Err(error) => return Err(wrong(Some(error))),
        }
    }
    Ok(inherited)
}

/// Parses a name: `http`, `https` or `api`, also with a suffix as in `api-v6`. Without `FileDescriptorName=`
/// systemd sends `unknown` or the name of the socket unit, such as `ringway.socket`; some launchers send
/// none.
fn purpose(name: &str) -> Option<Purpose> {
    let name = name.strip_suffix(".socket").unwrap_or(name);
    match name.split_once('-').map_or(name, |(word, _)| word) {
        "" | "unknown" | "ringway" | "http" => Some(Purpose::Http),
        "https" => Some(Purpose::Https),
        "api" => Some(Purpose::Api),
        _ => None,
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.error {
            Some(_) => "cannot be used; it must be a TCP or unix stream listener",
            None => "has no known purpose; FileDescriptorName= must be http, https or api",
        };
        let (index, name) = (self.index, &self.name);
        write!(f, "socket {index} ({name:?}) that the service manager passed {problem}")
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.as_ref().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_purpose_of_a_socket_is_in_its_name() {
        for name in ["http", "http-v6", "", "unknown", "ringway.socket", "http.socket"] {
            assert_eq!(purpose(name), Some(Purpose::Http), "{name}");
        }
        for name in ["https", "https-v6", "https.socket"] {
            assert_eq!(purpose(name), Some(Purpose::Https), "{name}");
        }
        for name in ["api", "api-v6"] {
            assert_eq!(purpose(name), Some(Purpose::Api), "{name}");
        }
        for name in ["apis", "admin", "stored", "HTTP", "metrics.socket"] {
            assert_eq!(purpose(name), None, "{name}");
        }
    }

    #[test]
    fn without_a_service_manager_there_are_none() {
        let inherited = take().expect("a test gets no sockets");
        assert!(
            inherited.http.is_empty()
                && inherited.https.is_empty()
                && inherited.api.is_empty()
                && inherited.api_unix.is_empty()
        );
    }
}
