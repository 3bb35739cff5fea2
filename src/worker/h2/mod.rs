//! HTTP/2.

#[allow(dead_code)] // its users are on their way
pub(crate) mod pipe;
