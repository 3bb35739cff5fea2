//! A TLS connection as a [`Stream`].

use super::session::{Look, Received, Session};
use crate::duplex::break_after;
use crate::limits::{TLS_SCRATCH_BYTES, TLS_SEND_BYTES, TLS_TURN_BYTES};
use crate::reaper::{Direction, Turn};
use crate::stream::{Hangup, PeerState, Stream, WriteRate};
use crate::{TcpStream, yield_now};
use ringway_model::Tick;
use rustls::HandshakeKind;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// A TLS connection, on either side. An end without a close_notify is `UnexpectedEof` for [`Stream::read`], for anyone
/// on the way could have cut it (RFC 8446 §6.1).
pub struct TlsStream(Box<Inner>);

struct Inner {
    tcp: TcpStream,
    /// Never borrowed across a wait.
    session: RefCell<Session>,
    /// The last call to the socket filled what it was given, so that there may be more.
    is_more_there: Cell<bool>,
    /// A read is pending: a look must not take bytes from it.
    is_reading: Cell<bool>,
    /// Bytes moved since others had their turn.
    turn_bytes: Cell<usize>,
    aborted: Cell<bool>,
    alpn: Option<&'static [u8]>,
    resumed: bool,
    protocol: &'static str,
    cipher: &'static str,
}

impl TlsStream {
    pub(super) fn new(tcp: TcpStream, session: Session) -> Self {
        let tls = &session.tls;
        let alpn = match tls.alpn_protocol() {
            Some(b"h2") => Some(&b"h2"[..]),
            Some(b"http/1.1") => Some(&b"http/1.1"[..]),
            _ => None,
        };
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        let protocol = match tls.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let cipher =
            tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
        Self(Box::new(Inner {
            tcp,
            session: RefCell::new(session),
            is_more_there: Cell::new(true),
            is_reading: Cell::new(false),
            turn_bytes: Cell::new(0),
            aborted: Cell::new(false),
            alpn,
            resumed,
            protocol,
            cipher,
        }))
    }

    /// The protocol that was agreed on: `h2`, `http/1.1`, or none.
    pub fn alpn(&self) -> Option<&'static [u8]> {
        self.0.alpn
    }

    /// Whether the handshake was spared by a ticket.
    pub fn resumed(&self) -> bool {
        self.0.resumed
    }

    /// `TLSv1.3` or `TLSv1.2`.
    pub fn protocol(&self) -> &'static str {
        self.0.protocol
    }

    /// The cipher suite, by its IANA name.
    pub fn cipher(&self) -> &'static str {
        self.0.cipher
    }

    /// The certificate that the peer presented, DER, if it did. It was verified, unless the configuration says otherwise.
    pub fn peer_certificate_der(&self) -> Option<Vec<u8>> {
        let session = self.0.session.borrow();
        session.tls.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.to_vec())
    }
}

impl Inner {
    /// Lets others have their turn after so much work without a wait.
    async fn take_turns(&self, turn: &Turn<'_>) -> io::Result<()> {
        if self.turn_bytes.get() < TLS_TURN_BYTES {
            return Ok(());
        }
        self.turn_bytes.set(0);
        yield_now().await;
        // A cancellation between two waits counts as well.
        turn.verdict().map_or(Ok(()), Err)
    }

    fn moved(&self, bytes: usize) {
        // The call itself is work too.
        self.turn_bytes.set(self.turn_bytes.get() + bytes + 1024);
    }

    /// Receives without waiting.
    fn receive(&self, bytes_max: usize, buf: Option<&mut Vec<u8>>) -> io::Result<Received> {
        let mut session = self.session.borrow_mut();
        let received = session.receive(&self.tcp.duplex, bytes_max, buf)?;
        match received {
            Received::Bytes(count) => {
                self.is_more_there.set(count == bytes_max);
                // A record of a byte costs nearly as much as a thousand bytes do: a flood of them is no reason to wait longer.
                self.moved(count + session.take_records() * RECORD_BYTES);
                // An alert about what came, an answer that must not wait: as much of it as fits. The rest goes out with
                // what is written next.
                let _ = session.send(&self.tcp.duplex);
            }
            Received::Empty => self.is_more_there.set(false),
        }
        Ok(received)
    }

