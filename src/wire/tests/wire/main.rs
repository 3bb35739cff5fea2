//! Accepted, rejected and written messages, rule by rule, with the section of the RFC.

#![allow(clippy::unwrap_used)]

mod bodies;
mod properties;
mod requests;
mod responses;
mod rewriting;
