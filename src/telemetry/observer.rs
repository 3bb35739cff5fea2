//! The `Observer` trait: callbacks for data-plane events.

use std::sync::Arc;

use crate::event::Event;

/// Receives every event of a data core, on that core, while the request's connection waits: implementations
/// must return quickly and never block.
///
/// An embedder's observer is shared by all cores and therefore `Send + Sync`; those of ringway belong to one
/// core each and are not. `Arc<O>` and `(A, B)` forward events to their parts.
pub trait Observer {
    /// Receives an event.
    fn on_event(&self, event: &Event<'_>);
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    #[inline]
    fn on_event(&self, event: &Event<'_>) {
        (**self).on_event(event);
    }
}

impl<A: Observer, B: Observer> Observer for (A, B) {
    #[inline]
    fn on_event(&self, event: &Event<'_>) {
        self.0.on_event(event);
        self.1.on_event(event);
    }
}
