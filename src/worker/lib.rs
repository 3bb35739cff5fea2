//! One core of the data plane: accept, session, exchange, upstream.
