//! The access log: one line per exchange, written off the data cores.
//!
//! ```text
//! core: AccessLog ── fills a 64 KiB block ──► full (bounded) ──► writer thread ──► sink
//!                 ◄─────────────── recycled blocks ◄────────────────────┘
//! ```
//! A core sends a block when it is full or old. When the writer does not keep up, the channel fills up, and
//! lines are dropped and counted: a slow disk costs lines, never a request. Blocks are recycled, without
//! further allocation.

mod escape;
mod fields;
mod line;
mod writer;

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crossbeam_channel::{Receiver, Sender, bounded};
use ringway_model::{CoreId, Tick};

use crate::counter::Counter;
use crate::event::{Event, Exchange};
use crate::observer::Observer;
use line::{ClockText, line_bytes_max, write_line};
use writer::{Writer, WriterCommand, WriterCounts};

pub use fields::{LogFields, LogFieldsError};
pub use line::LogFormat;

/// Destination of access-log lines.
pub enum LogSink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, created if missing and appended to. [`LogHandle::reopen`] reopens its path, for logrotate.
    File(PathBuf),
    /// Any other writer; it receives blocks of whole lines on the writer thread, where it may block.
    Writer(Box<dyn io::Write + Send>),
}

/// Owner's handle of the access log: creates the part of each core, and controls the writer thread.
#[derive(Debug)]
pub struct LogHandle {
    format: LogFormat,
    fields: LogFields,
    cores: Vec<(CoreId, Arc<CoreCounts>)>,
    written: Arc<WriterCounts>,
    full: Sender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    commands: Sender<WriterCommand>,
    done: Receiver<()>,
}

impl LogHandle {
    /// Opens the sink and starts the writer thread.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub fn start(sink: LogSink, format: LogFormat) -> io::Result<Self> {
        let (full, to_write) = bounded(limits::LOG_BLOCKS_MAX);
        let (used, empty) = bounded(limits::LOG_BLOCKS_MAX);
        // Two are enough: a second `Reopen` in the queue would have no effect.
        let (commands, to_run) = bounded(2);
        let (ended, done) = bounded(1);
        let written = Arc::new(WriterCounts::default());
        let writer = Writer::new(sink, written.clone())?;
        let run = move || {
            writer.run(&to_write, &used, to_run);
            let _ = ended.send(());
        };
        std::thread::Builder::new().name("ringway-log".into()).spawn(run)?;
        let fields = LogFields::default();
        Ok(Self { format, fields, cores: Vec::new(), written, full, empty, commands, done })
    }

    /// Whether its lines have the address of the client.
    pub fn shows_client_ip(&self) -> bool {
        self.fields.client_ip
    }

    /// Sets the fields for the lines of cores that are added later.
    #[must_use]
    pub fn fields(mut self, fields: LogFields) -> Self {
        self.fields = fields;
        self
    }

    /// Creates the access log of one core.
    pub fn add_core(&mut self, core: CoreId) -> AccessLog {
        let counts = Arc::new(CoreCounts::default());
        self.cores.push((core, counts.clone()));
        let state = State {
            format: self.format,
            fields: self.fields,
            block: Vec::new(),
            lines: 0,
            waiting_since: None,
            clock: ClockText::new(),
            counts,
            full: self.full.clone(),
            empty: self.empty.clone(),
        };
        AccessLog { shows_referer: self.fields.referer, state: RefCell::new(state) }
    }

    /// Reopens the file at its path, after it was renamed. Returns at once; failures are counted and logged,
    /// and the old file stays in use.
    pub fn reopen(&self) {
        // With a full queue the file is about to be reopened anyway.
        let _ = self.commands.try_send(WriterCommand::Reopen);
    }

    /// Returns the counts of written and dropped lines.
    pub fn reading(&self) -> LogReading {
        LogReading {
            cores: self.cores.iter().map(|(core, counts)| (*core, counts.dropped.read())).collect(),
            lines: self.cores.iter().map(|(_, counts)| counts.lines.read()).sum(),
            lines_lost: self.written.lines_lost.read(),
            write_errors: self.written.errors.read(),
        }
    }

    /// Writes all queued blocks and ends the writer thread. Waits for it at most `timeout`; returns whether
    /// it finished. Blocks: for the shutdown of the process, after the workers have ended.
    pub fn finish(self, timeout: Duration) -> bool {
        let sent = self.commands.send_timeout(WriterCommand::Finish, timeout).is_ok();
        sent && self.done.recv_timeout(timeout).is_ok()
    }
}

