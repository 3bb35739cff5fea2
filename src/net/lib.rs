//! monoio made safe: deadlines, cancellation, splice, a spawn that survives a panic. No HTTP here.