    /// Receives until `ready` has something, with the deadline of `turn`.
    async fn receive_until<T>(
        &self,
        turn: &Turn<'_>,
        mut receive: impl FnMut(&Self) -> io::Result<Received>,
        mut ready: impl FnMut(&mut Session) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        loop {
            if let Some(result) = ready(&mut self.session.borrow_mut())? {
                return Ok(result);
            }
            self.take_turns(turn).await?;
            if self.is_more_there.get() && receive(self)? != Received::Empty {
                continue;
            }
            {
                let mut session = self.session.borrow_mut();
                // Tickets that found no answer to go out with. What does not fit goes out with what is written next.
                let _ = session.send(&self.tcp.duplex);
                session.shrink();
            }
            let waited = self.tcp.duplex.wait(turn, Direction::Read).await;
            if let Err(error) = waited {
                // Data may have come between the deadline and now: they win.
                if error.kind() != ErrorKind::TimedOut || receive(self)? == Received::Empty {
                    return Err(error);
                }
                return ready(&mut self.session.borrow_mut())?.ok_or(error);
            }
            receive(self)?;
        }
    }

    /// Sends what rustls has queued.
    async fn flush(&self, turn: &Turn<'_>, pace: WriteRate) -> io::Result<()> {
        loop {
            let sent = self.session.borrow_mut().send(&self.tcp.duplex)?;
            self.moved(sent.count);
            if sent.all {
                return Ok(());
            }
            if sent.count > 0 {
                turn.arm(pace.next_deadline());
            }
            self.tcp.duplex.wait(turn, Direction::Write).await?;
        }
    }

    /// Writes all, and tells a connection that broke before it took anything from one that broke after. A part of a record counts
    /// like the whole: what stood before it in the queue may have been records of ours too.
    async fn write(&self, bytes: &[u8], pace: WriteRate) -> io::Result<()> {
        let before = self.session.borrow().taken;
        let written = self.write_records(bytes, pace).await;
        // A pending read sends, too, what rustls has queued: hence the session counts, not the loop below.
        written.map_err(|error| break_after(self.session.borrow().taken != before, error))
    }

    async fn write_records(&self, bytes: &[u8], pace: WriteRate) -> io::Result<()> {
        let turn = self.tcp.duplex.begin(Direction::Write)?;
        turn.arm(pace.next_deadline());
        let mut left = bytes;
        while !left.is_empty() {
            self.take_turns(&turn).await?;
            {
                let mut session = self.session.borrow_mut();
                if session.ended {
                    return Err(ErrorKind::BrokenPipe.into());
                }
                // Queued answers of rustls may leave less room than this; an empty queue never does.
                let count = session.encrypt(&left[..left.len().min(TLS_SEND_BYTES)])?;
                left = &left[count..];
            }
            self.flush(&turn, pace).await?;
            if !left.is_empty() {
                turn.arm(pace.next_deadline());
            }
        }
        Ok(())
    }
}

impl Stream for TlsStream {
    async fn read(&self, mut buf: Vec<u8>, deadline: Tick) -> (io::Result<usize>, Vec<u8>) {
        if buf.len() == buf.capacity() {
            return (Err(ErrorKind::InvalidInput.into()), buf);
        }
        let inner = &*self.0;
        let turn = match inner.tcp.duplex.begin(Direction::Read) {
            Ok(turn) => turn,
            Err(error) => return (Err(error), buf),
        };
        turn.arm(deadline);
        let _reading = Reading::begin(&inner.is_reading);
        let before = buf.len();
        // Both closures fill it, one after the other.
        let shared = RefCell::new(buf);
        let read = inner
            .receive_until(
                &turn,
                |inner| {
                    let mut buf = shared.borrow_mut();
                    // No more ciphertext than fits as plaintext, or it would have to be kept elsewhere.
                    let bytes_max = (buf.capacity() - buf.len()).clamp(READ_BYTES_MIN, TLS_SCRATCH_BYTES);
                    inner.receive(bytes_max, Some(&mut buf))
                },
                |session| {
                    let mut buf = shared.borrow_mut();
                    match buf.len() - before {
                        0 => session.take(&mut buf),
                        count => Ok(Some(count)),
                    }
                },
            )
            .await;
        buf = shared.into_inner();
        (read, buf)
    }

