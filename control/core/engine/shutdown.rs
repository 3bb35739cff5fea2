//! The orderly end: cores drain, the store is closed, those who asked are told.

use std::time::Duration;

use crate::limits::STORE_CLOSE_TIMEOUT;
use ringway_bridge::{ReplySender, SendError};
use ringway_model::Tick;
use ringway_traffic::report::Order;

use super::Engine;
use crate::client::Drained;
use crate::engine::core_acks::{CoreProgress, CoreState};
use crate::time::Now;

/// How far the end is.
pub(super) enum Phase {
    Running,
    /// The cores end their connections.
    Draining {
        deadline: Tick,
        askers: Vec<ReplySender<Drained>>,
    },
    /// The store is being closed.
    Closing {
        deadline: Tick,
        askers: Vec<ReplySender<Drained>>,
        result: Drained,
    },
    Ended,
}

impl Phase {
    /// When [`Engine::advance_end`] is due whatever the cores do.
    pub(super) fn next_deadline(&self) -> Tick {
        match self {
            Self::Running | Self::Ended => Tick::NEVER,
            Self::Draining { deadline, .. } => deadline.after(DRAIN_GRACE),
            Self::Closing { deadline, .. } => *deadline,
        }
    }
}

impl Engine {
    /// Begins the end, or hastens it.
    pub(crate) fn handle_shutdown(&mut self, deadline: Tick, asker: Option<ReplySender<Drained>>, now: Now) {
        match &mut self.phase {
            Phase::Running => {
                tracing::info!(time = ?now.tick.until(deadline), "ending: connections are drained");
                self.plane.handle_shutdown();
                for link in &self.links {
                    // A full mailbox holds orders that the worker has not read for long; the end comes at the deadline.
                    if let Err(SendError::Full(_)) = link.orders.send(Order::Drain { deadline }) {
                        tracing::warn!(core = link.core.0, "the core does not take orders");
                    }
                }
                self.phase = Phase::Draining { deadline, askers: asker.into_iter().collect() };
            }
            Phase::Draining { deadline: until, askers } => {
                *until = deadline.min(*until);
                askers.extend(asker);
            }
            Phase::Closing { askers, .. } => askers.extend(asker),
            Phase::Ended => {}
        }
    }

    /// Goes on with the end as far as it can.
    pub(super) fn advance_end(&mut self, now: Now) {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Running => self.phase = Phase::Running,
            Phase::Draining { deadline, askers } => {
                let is_done = self.plane.have_cores_ended() && self.plane.is_idle();
                if !is_done && now.tick < deadline.after(DRAIN_GRACE) {
                    self.phase = Phase::Draining { deadline, askers };
                    return;
                }
                let state = |core: &CoreProgress| core.state != CoreState::Drained;
                let pending = self.plane.cores().filter(state).map(|core| core.id).collect();
                let result = Drained { pending };
                for link in &self.links {
                    // Whoever does not read its orders ends with the process.
                    let _ = link.orders.send(Order::Stop);
                }
                let deadline = match self.store.close() {
                    Ok(()) => now.tick.after(STORE_CLOSE_TIMEOUT),
                    Err(_) => now.tick,
                };
                self.phase = Phase::Closing { deadline, askers, result };
            }
            Phase::Closing { deadline, askers, result } if now.tick < deadline => {
                self.phase = Phase::Closing { deadline, askers, result };
            }
            Phase::Closing { askers, result, .. } => {
                tracing::info!(pending = ?result.pending, "ended");
                for asker in askers {
                    let _ = asker.send(result.clone());
                }
            }
            Phase::Ended => {}
        }
    }
}

/// At its deadline a core cuts what is left and says so; it has this long for it.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
