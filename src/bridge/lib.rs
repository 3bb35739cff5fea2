//! The only code that crosses threads: latest-wins slots, bounded mailboxes, one-shot replies, wake-ups, numbers.
//!
//! Cores share nothing but what passes through here. A sender never blocks and never allocates without a
//! bound; a receiver is woken by one byte on a socket, however many values were sent meanwhile:
//!
//! ```text
//!  sender                               receiver (a core)
//!  put the value in                     await a byte          (net's Notified)
//!  flag already up? done                source.rearm()        (flag down)
//!  flag up, write one byte              take every value      (slot.take, mailbox.drain)
//!                                       back to await
//! ```
//!
//! The receiver's order is the whole correctness argument, see [`WakeSource::rearm`].
//!
//! | need | type | when full |
//! |---|---|---|
//! | the newest state, older ones are worthless | [`slot()`] | the newer replaces the older |
//! | every value counts | [`mailbox()`] | the sender gets its value back |
//! | one answer to one question | [`reply()`] | cannot be |
//! | how others do at the moment, nobody is woken | [`shared_gauges()`] | cannot be |
#![forbid(unsafe_code)]
#![cfg_attr(loom, allow(private_interfaces))] // the models' own sockets stand where the system's are public

mod mailbox;
mod reply;
mod shared_gauges;
mod slot;
mod sync;
mod wake;

pub use mailbox::{
    Drain, MailboxReceiver, MailboxSender, SendError, TryRecvError, blocking_mailbox, mailbox,
};
pub use reply::{ReplyError, ReplyReceiver, ReplySender, reply};
pub use shared_gauges::{Gauge, shared_gauges};
pub use slot::{SlotReceiver, SlotSender, slot};
pub use wake::{WakeSource, Waker, wake_pair};

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
