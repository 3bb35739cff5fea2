//! What the handle does, with a control plane that writes down.
