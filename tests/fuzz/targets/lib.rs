//! Fuzz targets: one function each, from any bytes to "holds" or a panic.
//!
//! ```text
//! tests/fuzz/bins   libFuzzer with coverage (nightly)  ─┐
//! examples/mutate   seeded mutations, no coverage      ─┼─► TARGETS ─► the product's parsers
//! tests/replay      the corpora, and some mutations    ─┘
//! ```
//! A target asserts properties of results only: pieces mean the same as the whole, written data is read back
//! unchanged, an independent parser agrees. Targets use no clock, file or randomness.
#![forbid(unsafe_code)]

mod accept_encoding;
mod api;
mod brotli;
mod cache_dates;
mod cache_directives;
mod cache_ranges;
mod certificate;
mod chunks;
mod configuration;
mod document;
mod h2_head;
mod host;
mod mutate;
mod proxy_protocol;
mod records;
mod request;
mod response;
mod script;
mod source;
mod structured_fields;
mod websocket;

pub use mutate::Mutator;

/// A target: takes any bytes, panics when a property does not hold.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Checked property.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "accept_encoding", run: accept_encoding::check },
    Target { name: "api", run: api::check },
    Target { name: "brotli", run: brotli::check },
    Target { name: "cache_dates", run: cache_dates::check },
    Target { name: "cache_directives", run: cache_directives::check },
    Target { name: "cache_ranges", run: cache_ranges::check },
    Target { name: "certificate", run: certificate::check },
    Target { name: "chunks", run: chunks::check },
    Target { name: "configuration", run: configuration::check },
    Target { name: "document", run: document::check },
    Target { name: "h2_head", run: h2_head::check },
    Target { name: "host", run: host::check },
    Target { name: "proxy_protocol", run: proxy_protocol::check },
    Target { name: "records", run: records::check },
    Target { name: "request", run: request::check },
    Target { name: "response", run: response::check },
    Target { name: "script", run: script::check },
    Target { name: "structured_fields", run: structured_fields::check },
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
