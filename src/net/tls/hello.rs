//! Handshakes: reading a ClientHello before any expensive step, finishing, refusing, connecting.

use super::session::{Received, Session, with_scratch};
use super::{TlsError, TlsStream};
use crate::limits::TLS_HELLO_BYTES_MAX;
use crate::stream::Stream;
use crate::{LingerLimits, SystemClock, TcpStream, clock, linger};
use ringway_model::Tick;
use rustls::pki_types::ServerName;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{ClientConfig, ClientConnection, Connection, ProtocolVersion, ServerConfig};
use socket2::SockRef;
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// ClientHello of a connection. No expensive step was taken yet.
pub struct Hello {
    stream: TcpStream,
    accepted: Box<Accepted>,
    /// Bytes after it.
    rest: Vec<u8>,
    server_name: Option<Box<str>>,
}

/// Alert to a client that is refused (RFC 8446 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// No certificate for the server name.
    UnrecognizedName,
    /// An error of the server.
    InternalError,
    /// The client is not allowed.
    AccessDenied,
}

impl Alert {
    /// Number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::AccessDenied => 49,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        }
    }
}

/// Reads the ClientHello, and no further message.
///
/// # Errors
/// [`TlsError::NotTls`] with the unread stream when the first byte is not that of TLS. A malformed message is
/// answered with an alert.
pub async fn read_hello(stream: TcpStream, deadline: Tick) -> Result<Hello, TlsError> {
    loop {
        match first_byte(&stream) {
            Ok(None) => return Err(TlsError::Closed),
            Ok(Some(HANDSHAKE_RECORD)) => break,
            Ok(Some(_)) => return Err(TlsError::NotTls(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.readable(deadline).await?,
            Err(error) => return Err(error.into()),
        }
    }
    let mut acceptor = Acceptor::default();
    let mut bytes = 0;
    loop {
        let step = with_scratch(|scratch| {
            let count = match stream.duplex.receive_now(scratch, TLS_HELLO_BYTES_MAX - bytes) {
                Ok(0) => return Step::Failed(TlsError::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::More,
                Err(error) => return Step::Failed(error.into()),
            };
            bytes += count;
            accept(&mut acceptor, scratch)
        });
        match step {
            Step::Accepted(accepted, rest) => {
                let hello = accepted.client_hello();
                // RFC 6066 §3: without a trailing dot; some clients send the name as it was typed.
                let server_name = hello
                    .server_name()
                    .map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into());
                return Ok(Hello { stream, accepted, rest, server_name });
            }
            Step::Failed(error) => return Err(error),
            Step::Refused(error, alert) => {
                close_with_alert(stream, &alert, deadline).await;
                return Err(error.into());
            }
            Step::More if bytes == TLS_HELLO_BYTES_MAX => return Err(TlsError::TooLarge),
            Step::More => stream.readable(deadline).await?,
        }
    }
}

/// Performs a handshake as the client. `name` is the SNI, and is verified as `config` demands.
///
/// # Errors
/// See [`TlsError`]; [`TlsError::Tls`] when the server's certificate is not accepted.
pub async fn connect_tls(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    deadline: Tick,
) -> Result<TlsStream, TlsError> {
    let tls = ClientConnection::new(config, name)?;
    handshake(stream, Session::new(Connection::Client(tls), Vec::new()), deadline).await
}

impl Hello {
    /// SNI, in lower case and without a trailing dot.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Connection of the client, for its addresses.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Finishes the handshake with the certificate in `config`: the expensive part, with a signature and a
    /// key exchange.
    ///
    /// # Errors
    /// See [`TlsError`]; the client gets an alert where the protocol has one.
    pub async fn finish(self, config: Arc<ServerConfig>, deadline: Tick) -> Result<TlsStream, TlsError> {
        let Self { stream, accepted, rest, .. } = self;
        match accepted.into_connection(config) {
            Ok(tls) => handshake(stream, Session::new(Connection::Server(tls), rest), deadline).await,
            Err((error, mut alert)) => {
                close_with_alert(stream, &alert_bytes(&mut alert), deadline).await;
                Err(error.into())
            }
        }
    }

    /// Sends an alert, and closes.
    pub async fn refuse(self, alert: Alert, deadline: Tick) {
        close_with_alert(self.stream, &[ALERT_RECORD, 3, 3, 0, 2, FATAL, alert.code()], deadline).await;
    }
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello").field("stream", &self.stream).field("server_name", &self.server_name).finish()
    }
}

/// Step of reading a ClientHello.
enum Step {
    /// It is complete; the bytes after it.
    Accepted(Box<Accepted>, Vec<u8>),
    /// It is incomplete.
    More,
    /// It is malformed; the alert.
    Refused(rustls::Error, Vec<u8>),
    Failed(TlsError),
}

fn accept(acceptor: &mut Acceptor, bytes: &[u8]) -> Step {
    let mut left = bytes;
    while !left.is_empty() {
        match acceptor.read_tls(&mut left) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Step::Failed(TlsError::TooLarge),
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Step::Accepted(Box::new(accepted), left.to_vec()),
            Err((error, mut alert)) => return Step::Refused(error, alert_bytes(&mut alert)),
        }
    }
    Step::More
}

