//! Synchronisation between the tasks of one thread. No atomics, no locks; wakers are stored, and called after
//! every borrow ends.

mod notify;
mod oneshot;
mod semaphore;

pub use notify::Notify;
pub use oneshot::{Dropped, Receiver, Sender, oneshot};
pub use semaphore::{Acquire, Permit, QueueFull, Semaphore};
