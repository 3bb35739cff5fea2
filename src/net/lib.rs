//! monoio made safe: deadlines, cancellation, splice, a spawn that survives a panic. No HTTP here.
//!
//! The only crate that names the runtime's I/O types. Everything else sees buffers that go in and come back,
//! deadlines that are arguments, and tasks whose panic ends nothing but themselves:
//!
//! ```text
//!  run(options, |driver| main)      one runtime on the calling thread: io_uring, or epoll where it is blocked
//!    ├─ Listener ─ accept ─▶ TcpStream ┐
//!    ├─ connect ───────────▶ TcpStream ├─ trait Stream: read, write_all, readable, cancel, abort
//!    ├─ UnixListener ──────▶ UnixStream┘      │
//!    ├─ tls: read_hello, connect_tls ─▶ TlsStream (over a TcpStream)
//!    ├─ IdleSet: silent connections, a line in a table each
//!    ├─ splice(from, to)                      ▼
//!    ├─ spawn, join, join_until     the reaper: one task per core cancels what is past its deadline
//!    └─ Notified, Waits, resolve
//! ```
//!
//! A kernel that works on a buffer must keep it until it says so. Hence no future of [`Stream`] may be dropped
//! before it is ready: give it a deadline, or end it with [`Stream::cancel_reads`] and await it, as
//! [`join_until`] does. (When it happens all the same, memory stays safe, and the buffer and what was read into
//! it are lost.)

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
pub mod tls;
mod waits;

pub use blocking::blocking;
pub use connect::connect;
pub use idle::{IdleSet, Wakeup};
pub use listen::{Accepted, Listener, UnixListener, bind_reuseport, check_free, patiently};
pub use memory::use_small_pages;
pub use notified::Notified;
pub use resolve::resolve;
pub use runtime::{Driver, DriverChoice, DriverChoiceError, RuntimeOptions, cores, pinned_core, run};
pub use socket::{TcpStream, UnixStream};
pub use splice::{Rate, SpliceError, SpliceFault, splice, splice_at_least};
pub use stream::{
    Clock, Hangup, LingerLimits, PeerState, Stream, SystemClock, WriteRate, discard_all, linger,
};
pub use task::{PanicMessage, join, join_until, sleep, sleep_until, spawn, with_side_task, yield_now};
pub use waits::Waits;

#[cfg(test)]
mod tests;
