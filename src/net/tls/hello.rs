//! Handshakes: reading what a client wants before anything costly is done for it, finishing, refusing, connecting.

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

/// What a client said first: whom it wants to speak to, and how. Nothing costly has been done for it yet.
pub struct Hello {
    stream: TcpStream,
    accepted: Box<Accepted>,
    /// What came behind it.
    rest: Vec<u8>,
    server_name: Option<Box<str>>,
}

/// How a client is told that it is not served (RFC 8446 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// There is nobody of that name here.
    UnrecognizedName,
    /// Not now: our own fault.
    InternalError,
    /// Not for this client.
    AccessDenied,
}

impl Alert {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::AccessDenied => 49,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        }
    }
}

/// Reads a client's first message, and nothing else.
///
/// # Errors
/// [`TlsError::NotTls`] with the stream, untouched, when the first byte is none of TLS. When the message is broken the
/// client has been told.
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
                // RFC 6066 §3: without the dot that makes a name absolute; some clients send what was typed.
                let server_name = hello
                    .server_name()
                    .map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into());
                return Ok(Hello { stream, accepted, rest, server_name });
            }
            Step::Failed(error) => return Err(error),
            Step::Refused(error, alert) => {
                part(stream, &alert, deadline).await;
                return Err(error.into());
            }
            Step::More if bytes == TLS_HELLO_BYTES_MAX => return Err(TlsError::TooLarge),
            Step::More => stream.readable(deadline).await?,
        }
    }
}

/// Makes a TLS connection of a plain one, as its client. `name` is asked for and verified as `config` says.
///
/// # Errors
/// See [`TlsError`]; [`TlsError::Tls`] when the server is not the one that was meant.
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
    /// The name that the client asks for (SNI), in lower case and without a dot at its end.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The connection that it came on, for its addresses.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Finishes the handshake with the certificate in `config`. This is what costs: a signature and a key exchange.
    ///
    /// # Errors
    /// See [`TlsError`]; the client has been told where the protocol has a word for it.
    pub async fn finish(self, config: Arc<ServerConfig>, deadline: Tick) -> Result<TlsStream, TlsError> {
        let Self { stream, accepted, rest, .. } = self;
        match accepted.into_connection(config) {
            Ok(tls) => handshake(stream, Session::new(Connection::Server(tls), rest), deadline).await,
            Err((error, mut alert)) => {
                part(stream, &text_of(&mut alert), deadline).await;
                Err(error.into())
            }
        }
    }

    /// Tells the client why not, and closes.
    pub async fn refuse(self, alert: Alert, deadline: Tick) {
        part(self.stream, &[ALERT_RECORD, 3, 3, 0, 2, FATAL, alert.code()], deadline).await;
    }
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello").field("stream", &self.stream).field("server_name", &self.server_name).finish()
    }
}

/// What some bytes of a first message made of it.
enum Step {
    /// It is whole; what came behind it.
    Accepted(Box<Accepted>, Vec<u8>),
    /// There is more to come.
    More,
    /// It is broken; what the client is told.
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
            Err((error, mut alert)) => return Step::Refused(error, text_of(&mut alert)),
        }
    }
    Step::More
}

fn text_of(alert: &mut AcceptedAlert) -> Vec<u8> {
    let mut text = Vec::new();
    // A Vec takes everything.
    let _ = alert.write_all(&mut text);
    text
}

/// Exchanges messages until both sides are sure of each other. The session bounds how much it hears meanwhile.
async fn handshake(stream: TcpStream, mut session: Session, deadline: Tick) -> Result<TlsStream, TlsError> {
    // What came with the first message.
    session.look();
    loop {
        if session.is_broken() {
            let error = session.rustls_fault().map_or(TlsError::TooLarge, TlsError::Tls);
            // The alert, as far as it fits: nobody waits for it.
            let _ = session.send(&stream.duplex);
            part(stream, &[], deadline).await;
            return Err(error);
        }
        // What a server has left to say by then are tickets: they go out with its first answer, or before it waits.
        let is_served = !session.tls.is_handshaking() && is_server_of_tls13(&session.tls);
        let mut has_spoken = false;
        while !is_served && session.tls.wants_write() {
            has_spoken = true;
            if !session.send(&stream.duplex)?.all {
                stream.writable(deadline).await?;
            }
        }
        if !session.tls.is_handshaking() {
            return Ok(TlsStream::new(stream, session));
        }
        if has_spoken {
            // The peer has to hear it first.
            stream.readable(deadline).await?;
        }
        match session.receive(&stream.duplex, HANDSHAKE_READ_BYTES, None)? {
            Received::Bytes(0) => return Err(TlsError::Closed),
            Received::Bytes(_) => {}
            Received::Empty => stream.readable(deadline).await?,
        }
    }
}

/// In TLS 1.3 the last word of a handshake is the client's (RFC 8446 §2).
fn is_server_of_tls13(tls: &Connection) -> bool {
    matches!(tls, Connection::Server(_)) && tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
}

/// Says a last word and closes, so that the peer gets it and not a reset.
async fn part(stream: TcpStream, word: &[u8], deadline: Tick) {
    // It fits: nothing else waits to be sent.
    let sent = word.is_empty()
        || SockRef::from(&stream.duplex)
            .send_with_flags(word, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .is_ok_and(|count| count == word.len());
    if sent {
        linger(&stream, LingerLimits::BRIEF.and_until(deadline, clock::now()), &SystemClock).await;
    }
}

/// Looks at what comes first without taking it; `None` at the end of the stream.
fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [MaybeUninit::new(0)];
    let count = stream.duplex.socket().recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT)?;
    // SAFETY: it was initialised above.
    Ok((count > 0).then(|| unsafe { byte[0].assume_init() }))
}

/// RFC 8446 §5.1, the types of records.
const HANDSHAKE_RECORD: u8 = 22;
const ALERT_RECORD: u8 = 21;
/// RFC 8446 §6, the level of an alert that ends the connection.
const FATAL: u8 = 2;
/// One receive during a handshake: more than a flight has.
const HANDSHAKE_READ_BYTES: usize = 16 * 1024;
