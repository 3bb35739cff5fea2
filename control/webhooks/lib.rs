//! Webhooks: signed, retried, bounded; delivered by threads of their own.
#![forbid(unsafe_code)]
