//! HTTP/1.1 bytes to messages and back, sans-io, strict by construction.
