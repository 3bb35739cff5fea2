//! Primitives of this crate: the system's sockets, atomics and channels, or those of the models with
//! `--cfg loom`.

#[cfg(not(all(test, loom)))]
pub(crate) use {
    crossbeam_channel::{Receiver, Sender, bounded},
    std::os::unix::net::UnixStream,
    std::sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

#[cfg(all(test, loom))]
pub(crate) use {
    crate::models::system::{Receiver, Sender, UnixStream, bounded},
    loom::sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
