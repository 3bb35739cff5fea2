//! Steps of canaries: their looks, and what is stored of them.

use ringway_model::{Delta, Resource};

use super::{Engine, ReplyTo, view};
use crate::canaries;
use crate::own_event::OwnEvent;
use crate::submission::Submission;
use crate::time::Now;

impl Engine {
    /// Watches the canaries of new routes, and resumes those whose state says so.
    pub(super) fn follow_canaries(&mut self, deltas: &[Delta], now: Now) {
        if deltas
            .iter()
            .any(|(Delta::Put(resource) | Delta::Remove(resource))| matches!(resource, Resource::Route(_)))
        {
            self.canaries.follow(view(&self.plane, &self.publisher, now));
        }
        for delta in deltas {
            if let Delta::Put(Resource::CanaryState(state)) = delta {
                self.canaries.handle_stored(state, now);
            }
        }
    }

    /// Compares the canaries, and stores what was decided.
    pub(super) fn advance_canaries(&mut self, now: Now) {
        let effects = self.canaries.advance(view(&self.plane, &self.publisher, now));
        if !self.shutdown.is_running() {
            return;
        }
        for effect in effects {
            match effect {
                canaries::Effect::Submit(route, change) => {
                    self.handle_submit(Submission::of(*change), ReplyTo::Canary(route), now);
                }
                canaries::Effect::Braked(state) => {
                    let view = view(&self.plane, &self.publisher, now);
                    self.notifications.handle_braked_canary(&state, view);
                    if let Some(report) = &self.on_event {
                        report(OwnEvent::Braked(&state));
                    }
                }
            }
        }
    }
}