fn alert_bytes(alert: &mut AcceptedAlert) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = alert.write_all(&mut text);
    text
}

/// Exchanges messages until the handshake is done. The session bounds the bytes that it reads meanwhile.
async fn handshake(stream: TcpStream, mut session: Session, deadline: Tick) -> Result<TlsStream, TlsError> {
    // Bytes that came with the first message.
    session.look();
    loop {
        if session.is_broken() {
            let error = session.rustls_fault().map_or(TlsError::TooLarge, TlsError::Tls);
            // The alert, as far as it fits into the socket's buffer.
            let _ = session.send(&stream.duplex);
            close_with_alert(stream, &[], deadline).await;
            return Err(error);
        }
        // The server's remaining messages are tickets: they are sent with its first response, or before it
        // waits.
        let is_done = !session.tls.is_handshaking() && is_server_of_tls13(&session.tls);
        let mut has_sent = false;
        while !is_done && session.tls.wants_write() {
            has_sent = true;
            if !session.send(&stream.duplex)?.all {
                stream.writable(deadline).await?;
            }
        }
        if !session.tls.is_handshaking() {
            return Ok(TlsStream::new(stream, session));
        }
        if has_sent {
            // The peer has to receive it first.
            stream.readable(deadline).await?;
        }
        match session.receive(&stream.duplex, HANDSHAKE_READ_BYTES, None)? {
            Received::Bytes(0) => return Err(TlsError::Closed),
            Received::Bytes(_) => {}
            Received::Empty => stream.readable(deadline).await?,
        }
    }
}

/// Whether the last message of the handshake is the client's, as in TLS 1.3 (RFC 8446 §2).
fn is_server_of_tls13(tls: &Connection) -> bool {
    matches!(tls, Connection::Server(_)) && tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
}

/// Sends an alert and closes with a lingering close, so that the peer gets the alert and not a reset.
async fn close_with_alert(stream: TcpStream, alert: &[u8], deadline: Tick) {
    // It fits: nothing else is in the socket's buffer.
    let sent = alert.is_empty()
        || SockRef::from(&stream.duplex)
            .send_with_flags(alert, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .is_ok_and(|count| count == alert.len());
    if sent {
        linger(&stream, LingerLimits::BRIEF.and_until(deadline, clock::now()), &SystemClock).await;
    }
}

/// Peeks at the first byte; `None` at the end of the stream.
fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [MaybeUninit::new(0)];
    let count = stream.duplex.socket().recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT)?;
    // SAFETY: it is initialised above.
    Ok((count > 0).then(|| unsafe { byte[0].assume_init() }))
}

/// Types of records (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;
const ALERT_RECORD: u8 = 21;
/// Level of alerts that end the connection (RFC 8446 §6).
const FATAL: u8 = 2;
/// One receive during a handshake: more than a flight.
const HANDSHAKE_READ_BYTES: usize = 16 * 1024;
