//! Socket pair and bounded channel of the models: loom may switch threads at each of their steps.
//!
//! The channel is a queue behind a lock: crossbeam's is assumed to be correct, the protocol around it is
//! checked. Timeouts never end.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, TryRecvError, TrySendError};
use loom::sync::{Arc, Condvar, Mutex};

/// End of a pair. [`UnixStream::pair`] returns the sending end first.
#[derive(Debug)]
pub(crate) struct UnixStream {
    pipe: Arc<Pipe>,
    is_sender: bool,
}

#[derive(Debug)]
struct Pipe {
    state: Mutex<PipeState>,
    readable: Condvar,
}

#[derive(Debug)]
struct PipeState {
    bytes: usize,
    is_closed: bool,
}

/// One byte: a full buffer is a case of its own.
const PIPE_BYTES: usize = 1;

impl UnixStream {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let state = Mutex::new(PipeState { bytes: 0, is_closed: false });
        let pipe = Arc::new(Pipe { state, readable: Condvar::new() });
        Ok((Self { pipe: pipe.clone(), is_sender: true }, Self { pipe, is_sender: false }))
    }

    pub(crate) fn set_nonblocking(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { pipe: self.pipe.clone(), is_sender: self.is_sender })
    }

    /// Blocks until there are bytes, and reads them; 0 when the sending end was dropped.
    pub(crate) fn read_all(&self) -> usize {
        let mut state = self.pipe.state.lock().unwrap();
        while state.bytes == 0 && !state.is_closed {
            state = self.pipe.readable.wait(state).unwrap();
        }
        std::mem::take(&mut state.bytes)
    }
}

impl Write for &UnixStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.pipe.state.lock().unwrap();
        if state.bytes == PIPE_BYTES {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.bytes += bytes.len();
        self.pipe.readable.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for UnixStream {
    fn drop(&mut self) {
        if self.is_sender {
            self.pipe.state.lock().unwrap().is_closed = true;
            self.pipe.readable.notify_one();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Channel<T>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Channel<T>>);

#[derive(Debug)]
struct Channel<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Queue<T> {
    values: VecDeque<T>,
    senders: usize,
    receivers: usize,
}

pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let queue = Mutex::new(Queue { values: VecDeque::new(), senders: 1, receivers: 1 });
    let channel = Arc::new(Channel { queue, changed: Condvar::new(), capacity });
    (Sender(channel.clone()), Receiver(channel))
}

impl<T> Sender<T> {
    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut queue = self.0.queue.lock().unwrap();
        if queue.receivers == 0 {
            return Err(TrySendError::Disconnected(value));
        }
        if queue.values.len() == self.0.capacity {
            return Err(TrySendError::Full(value));
        }
        queue.values.push_back(value);
        self.0.changed.notify_one();
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.queue.lock().unwrap().values.len()
    }
}

impl<T> Receiver<T> {
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut queue = self.0.queue.lock().unwrap();
        match queue.values.pop_front() {
            Some(value) => Ok(value),
            None if queue.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    pub(crate) fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        let mut queue = self.0.queue.lock().unwrap();
        loop {
            match queue.values.pop_front() {
                Some(value) => return Ok(value),
                None if queue.senders == 0 => return Err(RecvTimeoutError::Disconnected),
                None => queue = self.0.changed.wait(queue).unwrap(),
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.queue.lock().unwrap().values.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.queue.lock().unwrap().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.queue.lock().unwrap().receivers += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.queue.lock().unwrap().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.queue.lock().unwrap().receivers -= 1;
    }
}
