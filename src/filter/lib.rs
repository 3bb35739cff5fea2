//! Hooks around an exchange: header rewriting and the seam for embedders.
