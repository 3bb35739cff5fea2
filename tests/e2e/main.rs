//! End-to-end tests: the real binary, real sockets, bytes as they are on the wire.
//!
//! One module per concern; every scenario runs on io_uring and once more on epoll.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a park with a deadline is a poll")]

mod kit;

mod balancing;
mod bodies;
mod errors;
mod headers;
mod limits;
mod protocol;
mod routing;
mod smuggling;
mod websocket;