    async fn write_all_range(
        &self,
        buf: Vec<u8>,
        range: Range<usize>,
        pace: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        let Some(bytes) = buf.get(range) else { return (Err(ErrorKind::InvalidInput.into()), buf) };
        let written = self.0.write(bytes, pace).await;
        (written, buf)
    }

    async fn discard(&self, deadline: Tick) -> io::Result<usize> {
        if self.0.session.borrow().is_broken() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        // As it comes: what is not wanted is not decrypted.
        self.0.tcp.duplex.discard(deadline).await
    }

    async fn readable(&self, deadline: Tick) -> io::Result<()> {
        let inner = &*self.0;
        let turn = inner.tcp.duplex.begin(Direction::Read)?;
        turn.arm(deadline);
        let _reading = Reading::begin(&inner.is_reading);
        inner
            .receive_until(
                &turn,
                |inner| inner.receive(READ_BYTES_MIN, None),
                |session| Ok((session.look() != Look::Nothing).then_some(())),
            )
            .await
    }

    fn hangup(&self) -> Hangup {
        self.0.tcp.hangup()
    }

    fn peek_state(&self) -> PeerState {
        let inner = &*self.0;
        loop {
            let look = inner.session.borrow_mut().look();
            match look {
                Look::Data => return PeerState::HasData,
                Look::End => return PeerState::Closed,
                // The pending read will see what there is.
                Look::Nothing if inner.is_reading.get() => return inner.tcp.peek_state(),
                Look::Nothing => {}
            }
            match inner.receive(READ_BYTES_MIN, None) {
                Ok(Received::Bytes(_)) => {}
                // A part of a record, of data or not: the peer has spoken.
                Ok(Received::Empty) if inner.session.borrow().is_within_record() => {
                    return PeerState::HasData;
                }
                Ok(Received::Empty) => return PeerState::Idle,
                Err(_) => return PeerState::Closed,
            }
        }
    }

    fn set_user_timeout(&self, timeout: Duration) {
        self.0.tcp.set_user_timeout(timeout);
    }

    fn cancel_reads(&self) {
        self.0.tcp.cancel_reads();
    }

    fn resume_reads(&self) {
        self.0.tcp.resume_reads();
    }

    fn cancel_writes(&self) {
        self.0.tcp.cancel_writes();
    }

    fn resume_writes(&self) {
        self.0.tcp.resume_writes();
    }

    async fn shutdown_write(&self, deadline: Tick) -> io::Result<()> {
        let inner = &*self.0;
        let turn = inner.tcp.duplex.begin(Direction::Write)?;
        turn.arm(deadline);
        {
            let mut session = inner.session.borrow_mut();
            if !std::mem::replace(&mut session.ended, true) {
                session.tls.send_close_notify();
            }
        }
        inner.flush(&turn, WriteRate::until(deadline)).await?;
        inner.tcp.duplex.shutdown_write()
    }

    fn abort(&self) {
        self.0.aborted.set(true);
        self.0.tcp.abort();
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.tcp.peer_addr()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.0.tcp.local_addr()
    }
}

impl Drop for Inner {
    /// Says goodbye, unless something was cut off: what the peer has is then all that we had to say.
    fn drop(&mut self) {
        let session = self.session.get_mut();
        if !self.aborted.get() && !session.ended && !session.is_broken() && !session.tls.wants_write() {
            session.tls.send_close_notify();
            let _ = session.send(&self.tcp.duplex);
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("tcp", &self.0.tcp).field("protocol", &self.0.protocol).finish()
    }
}

/// The mark of a pending read, for as long as it is one.
struct Reading<'a>(&'a Cell<bool>);

impl<'a> Reading<'a> {
    fn begin(mark: &'a Cell<bool>) -> Self {
        mark.set(true);
        Self(mark)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// What a record costs besides its bytes, in bytes: keys, a tag, memory.
const RECORD_BYTES: usize = 1024;
/// What one call to the socket asks for at least: less would cost a call for every few bytes, and what does not fit into
/// the caller's buffer is kept as plaintext (rustls takes one record more than 16 KiB).
const READ_BYTES_MIN: usize = 16 * 1024;
