//! Requests: JSON document, findings, the reader of typed fields, the fields, and the shapes of all
//! operations.
//!
//! ```text
//! body ─ document ─► Object ┐
//! key, query ── target ─────┴─► reader ◄─ shapes ◄─ fields        headers ─► conditions
//! ```

pub(crate) mod conditions;
pub(crate) mod document;
mod fields;
pub(crate) mod finding;
mod health_fields;
pub(crate) mod reader;
pub(crate) mod shapes;
pub(crate) mod target;
mod tls_fields;
pub(crate) mod values;
