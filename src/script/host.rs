//! Host of a VM: what scripts get from the core that runs them.

use std::sync::Arc;
use std::time::Duration;

use ringway_middleware::{CallError, CallResponse, Waiting};

use crate::declarations::RateLimit;
use crate::dictionary::Dictionary;

/// Services of a core for the VM of one namespace. The crate has no clock, no random numbers and no I/O.
///
/// Names are those of the namespace: the host keeps namespaces apart.
pub trait Host {
    /// Wall clock, in microseconds since 1970.
    fn unix_micros(&self) -> u64;

    /// Monotonic clock in microseconds.
    fn now_micros(&self) -> u64;

    /// CPU time of the thread in microseconds. Under a virtual clock it may stand still.
    fn cpu_micros(&self) -> u64;

    /// 64 random bits, for ids and samples.
    fn random(&self) -> u64;

    /// Waits.
    fn sleep(&self, duration: Duration) -> Waiting<'static, ()>;

    /// Sends a request to a pool that the namespace may use, and returns the response. Dropped, it closes its
    /// connection or resets its stream.
    fn fetch(&self, fetch: Fetch) -> Waiting<'static, Result<CallResponse, CallError>>;

    /// The dictionary with this name, created if it is missing; `None` when the namespace has too many.
    fn dictionary(&self, name: &str) -> Option<Arc<Dictionary>>;

    /// Counts a request of `key` against a rate limit; else the time until it would be admitted.
    ///
    /// # Errors
    /// The request is beyond the limit.
    fn take(&self, limit: &RateLimit, key: &[u8]) -> Result<(), Duration>;

    /// Writes a line to the log.
    fn log(&self, line: LogLine<'_>);

    /// Adds to a counter of the namespace.
    fn count(&self, metric: &str, by: f64);

    /// The value of a secret that the namespace may read.
    fn secret(&self, name: &str) -> Option<Box<str>>;
}

/// Request of a script to a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Id of the pool.
    pub pool: Box<str>,
    /// Method; a token.
    pub method: Box<str>,
    /// Path and query, from `/` on, of characters that a request line may have.
    pub path: Box<str>,
    /// Field lines, each with its CRLF, valid in a head; without framing and `Host`.
    pub lines: Vec<u8>,
    /// Content.
    pub body: Vec<u8>,
    /// Timeout of everything: connection, request and response.
    pub timeout: Duration,
    /// Maximum bytes of the response's content; more is a failure.
    pub response_bytes_max: usize,
}

/// Line of a script for the log.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Level.
    pub level: LogLevel,
    /// Place of the call.
    pub file: &'a str,
    /// Line of the call.
    pub line: u32,
    /// Id of the request.
    pub request_id: &'a str,
    /// Text, without control characters.
    pub text: &'a str,
}

/// Level of a [`LogLine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Details for the author of the script.
    Debug,
    /// Ordinary.
    Info,
    /// To be looked at.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// The level with this name.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"debug" => Self::Debug,
            b"info" => Self::Info,
            b"warn" => Self::Warn,
            b"error" => Self::Error,
            _ => return None,
        })
    }
}
