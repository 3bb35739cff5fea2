//! The synchronous half: a rustls connection and the socket's calls that never wait.

use crate::duplex::Duplex;
use crate::limits::{TLS_FRUITLESS_BYTES_MAX, TLS_SCRATCH_BYTES, TLS_SEND_BYTES};
use rustls::Connection;
use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};

pub(super) type Socket = Duplex<monoio::net::TcpStream>;

/// A rustls connection and what of the peer's bytes it has not taken yet.
pub(super) struct Session {
    pub(super) tls: Connection,
    /// Received but not fed: more plaintext is waiting than rustls holds. Rare, and empty while nothing waits.
    held: Vec<u8>,
    /// Bytes received since the last one of plaintext.
    fruitless: usize,
    boundary: Boundary,
    /// Records of the peer since somebody asked for their number.
    records: usize,
    /// The peer broke the protocol; rustls keeps the error.
    broken: bool,
    /// Fed since its buffer was made small.
    swollen: bool,
    /// We have said that nothing more comes.
    pub(super) ended: bool,
    /// Bytes that the socket has taken, of whatever record.
    pub(super) taken: u64,
}

/// What a look into a session shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Plaintext waits.
    Data,
    /// The peer ended its side, properly or not, or broke the protocol.
    End,
    /// More bytes are needed.
    Nothing,
}

/// What a call to the socket brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes, and maybe more of them are there.
    Bytes(usize),
    /// Nothing is there now.
    Empty,
}

impl Session {
    /// `rest` was received already and comes next.
    pub(super) fn new(tls: Connection, rest: Vec<u8>) -> Self {
        Self {
            tls,
            held: rest,
            fruitless: 0,
            boundary: Boundary::default(),
            records: 0,
            broken: false,
            swollen: true,
            ended: false,
            taken: 0,
        }
    }

    /// Receives what is there, at most `bytes_max`, and works on it; plaintext goes into `buf` as far as it has room,
    /// and stays in the session else. The end of the connection counts as bytes: [`look`](Self::look) shows it.
    ///
    /// # Errors
    /// The socket's. What is wrong with the bytes is for [`look`](Self::look) and [`take`](Self::take).
    pub(super) fn receive(
        &mut self,
        socket: &Socket,
        bytes_max: usize,
        buf: Option<&mut Vec<u8>>,
    ) -> io::Result<Received> {
        with_scratch(|scratch| match socket.receive_now(scratch, bytes_max) {
            Ok(0) => {
                // Tells rustls of the end.
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

    /// Works on bytes that were received, until they are used up or rustls is full.
    fn feed(&mut self, bytes: &[u8], mut buf: Option<&mut Vec<u8>>) {
        let mut left = bytes;
        self.swollen = true;
        while !left.is_empty() && !self.broken {
            let before = left;
            match self.tls.read_tls(&mut left) {
                // Whatever follows a close_notify is not looked at (RFC 8446 §6.1).
                Ok(0) => return,
                Ok(_) => {}
                // Full of plaintext that nobody has taken yet.
                Err(error) if error.kind() == ErrorKind::Other => {
                    self.held.extend_from_slice(left);
                    return;
                }
                // Full of a message that is too long: rustls says so when it looks at it.
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

    /// Takes plaintext into the spare capacity of `buf`: how much, 0 at the peer's end, `None` when there is none yet.
    ///
    /// # Errors
    /// `InvalidData` when the peer broke the protocol, `UnexpectedEof` when its end came without a close_notify.
    pub(super) fn take(&mut self, buf: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let before = buf.len();
        self.drain(buf);
        self.feed_held(Some(buf));
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

    /// What is there without receiving anything.
    pub(super) fn look(&mut self) -> Look {
        self.feed_held(None);
        match self.tls.reader().fill_buf() {
            Ok([]) => Look::End,
            Ok(_) => Look::Data,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !self.broken => Look::Nothing,
            Err(_) => Look::End,
        }
    }

    fn feed_held(&mut self, buf: Option<&mut Vec<u8>>) {
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.feed(&held, buf);
        }
    }

    /// How many records have come since this was asked last.
    pub(super) fn take_records(&mut self) -> usize {
        std::mem::take(&mut self.records)
    }

    /// Whether the peer has sent a part of a record, whose rest is missing.
    pub(super) fn is_within_record(&self) -> bool {
        self.boundary.is_within()
    }

    /// What the peer did wrong, once it is known to be something.
    pub(super) fn fault(&mut self) -> io::Error {
        match self.rustls_fault() {
            Some(error) => io::Error::new(ErrorKind::InvalidData, error),
            None => io::Error::new(ErrorKind::InvalidData, "too many TLS messages without any data"),
        }
    }

    /// The same as rustls says it; `None` when it was beyond our patience, not against the protocol.
    pub(super) fn rustls_fault(&mut self) -> Option<rustls::Error> {
        self.tls.process_new_packets().err()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Makes rustls give back the memory that a large record took.
    pub(super) fn shrink(&mut self) {
        if std::mem::take(&mut self.swollen) {
            // Its buffer is fitted at the beginning of a read; the read itself is none.
            let _ = self.tls.read_tls(&mut Unready);
        }
    }

    /// Encrypts `bytes`, at most [`TLS_SEND_BYTES`], into rustls's queue; how many of them.
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

    /// Sends what rustls has queued, as far as the socket takes it. Whether it took all of it.
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
                    self.taken += sent as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Sent { count, all: false }),
                Err(error) => return Err(error),
            }
        }
        Ok(Sent { count, all: true })
    }
}

/// What the socket took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) count: usize,
    /// Nothing is left in the queue.
    pub(super) all: bool,
}

/// Follows the frames of records (RFC 8446 §5.1: type, version, length), to know where one ends.
#[derive(Clone, Copy, Debug, Default)]
struct Boundary {
    /// Bytes of the current header that are known.
    header: u8,
    /// The length, as far as it is known.
    length: [u8; 2],
    /// Bytes of the current record that are still to come.
    left: usize,
}

impl Boundary {
    /// Goes on over these bytes: how many headers ended in them.
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

/// A socket to send to, all in one call and without waiting.
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

/// A peer that has sent nothing yet.
struct Unready;

impl Read for Unready {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

/// Records are copied in parts of this size. For little more at once (2112 bytes) glibc takes `rep movsb`, which AMD's
/// processors do slowly when the target is not aligned, as in a record behind its header: whole records cost two fifths
/// of the throughput there.
const COPY_BYTES: usize = 2048;

/// Lends the core's buffer for bytes on their way into rustls: one, for nobody keeps it across a wait.
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
