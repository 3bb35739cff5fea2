//! Who is told.

use std::sync::Arc;

use crate::event::{
    AttemptFailed, BreakerOpened, ConnectionAbused, ConnectionClosed, ConnectionHandedOver, ConnectionOpened,
    ConnectionRefused, Exchange, HandshakeDone, HandshakeRefused, MaterialLoaded, Panicked, Rejected,
    SnapshotApplied, UpgradeEnded, Upgraded,
};

/// Is told of every event of a data core, on that core, while the request's connection waits: be quick, never block.
///
/// Every method does nothing unless overridden. An embedder's observer is shared by all cores and therefore
/// `Send + Sync`; those of ringway belong to one core each and are not. Observers compose: `&O`, `Arc<O>`,
/// `Option<O>` and `(A, B)` observe what their parts do.
#[allow(unused_variables)]
pub trait Observer {
    /// A request and its response are over.
    fn exchange(&self, event: &Exchange<'_>) {}
    /// An attempt failed, another follows.
    fn attempt_failed(&self, event: &AttemptFailed<'_>) {}
    /// A connection was accepted.
    fn connection_opened(&self, event: &ConnectionOpened) {}
    /// A connection was accepted and given to another core.
    fn connection_handed_over(&self, event: &ConnectionHandedOver) {}
    /// A connection was accepted only to be closed.
    fn connection_refused(&self, event: &ConnectionRefused) {}
    /// A connection was ended because of what its client did.
    fn connection_abused(&self, event: &ConnectionAbused) {}
    /// A connection is over.
    fn connection_closed(&self, event: &ConnectionClosed) {}
    /// A TLS handshake was finished.
    fn handshake_done(&self, event: &HandshakeDone) {}
    /// A TLS handshake was not finished.
    fn handshake_refused(&self, event: &HandshakeRefused) {}
    /// A certificate or the like was loaded, or could not be.
    fn material_loaded(&self, event: &MaterialLoaded) {}
    /// A request was refused before routing.
    fn rejected(&self, event: &Rejected) {}
    /// A task panicked.
    fn panicked(&self, event: &Panicked<'_>) {}
    /// A connection became a tunnel.
    fn upgraded(&self, event: &Upgraded) {}
    /// A tunnel is over.
    fn upgrade_ended(&self, event: &UpgradeEnded) {}
    /// A new snapshot is in use.
    fn snapshot_applied(&self, event: &SnapshotApplied) {}
    /// A breaker opened.
    fn breaker_opened(&self, event: &BreakerOpened<'_>) {}
}

/// Writes the methods of an `Observer` whose parts are told one after the other.
macro_rules! tell_parts {
    (|$self:ident, $tell:ident| $body:expr) => {
        tell_parts!(@method $self, $tell, $body, exchange, Exchange<'_>);
        tell_parts!(@method $self, $tell, $body, attempt_failed, AttemptFailed<'_>);
        tell_parts!(@method $self, $tell, $body, connection_opened, ConnectionOpened);
        tell_parts!(@method $self, $tell, $body, connection_handed_over, ConnectionHandedOver);
        tell_parts!(@method $self, $tell, $body, connection_refused, ConnectionRefused);
        tell_parts!(@method $self, $tell, $body, connection_abused, ConnectionAbused);
        tell_parts!(@method $self, $tell, $body, connection_closed, ConnectionClosed);
        tell_parts!(@method $self, $tell, $body, handshake_done, HandshakeDone);
        tell_parts!(@method $self, $tell, $body, handshake_refused, HandshakeRefused);
        tell_parts!(@method $self, $tell, $body, material_loaded, MaterialLoaded);
        tell_parts!(@method $self, $tell, $body, rejected, Rejected);
        tell_parts!(@method $self, $tell, $body, panicked, Panicked<'_>);
        tell_parts!(@method $self, $tell, $body, upgraded, Upgraded);
        tell_parts!(@method $self, $tell, $body, upgrade_ended, UpgradeEnded);
        tell_parts!(@method $self, $tell, $body, snapshot_applied, SnapshotApplied);
        tell_parts!(@method $self, $tell, $body, breaker_opened, BreakerOpened<'_>);
    };
    (@method $self:ident, $tell:ident, $body:expr, $name:ident, $event:ty) => {
        #[inline]
        fn $name(&$self, event: &$event) {
            macro_rules! $tell {
                ($part:expr) => { $part.$name(event) };
            }
            $body
        }
    };
}
pub(crate) use tell_parts;

impl<O: Observer + ?Sized> Observer for &O {
    tell_parts!(|self, tell| tell!((**self)));
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    tell_parts!(|self, tell| tell!((**self)));
}

impl<O: Observer> Observer for Option<O> {
    tell_parts!(|self, tell| if let Some(observer) = self {
        tell!(observer)
    });
}

impl<A: Observer, B: Observer> Observer for (A, B) {
    tell_parts!(|self, tell| {
        tell!(self.0);
        tell!(self.1)
    });
}
