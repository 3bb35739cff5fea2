//! TLS connection as a [`Stream`].

use super::session::{Look, Received, Session};
use crate::duplex::break_after;
use crate::limits::{TLS_SCRATCH_BYTES, TLS_SEND_BYTES, TLS_TURN_BYTES};
use crate::reaper::{Direction, Operation};
use crate::stream::{Hangup, PeerState, Stream, WriteRate, slices};
use crate::{TcpStream, yield_now};
use ringway_model::Tick;
use rustls::HandshakeKind;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// TLS connection, on either side. An end without close_notify is `UnexpectedEof` for [`Stream::read`]: an
/// attacker on the path may have truncated it (RFC 8446 §6.1).
pub struct TlsStream(Box<Inner>);

struct Inner {
    tcp: TcpStream,
    /// Never borrowed across a wait.
    session: RefCell<Session>,
    /// The last receive filled its buffer: there may be more bytes.
    is_more_there: Cell<bool>,
    /// A read is pending: a peek must not take its bytes.
    is_reading: Cell<bool>,
    /// Bytes processed since the last yield.
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

    /// Protocol selected by ALPN: `h2`, `http/1.1`, or none.
    pub fn alpn(&self) -> Option<&'static [u8]> {
        self.0.alpn
    }

    /// Whether the session was resumed by a ticket.
    pub fn resumed(&self) -> bool {
        self.0.resumed
    }

    /// `TLSv1.3` or `TLSv1.2`.
    pub fn protocol(&self) -> &'static str {
        self.0.protocol
    }

    /// IANA name of the cipher suite.
    pub fn cipher(&self) -> &'static str {
        self.0.cipher
    }

    /// Returns the certificate of the peer (DER). It was verified, unless the configuration disables that.
    pub fn peer_certificate_der(&self) -> Option<Vec<u8>> {
        let session = self.0.session.borrow();
        session.tls.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.to_vec())
    }
}

impl Inner {
    /// Yields after [`TLS_TURN_BYTES`] without a wait.
    async fn yield_if_due(&self, operation: &Operation<'_>) -> io::Result<()> {
        if self.turn_bytes.get() < TLS_TURN_BYTES {
            return Ok(());
        }
        self.turn_bytes.set(0);
        yield_now().await;
        // Checks for a cancellation between two waits.
        operation.interruption().map_or(Ok(()), Err)
    }

    fn count_work(&self, bytes: usize) {
        // With the cost of the call itself.
        self.turn_bytes.set(self.turn_bytes.get() + bytes + 1024);
    }

    /// Receives without waiting.
    fn receive(&self, bytes_max: usize, buf: Option<&mut Vec<u8>>) -> io::Result<Received> {
        let mut session = self.session.borrow_mut();
        let received = session.receive(&self.tcp.duplex, bytes_max, buf)?;
        match received {
            Received::Bytes(count) => {
                self.is_more_there.set(count == bytes_max);
                // A record of one byte costs nearly as much as a thousand bytes.
                self.count_work(count + session.take_records() * RECORD_BYTES);
                // Alerts and responses of the protocol, as far as they fit. The rest is sent with the next
                // write.
                let _ = session.send(&self.tcp.duplex);
            }
            Received::Empty => self.is_more_there.set(false),
        }
        Ok(received)
    }

    /// Receives until `ready` has a result, with the deadline of `operation`.
    async fn receive_until<T>(
        &self,
        operation: &Operation<'_>,
        mut receive: impl FnMut(&Self) -> io::Result<Received>,
        mut ready: impl FnMut(&mut Session) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        loop {
            if let Some(result) = ready(&mut self.session.borrow_mut())? {
                return Ok(result);
            }
            self.yield_if_due(operation).await?;
            if self.is_more_there.get() && receive(self)? != Received::Empty {
                continue;
            }
            {
                let mut session = self.session.borrow_mut();
                // Tickets that no response was sent with. The rest is sent with the next write.
                let _ = session.send(&self.tcp.duplex);
                session.shrink();
            }
            let waited = self.tcp.duplex.wait(operation, Direction::Read).await;
            if let Err(error) = waited {
                // Data that came between the deadline and now are returned.
                if error.kind() != ErrorKind::TimedOut || receive(self)? == Received::Empty {
                    return Err(error);
                }
                return ready(&mut self.session.borrow_mut())?.ok_or(error);
            }
            receive(self)?;
        }
    }

    /// Sends the records that rustls has queued.
    async fn flush(&self, operation: &Operation<'_>, rate: WriteRate) -> io::Result<()> {
        loop {
            let sent = self.session.borrow_mut().send(&self.tcp.duplex)?;
            self.count_work(sent.count);
            if sent.all {
                return Ok(());
            }
            if sent.count > 0 {
                operation.arm(rate.next_deadline());
            }
            self.tcp.duplex.wait(operation, Direction::Write).await?;
        }
    }

