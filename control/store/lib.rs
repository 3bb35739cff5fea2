//! Where acknowledged changes live: the Store contract, in memory and on fjall.
