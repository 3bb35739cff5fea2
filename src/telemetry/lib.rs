//! Typed events and what is made of them: metrics and the access log.
