//! TLS without sockets: identities, server and client configurations, tickets.
#![forbid(unsafe_code)]
