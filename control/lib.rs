//! The control plane: one thread, a pure plane inside, effects around it.
