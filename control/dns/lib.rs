//! DNS client for diagnostics: uncached lookups of addresses, CNAME chains and CAA records.
//!
//! ```text
//!  Resolver ─▶ exchange: UDP, else TCP ─▶ recursive resolver (configured, else /etc/resolv.conf)
//!     └─ message: queries and responses (RFC 1035 §4)
//! ```
//!
//! One query at a time; CNAME chains are followed, and each response is matched against its query. Nothing is
//! cached, because the callers explain the records as they are now. Not for the data plane: upstream names go
//! through the system's resolver.
//!
//! All calls block, for [`Resolver::CHECK_TIMEOUT`] per name at most: run them on a thread for blocking
//! calls.
#![forbid(unsafe_code)]

mod caa;
mod error;
mod exchange;
mod limits;
mod message;
mod resolv_conf;
mod resolver;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use caa::CaaSet;
pub use error::DnsError;
pub use message::CaaRecord;
pub use resolver::{Lookup, Resolver};
