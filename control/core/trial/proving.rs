//! Proof of versions: one that has served for a minute is trusted at later starts. Pure.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{ConfigVersion, Delta, Desired, Owner, Resource};

use crate::time::Micros;

/// Versions in force that are not proven yet, one for each owner at most.
#[derive(Debug, Default)]
pub(crate) struct Proving {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    owner: Owner,
    key: Arc<str>,
    due: Micros,
}

impl Proving {
    /// Begins with the versions of a start.
    pub(crate) fn new(desired: &Desired, now: Micros) -> Self {
        let mut proving = Self::default();
        for owner in [Owner::File, Owner::Admin] {
            if let Some(version) = desired.version_of(&owner) {
                proving.put(version, now);
            }
        }
        proving
    }

    /// Takes over a stored record. Returns the owner whose version in force it is.
    pub(crate) fn handle_stored(&mut self, delta: &Delta, desired: &Desired, now: Micros) -> Option<Owner> {
        let Delta::Put(Resource::ConfigVersion(version)) = delta else { return None };
        let current = desired.version_of(&version.owner).filter(|current| current.key == version.key)?;
        self.put(current, now);
        Some(current.owner.clone())
    }

    /// Next version that has served long enough; it is due again if the proof cannot be stored.
    pub(crate) fn poll(&mut self, now: Micros) -> Option<Arc<str>> {
        let due = self.waiting.iter_mut().find(|waiting| waiting.due <= now)?;
        due.due = now.after(PROVEN_AFTER);
        Some(due.key.clone())
    }

    /// Time at which [`Proving::poll`] is due.
    pub(crate) fn next_deadline(&self) -> Micros {
        self.waiting.iter().map(|waiting| waiting.due).min().unwrap_or(Micros::NEVER)
    }

    fn put(&mut self, version: &ConfigVersion, now: Micros) {
        self.waiting.retain(|waiting| waiting.owner != version.owner);
        if !version.is_proven {
            let (owner, key) = (version.owner.clone(), version.key.clone());
            self.waiting.push(Waiting { owner, key, due: now.after(PROVEN_AFTER) });
        }
    }
}

/// Time that a version must serve, in one run of the process.
const PROVEN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_model::{Change, NewVersion, OperatorSet, Replacement, SetVersion, Timestamp};

    fn replace(desired: &Desired, digit: char, is_proven: bool) -> (Desired, Vec<Delta>) {
        let version = SetVersion::parse(&digit.to_string().repeat(SetVersion::DIGITS)).unwrap();
        let version =
            NewVersion { version, by: "test".into(), reason: "".into(), source: [].into(), is_proven };
        let replacement = Replacement {
            owner: Owner::File,
            set: Arc::new(OperatorSet::default()),
            expect: None,
            version: Some(version),
        };
        let change = Change::ReplaceOwned(Arc::new(replacement));
        let applied = desired.apply(&change, Timestamp(0)).unwrap();
        (applied.desired, applied.deltas)
    }

    #[test]
    fn a_version_is_proven_after_its_minute_unless_a_newer_one_came() {
        let mut proving = Proving::default();
        let (desired, deltas) = replace(&Desired::default(), 'a', false);
        assert_eq!(proving.handle_stored(&deltas[0], &desired, Micros(5)), Some(Owner::File));
        let minute = |since: u64| Micros(since).after(PROVEN_AFTER);
        assert_eq!(proving.next_deadline(), minute(5));
        let (desired, deltas) = replace(&desired, 'b', false);
        proving.handle_stored(&deltas[0], &desired, Micros(9));
        assert_eq!(proving.poll(minute(5)), None);
        assert_eq!(proving.poll(minute(9)).as_deref(), Some("file@2"));
        assert_eq!(proving.poll(minute(9)), None, "until it is due again");
        assert_eq!(Proving::new(&desired, Micros(1)).next_deadline(), minute(1));
        let proof = Change::ProveVersion { key: "file@2".into(), is_proven: true };
        let applied = desired.apply(&proof, Timestamp(0)).unwrap();
        proving.handle_stored(&applied.deltas[0], &applied.desired, minute(9));
        assert_eq!(proving.next_deadline(), Micros::NEVER);
        assert_eq!(Proving::new(&applied.desired, Micros(1)).next_deadline(), Micros::NEVER);
    }
}
