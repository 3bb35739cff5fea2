//! Rules of the forward proxy, as pure functions: whether a client may reach a target, and why not.
//!
//! ```text
//! client ─► rate ─► credentials ─► port ─► form of the host ─► lists ─► addresses ─► (connect) ─► media type
//!    └──────────┴──────── each may end it with one Denial: status, code, error of Proxy-Status ──────┘
//! ```
//! The data plane asks [`Policy`] in this order; the control plane makes it from the configuration and the
//! lists, and sends it to all cores.
#![forbid(unsafe_code)]

pub mod addresses;
mod clients;
mod denial;
mod domain_set;
mod host;
pub mod limits;
mod list;
pub mod messages;
mod policy;

pub use clients::{ClientKey, Clients};
pub use denial::Denial;
pub use domain_set::{DomainSet, Rules, SuffixKey};
pub use host::{Host, NumericName};
pub use list::{DomainList, Found, ListCounts, parse_list};
pub use policy::{Check, Kind, Policy, PolicyError, Users};
