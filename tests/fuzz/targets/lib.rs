//! What the fuzzers run: one function per target, from any bytes to "holds" or a panic.
//!
//! ```text
//! tests/fuzz/bins   libFuzzer with coverage (nightly)  ─┐
//! examples/mutate   seeded mutations, no coverage      ─┼─► TARGETS ─► the product's parsers
//! tests/replay      the corpora, and some mutations    ─┘
//! ```
//! A target asserts properties and never looks at how they come about: pieces mean what the whole means, what is written is
//! read again as the same, an independent reader agrees. Nothing here has a clock, a file or randomness of its own.
#![forbid(unsafe_code)]

mod api;
mod certificate;
mod chunks;
mod configuration;
mod h2_head;
mod host;
mod mutate;
mod proxy_protocol;
mod records;
mod request;
mod response;
mod source;
mod websocket;

pub use mutate::Mutator;

/// A target: takes any bytes, panics when a property does not hold.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What it checks.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "api", run: api::check },
    Target { name: "certificate", run: certificate::check },
    Target { name: "chunks", run: chunks::check },
    Target { name: "configuration", run: configuration::check },
    Target { name: "h2_head", run: h2_head::check },
    Target { name: "host", run: host::check },
    Target { name: "proxy_protocol", run: proxy_protocol::check },
    Target { name: "records", run: records::check },
    Target { name: "request", run: request::check },
    Target { name: "response", run: response::check },
    Target { name: "websocket", run: websocket::check },
];

/// Runs a target by its name.
///
/// # Panics
/// When there is no such target, and when a property does not hold.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.run)(bytes);
}
