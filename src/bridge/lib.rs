//! Communication between threads: latest-wins slots, bounded mailboxes, one-shot replies, wake-ups, gauges.
//!
//! Cores share only what passes through here. A sender never blocks and never allocates without a bound; a
//! receiver is woken by one byte on a socket, however many values were sent meanwhile:
//!
//! ```text
//!  sender                               receiver (a core)
//!  store the value                      await a byte          (net's Notified)
//!  flag already up? done                source.rearm()        (flag down)
//!  flag up, write one byte              take every value      (slot.take, mailbox.drain)
//!                                       back to await
//! ```
//!
//! Correctness depends on the receiver's order; see [`WakeSource::rearm`].
//!
//! | need | type | when full |
//! |---|---|---|
//! | the newest state only | [`slot()`] | the newer replaces the older |
//! | every value | [`mailbox()`] | the sender gets its value back |
//! | one reply to one request | [`reply()`] | cannot be full |
//! | current numbers of other threads, without a wake-up | [`shared_gauges()`] | cannot be full |
//! | at most so many of something on all threads | [`Permits`] | `None` |
#![forbid(unsafe_code)]
#![cfg_attr(loom, allow(private_interfaces))] // the models' sockets replace the system's, which are public

mod mailbox;
mod permits;
mod reply;
mod shared_gauges;
mod slot;
mod sync;
mod wake;

pub use mailbox::{
    Drain, MailboxReceiver, MailboxSender, SendError, TryRecvError, blocking_mailbox, mailbox,
};
pub use permits::{Permit, Permits};
pub use reply::{ReplyError, ReplyReceiver, ReplySender, reply};
pub use shared_gauges::{Gauge, shared_gauges};
pub use slot::{SlotReceiver, SlotSender, slot};
pub use wake::{WakeSource, Waker, wake_pair};

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
