//! Traffic decisions, pure: facts, now and randomness in, a choice out.
