//! Safe layer over monoio: deadlines, cancellation, splice, and tasks that survive panics. No HTTP.
//!
//! The only crate that uses the runtime's I/O types. To all others, buffers are passed in and returned,
//! deadlines are arguments, and a task's panic ends that task only:
//!
//! ```text
//!  run(options, |driver| main)      one runtime on the calling thread: io_uring, or epoll where it is blocked
//!    ├─ Listener ─ accept ─▶ TcpStream ┐
//!    ├─ connect ───────────▶ TcpStream ├─ trait Stream: read, write_all, readable, cancel, abort
//!    ├─ UnixListener ──────▶ UnixStream┘      │
//!    ├─ tls: read_hello, connect_tls ─▶ TlsStream (over a TcpStream)
//!    ├─ IdleSet: idle connections, a slab entry each
//!    ├─ splice(from, to)                      ▼
//!    ├─ spawn, join, join_until     reaper: one task per core that cancels expired operations
//!    ├─ sleep, timeout              timers of a millisecond
//!    └─ sync, Notified, Waits, resolve, blocking
//! ```
//!
//! The kernel owns a buffer until its operation completes. Hence no future of [`Stream`] may be dropped
//! before it is ready: give it a deadline, or end it with [`Stream::cancel_reads`] and await it, as
//! [`join_until`] does. (Dropped all the same, memory stays safe, and the buffer and the bytes read into it
//! are lost.)

mod blocking;
pub mod clock;
mod connect;
mod core;
mod duplex;
mod idle;
mod limits;
mod listen;
mod memory;
mod notified;
mod reaper;
mod resolve;
mod runtime;
mod socket;
mod splice;
mod stream;
pub mod sync;
mod task;
mod timer;
pub mod tls;
mod waits;

pub use blocking::blocking;
pub use connect::{connect, source_of};
pub use idle::{IdleSet, Wakeup};
pub use listen::{
    Accepted, Listener, UnixListener, bind_exclusive, bind_reuseport, check_free, retry_in_use,
};
pub use memory::use_small_pages;
pub use notified::Notified;
pub use resolve::resolve;
pub use runtime::{Driver, DriverChoice, DriverChoiceError, RuntimeOptions, cores, pinned_core, run};
pub use socket::{TcpStream, UnixStream};
pub use splice::{Rate, SenderLimits, SpliceError, SpliceFault, splice, splice_at_least};
pub use stream::{
    Clock, Hangup, LingerLimits, PeerState, Stream, SystemClock, WriteRate, discard_all, linger,
};
pub use task::{PanicMessage, join, join_until, spawn, with_side_task, yield_now};
pub use timer::{sleep, sleep_until, timeout};
pub use waits::Waits;

#[cfg(test)]
mod tests;
