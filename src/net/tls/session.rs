//! Synchronous half of TLS: a rustls connection, and calls to the socket that never wait.

use crate::duplex::Duplex;
use crate::limits::{TLS_FRUITLESS_BYTES_MAX, TLS_SCRATCH_BYTES, TLS_SEND_BYTES};
use rustls::Connection;
use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};

pub(super) type Socket = Duplex<monoio::net::TcpStream>;

/// rustls connection, and received bytes that it has not processed yet.
pub(super) struct Session {
    pub(super) tls: Connection,
    /// Received bytes that were not fed, because rustls is full of plaintext. Rare; empty for a waiting
    /// connection.
    unfed: Vec<u8>,
    /// Bytes received since the last one of plaintext.
    fruitless: usize,
    boundary: Boundary,
    /// Records of the peer since the last call of `take_records`.
    records: usize,
    /// The peer violated the protocol; rustls keeps the error.
    broken: bool,
    /// Bytes were fed since its buffer was shrunk.
    can_shrink: bool,
    /// close_notify was sent.
    pub(super) ended: bool,
    /// Bytes that the socket has taken, of any record.
    pub(super) sent_bytes: u64,
}

/// State of a session, without receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There is plaintext.
    Data,
    /// The peer closed its side, with or without close_notify, or violated the protocol.
    End,
    /// More bytes are needed.
    Nothing,
}

/// Result of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes; more may be there.
    Bytes(usize),
    /// None are there now.
    Empty,
}

impl Session {
    /// `rest` was received before, and is processed first.
    pub(super) fn new(tls: Connection, rest: Vec<u8>) -> Self {
        Self {
            tls,
            unfed: rest,
            fruitless: 0,
            boundary: Boundary::default(),
            records: 0,
            broken: false,
            can_shrink: true,
            ended: false,
            sent_bytes: 0,
        }
    }

    /// Receives bytes that are there, at most `bytes_max`, and processes them. Plaintext is moved to `buf` as
    /// far as it has room; the rest stays in the session. The end of the connection counts as bytes:
    /// [`look`](Self::look) shows it.
    ///
    /// # Errors
    /// The socket's. Errors of the bytes are reported by [`look`](Self::look) and [`take`](Self::take).
    pub(super) fn receive(
        &mut self,
        socket: &Socket,
        bytes_max: usize,
        buf: Option<&mut Vec<u8>>,
    ) -> io::Result<Received> {
        with_scratch(|scratch| match socket.receive_now(scratch, bytes_max) {
            Ok(0) => {
                // Passes the end of the stream to rustls.
                let _ = self.tls.read_tls(&mut io::empty());
                Ok(Received::Bytes(0))
            }
            Ok(count) => {
                self.feed(scratch, buf);
                Ok(Received::Bytes(count))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Empty),
            Err(error) => Err(error),
        })
    }

