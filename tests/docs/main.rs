//! Reference pages in `docs/`, compared with the sources and with the running binary.
//!
//! A page is written by hand except for its generated regions:
//!
//! ```text
//! <!-- generated: NAME -->
//! ...
//! <!-- end: NAME -->
//! ```
//!
//! Each test renders the regions of one page and fails where the committed text differs.
//! `UPDATE_DOCS=1 cargo nextest run -p ringway --test docs` rewrites the regions instead.

#![allow(clippy::unwrap_used)]

mod api;
mod configuration;
mod configuration_file;
mod errors;
mod limits;
mod metrics;
mod middleware;
mod page;
mod process;
mod references;