/// Line counts of the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogReading {
    /// Lines dropped by each core, because the writer did not keep up.
    pub cores: Vec<(CoreId, u64)>,
    /// Lines that the cores sent to the writer.
    pub lines: u64,
    /// Lines among them that could not be written to the sink.
    pub lines_lost: u64,
    /// Failed writes to the sink, and failures to reopen it.
    pub write_errors: u64,
}

/// Access log of one core: an [`Observer`] of exchanges.
///
/// About 200 ns for a line of 500 bytes, without allocation. Dropping it sends its lines to the writer, or
/// counts them as dropped.
#[derive(Debug)]
pub struct AccessLog {
    shows_referer: bool,
    state: RefCell<State>,
}

impl AccessLog {
    /// Returns whether an [`Exchange`] should carry the client's `Referer`.
    pub fn shows_referer(&self) -> bool {
        self.shows_referer
    }

    /// Flushes lines that have waited for `LOG_FLUSH_AGE`. To be called a few times a second; cheap
    /// when nothing waits.
    pub fn flush_if_older(&self, now: Tick) {
        let mut state = self.state.borrow_mut();
        if state.block.is_empty() {
            return;
        }
        // The age counts from the first call that finds a line: appending reads no clock.
        let since = *state.waiting_since.get_or_insert(now);
        if now.since(since) >= limits::LOG_FLUSH_AGE {
            state.hand_over();
        }
    }

    /// Sends the block to the writer thread.
    pub fn flush(&self) {
        self.state.borrow_mut().hand_over();
    }
}

impl Observer for AccessLog {
    #[inline]
    fn on_event(&self, event: &Event<'_>) {
        if let Event::Exchange(exchange) = event
            && exchange.is_logged
        {
            self.state.borrow_mut().append(exchange);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if !state.hand_over() {
            state.counts.dropped.add(state.lines);
        }
    }
}

#[derive(Debug)]
struct State {
    format: LogFormat,
    fields: LogFields,
    /// Lines not yet sent; not allocated before the first line.
    block: Vec<u8>,
    /// Number of lines in the block.
    lines: u64,
    waiting_since: Option<Tick>,
    clock: ClockText,
    counts: Arc<CoreCounts>,
    full: Sender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

impl State {
    fn append(&mut self, event: &Exchange<'_>) {
        if self.block.len() + line_bytes_max(self.fields) > limits::LOG_BLOCK_BYTES && !self.hand_over() {
            return self.counts.dropped.add(1);
        }
        if self.block.capacity() < limits::LOG_BLOCK_BYTES {
            self.block = self.empty.try_recv().unwrap_or_default();
            self.block.reserve_exact(limits::LOG_BLOCK_BYTES);
        }
        write_line(&mut self.block, self.format, self.fields, &mut self.clock, event);
        self.lines += 1;
    }

    /// Sends the block to the writer; false if the queue is full, and the block stays.
    fn hand_over(&mut self) -> bool {
        if self.block.is_empty() {
            return true;
        }
        match self.full.try_send(std::mem::take(&mut self.block)) {
            Ok(()) => {
                self.counts.lines.add(std::mem::take(&mut self.lines));
                self.waiting_since = None;
                true
            }
            Err(refused) => {
                self.block = refused.into_inner();
                false
            }
        }
    }
}

/// Counters written by one core.
#[derive(Debug, Default)]
struct CoreCounts {
    lines: Counter,
    dropped: Counter,
}

#[cfg(test)]
mod tests;