    /// Processes received bytes, until they are used up or rustls is full.
    fn feed(&mut self, bytes: &[u8], mut buf: Option<&mut Vec<u8>>) {
        let mut left = bytes;
        self.can_shrink = true;
        while !left.is_empty() && !self.broken {
            let before = left;
            match self.tls.read_tls(&mut left) {
                // Bytes after close_notify are ignored (RFC 8446 §6.1).
                Ok(0) => return,
                Ok(_) => {}
                // Full of plaintext that was not read yet.
                Err(error) if error.kind() == ErrorKind::Other => {
                    self.unfed.extend_from_slice(left);
                    return;
                }
                // Full of a message that is too long: rustls reports it when it processes it.
                Err(_) => {}
            }
            self.records += self.boundary.pass(&before[..before.len() - left.len()]);
            match self.tls.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => self.fruitless = 0,
                Ok(_) if before.len() == left.len() => self.broken = true,
                Ok(_) => {
                    self.fruitless += before.len() - left.len();
                    self.broken |= self.fruitless > TLS_FRUITLESS_BYTES_MAX;
                }
                Err(_) => self.broken = true,
            }
            if let Some(buf) = &mut buf {
                self.drain(buf);
            }
        }
    }

    /// Moves plaintext into the spare capacity of `buf`.
    fn drain(&mut self, buf: &mut Vec<u8>) -> usize {
        let before = buf.len();
        while buf.len() < buf.capacity() {
            let mut reader = self.tls.reader();
            let Ok(chunk) = reader.fill_buf() else { break };
            let count = chunk.len().min(buf.capacity() - buf.len());
            if count == 0 {
                break;
            }
            chunk[..count].chunks(COPY_BYTES).for_each(|part| buf.extend_from_slice(part));
            reader.consume(count);
        }
        buf.len() - before
    }

    /// Moves plaintext into the spare capacity of `buf`; returns its length, 0 at the end of the stream,
    /// `None` when there is none yet.
    ///
    /// # Errors
    /// `InvalidData` when the peer violated the protocol, `UnexpectedEof` when the stream ended without
    /// close_notify.
    pub(super) fn take(&mut self, buf: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let before = buf.len();
        self.drain(buf);
        self.feed_rest(Some(buf));
        if buf.len() > before {
            return Ok(Some(buf.len() - before));
        }
        match self.tls.reader().fill_buf() {
            Ok(_) => Ok(Some(0)),
            Err(_) if self.broken => Err(self.fault()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Returns the state without receiving.
    pub(super) fn look(&mut self) -> Look {
        self.feed_rest(None);
        match self.tls.reader().fill_buf() {
            Ok([]) => Look::End,
            Ok(_) => Look::Data,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !self.broken => Look::Nothing,
            Err(_) => Look::End,
        }
    }

    fn feed_rest(&mut self, buf: Option<&mut Vec<u8>>) {
        if !self.unfed.is_empty() {
            let rest = std::mem::take(&mut self.unfed);
            self.feed(&rest, buf);
        }
    }

    /// Returns the number of records received since the last call.
    pub(super) fn take_records(&mut self) -> usize {
        std::mem::take(&mut self.records)
    }

    /// Whether a record was received in part.
    pub(super) fn is_within_record(&self) -> bool {
        self.boundary.is_within()
    }

    /// Error of a peer that violated the protocol.
    pub(super) fn fault(&mut self) -> io::Error {
        match self.rustls_fault() {
            Some(error) => io::Error::new(ErrorKind::InvalidData, error),
            None => io::Error::new(ErrorKind::InvalidData, "too many TLS messages without data"),
        }
    }

    /// Error of rustls; `None` when a limit was exceeded that is not one of the protocol.
    pub(super) fn rustls_fault(&mut self) -> Option<rustls::Error> {
        self.tls.process_new_packets().err()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Makes rustls free the memory of a large record.
    pub(super) fn shrink(&mut self) {
        if std::mem::take(&mut self.can_shrink) {
            // rustls fits its buffer at the start of a read; this one reads nothing.
            let _ = self.tls.read_tls(&mut Unready);
        }
    }

    /// Encrypts `bytes`, at most [`TLS_SEND_BYTES`], into rustls's queue; returns the number.
    ///
    /// # Errors
    /// When the session has ended or broken.
    pub(super) fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() <= COPY_BYTES {
            return self.tls.writer().write(bytes);
        }
        let mut parts = [IoSlice::new(&[]); TLS_SEND_BYTES / COPY_BYTES];
        for (part, chunk) in parts.iter_mut().zip(bytes.chunks(COPY_BYTES)) {
            *part = IoSlice::new(chunk);
        }
        let count = bytes.len().div_ceil(COPY_BYTES).min(parts.len());
        self.tls.writer().write_vectored(&parts[..count])
    }

    /// Sends the records that rustls has queued, as far as the socket takes them.
    ///
    /// # Errors
    /// The socket's, `WouldBlock` aside.
    pub(super) fn send(&mut self, socket: &Socket) -> io::Result<Sent> {
        let mut count = 0;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Sink(socket)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    count += sent;
                    self.sent_bytes += sent as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Sent { count, all: false }),
                Err(error) => return Err(error),
            }
        }
        Ok(Sent { count, all: true })
    }
}

/// Result of a send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) count: usize,
    /// The queue is empty.
    pub(super) all: bool,
}

/// Tracker of record boundaries (RFC 8446 §5.1: type, version, length).
#[derive(Clone, Copy, Debug, Default)]
struct Boundary {
    /// Received bytes of the current header.
    header: u8,
    /// Received bytes of the length.
    length: [u8; 2],
    /// Missing bytes of the current record.
    left: usize,
}

impl Boundary {
    /// Advances over bytes; returns the number of headers that ended in them.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut headers = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let count = self.left.min(bytes.len());
                self.left -= count;
                bytes = &bytes[count..];
                continue;
            }
            match self.header {
                3 => self.length[0] = byte,
                4 => {
                    self.length[1] = byte;
                    self.left = usize::from(u16::from_be_bytes(self.length));
                    headers += 1;
                }
                _ => {}
            }
            self.header = (self.header + 1) % 5;
            bytes = rest;
        }
        headers
    }

    fn is_within(self) -> bool {
        self.left > 0 || self.header > 0
    }
}

/// Writer to a socket, in one call and without waiting.
struct Sink<'a>(&'a Socket);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.socket().send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.socket().send_vectored_with_flags(parts, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reader without bytes.
struct Unready;

impl Read for Unready {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

/// Part size of copies of records. For larger copies (from 2112 bytes) glibc uses `rep movsb`, which is slow
/// on AMD processors when the target is not aligned, as in a record after its header: copying whole records
/// cost two fifths of the throughput there.
const COPY_BYTES: usize = 2048;

/// Lends the core's buffer for bytes on their way into rustls: one, as none is kept across a wait.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.reserve(TLS_SCRATCH_BYTES);
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}