    /// Writes all bytes. The error distinguishes a connection that broke before it took any byte from one
    /// that broke after; a part of a record counts, since earlier records in the queue may have held data
    /// too.
    async fn write(&self, bytes: &[u8], rate: WriteRate) -> io::Result<()> {
        let before = self.session.borrow().sent_bytes;
        let written = self.write_records(bytes, rate).await;
        // A pending read also sends queued records: hence the session counts, not the loop below.
        written.map_err(|error| break_after(self.session.borrow().sent_bytes != before, error))
    }

    async fn write_records(&self, bytes: &[u8], rate: WriteRate) -> io::Result<()> {
        let operation = self.tcp.duplex.begin(Direction::Write)?;
        operation.arm(rate.next_deadline());
        let mut left = bytes;
        while !left.is_empty() {
            self.yield_if_due(&operation).await?;
            {
                let mut session = self.session.borrow_mut();
                if session.ended {
                    return Err(ErrorKind::BrokenPipe.into());
                }
                // Queued messages of rustls may leave less room than this; an empty queue never does.
                let count = session.encrypt(&left[..left.len().min(TLS_SEND_BYTES)])?;
                left = &left[count..];
            }
            self.flush(&operation, rate).await?;
            if !left.is_empty() {
                operation.arm(rate.next_deadline());
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
        let operation = match inner.tcp.duplex.begin(Direction::Read) {
            Ok(operation) => operation,
            Err(error) => return (Err(error), buf),
        };
        operation.arm(deadline);
        let _reading = Reading::begin(&inner.is_reading);
        let before = buf.len();
        // Filled by both closures, one after the other.
        let shared = RefCell::new(buf);
        let read = inner
            .receive_until(
                &operation,
                |inner| {
                    let mut buf = shared.borrow_mut();
                    // No more ciphertext than fits as plaintext: the rest would have to be kept.
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
        rate: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        let Some(bytes) = buf.get(range) else { return (Err(ErrorKind::InvalidInput.into()), buf) };
        let written = self.0.write(bytes, rate).await;
        (written, buf)
    }

    async fn write_shared<P: AsRef<[u8]>>(
        &self,
        head: Vec<u8>,
        parts: &[P],
        range: Range<usize>,
        rate: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        let Some(mut body) = slices(parts, range) else { return (Err(ErrorKind::InvalidInput.into()), head) };
        let mut buf = head;
        // One record, and one packet, for a head with a short body.
        let first = body.next().unwrap_or_default();
        let (joined, rest) = first.split_at(first.len().min(TLS_SEND_BYTES.saturating_sub(buf.len())));
        buf.extend_from_slice(joined);
        let written = async {
            let mut has_written = false;
            for slice in [&*buf, rest].into_iter().chain(body).filter(|slice| !slice.is_empty()) {
                let written = self.0.write(slice, rate).await;
                written.map_err(|error| break_after(has_written, error))?;
                has_written = true;
            }
            Ok(())
        };
        (written.await, buf)
    }

    async fn discard(&self, deadline: Tick) -> io::Result<usize> {
        if self.0.session.borrow().is_broken() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        // Discarded bytes are not decrypted.
        self.0.tcp.duplex.discard(deadline).await
    }

    async fn readable(&self, deadline: Tick) -> io::Result<()> {
        let inner = &*self.0;
        let operation = inner.tcp.duplex.begin(Direction::Read)?;
        operation.arm(deadline);
        let _reading = Reading::begin(&inner.is_reading);
        inner
            .receive_until(
                &operation,
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
                // The pending read gets the bytes.
                Look::Nothing if inner.is_reading.get() => return inner.tcp.peek_state(),
                Look::Nothing => {}
            }
            match inner.receive(READ_BYTES_MIN, None) {
                Ok(Received::Bytes(_)) => {}
                // A part of a record, of data or not: the peer has sent something.
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
        let operation = inner.tcp.duplex.begin(Direction::Write)?;
        operation.arm(deadline);
        {
            let mut session = inner.session.borrow_mut();
            if !std::mem::replace(&mut session.ended, true) {
                session.tls.send_close_notify();
            }
        }
        inner.flush(&operation, WriteRate::until(deadline)).await?;
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
    /// Sends close_notify, unless output was cut off: it would make a truncated message look complete.
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

/// Mark of a pending read, while it lives.
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

/// Cost of a record besides its bytes, in bytes: keys, a tag, memory.
const RECORD_BYTES: usize = 1024;
/// Minimum size of one receive: less would cost a call for every few bytes. Plaintext that does not fit into
/// the caller's buffer is kept (rustls takes one record more than 16 KiB).
const READ_BYTES_MIN: usize = 16 * 1024;
