//! Writer thread of the access log, the only place where logging waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, never, select};

use super::LogSink;
use crate::counter::Counter;

/// Command of the log's owner to the writer thread.
pub(super) enum WriterCommand {
    /// Reopens the file at its path.
    Reopen,
    /// Writes the queued blocks, then ends the thread.
    Finish,
}

/// Counters written by the writer thread.
#[derive(Debug, Default)]
pub(super) struct WriterCounts {
    pub(super) errors: Counter,
    pub(super) lines_lost: Counter,
}

pub(super) struct Writer {
    sink: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    counts: Arc<WriterCounts>,
    /// Whether the last write stopped inside a line.
    torn: bool,
    /// Whether the last write failed: only the first of consecutive failures is logged.
    failing: bool,
}

impl Writer {
    pub(super) fn new(sink: LogSink, counts: Arc<WriterCounts>) -> io::Result<Self> {
        let (sink, path): (Box<dyn Write + Send>, _) = match sink {
            LogSink::Stdout => (Box::new(io::stdout()), None),
            LogSink::Stderr => (Box::new(io::stderr()), None),
            LogSink::File(path) => (Box::new(open(&path)?), Some(path)),
            LogSink::Writer(writer) => (writer, None),
        };
        Ok(Self { sink, path, counts, torn: false, failing: false })
    }

    /// Writes blocks until [`WriterCommand::Finish`], or until all senders of blocks are gone.
    pub(super) fn run(
        mut self,
        full: &Receiver<Vec<u8>>,
        empty: &Sender<Vec<u8>>,
        mut commands: Receiver<WriterCommand>,
    ) {
        loop {
            select! {
                recv(full) -> block => match block {
                    Ok(block) => self.take(block, empty),
                    Err(_) => return,
                },
                recv(commands) -> command => match command {
                    Ok(WriterCommand::Reopen) => self.reopen(),
                    Ok(WriterCommand::Finish) => {
                        full.try_iter().for_each(|block| self.take(block, empty));
                        return;
                    }
                    // The owner is gone; the cores may still send lines.
                    Err(_) => commands = never(),
                },
            }
        }
    }

    fn take(&mut self, mut block: Vec<u8>, empty: &Sender<Vec<u8>>) {
        self.write(&block);
        block.clear();
        // A block beyond the capacity of the queue is freed.
        let _ = empty.try_send(block);
    }

    fn write(&mut self, block: &[u8]) {
        let mut rest = block;
        let result = self.write_whole(&mut rest);
        if rest.len() < block.len() {
            self.torn = !block[..block.len() - rest.len()].ends_with(b"\n");
        }
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("access log is writable again");
                }
            }
            Err(error) => {
                self.counts.errors.add(1);
                self.counts.lines_lost.add(rest.iter().filter(|byte| **byte == b'\n').count() as u64);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "access log write failed; lines are lost and counted");
                }
            }
        }
    }

    /// Writes `rest`, and advances it past the written bytes.
    fn write_whole(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        if self.torn {
            // The rest of the torn line is lost; the next line must not be appended to it.
            self.sink.write_all(b"\n")?;
            self.torn = false;
        }
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *rest = &rest[count.min(rest.len())..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sink.flush()
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => {
                self.sink = Box::new(file);
                self.torn = false;
            }
            Err(error) => {
                self.counts.errors.add(1);
                tracing::warn!(%error, path = %path.display(), "access log cannot be reopened; the old file stays in use");
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
