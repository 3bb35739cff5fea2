//! What is accepted, what is refused and what goes out, rule by rule with the section that asks for it.

#![allow(clippy::unwrap_used)]

mod bodies;
mod properties;
mod requests;
mod responses;
mod rewriting;
