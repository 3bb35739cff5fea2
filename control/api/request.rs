//! Requests: the fields, and the shapes of all operations. Documents and the reader of typed fields are in
//! `ringway-config`.
//!
//! ```text
//! body ─ json ─► Object ┐
//! key, query ── target ─┴─► Reader ◄─ shapes ◄─ fields        headers ─► conditions
//! ```

pub(crate) mod auth_check;
pub(crate) mod cache;
pub(crate) mod conditions;
pub(crate) mod configuration;
mod fields;
pub(crate) mod finding;
pub(crate) mod shapes;
pub(crate) mod target;
mod tls_fields;
