//! Rate limit of log warnings about failed upstream attempts, over all cores; pure.

use std::collections::HashMap;

use ringway_model::{InstanceId, Tick, limits};

/// Instances with a recent warning.
#[derive(Debug, Default)]
pub(crate) struct UpstreamWarnings(HashMap<InstanceId, Warned>);

#[derive(Clone, Copy, Debug)]
struct Warned {
    at: Tick,
    /// Failures since the last line.
    unlogged: u64,
}

impl UpstreamWarnings {
    /// Adds failures of a core. Returns the number to log when a line is due.
    pub(crate) fn count(&mut self, instance: &InstanceId, failures: u32, now: Tick) -> Option<u64> {
        let failures = u64::from(failures);
        if let Some(warned) = self.0.get_mut(instance) {
            warned.unlogged += failures;
            if now.since(warned.at) < limits::UPSTREAM_WARNING_INTERVAL {
                return None;
            }
            warned.at = now;
            return Some(std::mem::take(&mut warned.unlogged));
        }
        if self.0.len() >= limits::UPSTREAM_WARNINGS_MAX {
            self.0.retain(|_, warned| now.since(warned.at) < limits::UPSTREAM_WARNING_INTERVAL);
        }
        if self.0.len() >= limits::UPSTREAM_WARNINGS_MAX {
            // With as many failing instances, further lines add nothing.
            return None;
        }
        self.0.insert(instance.clone(), Warned { at: now, unlogged: 0 });
        Some(failures)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Tick {
        Tick(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn cores_share_one_line_in_an_interval() {
        let mut warnings = UpstreamWarnings::default();
        let (one, other) = (InstanceId::parse("a-1").unwrap(), InstanceId::parse("a-2").unwrap());
        assert_eq!(warnings.count(&one, 1, at(0)), Some(1));
        assert_eq!(warnings.count(&one, 1, at(1)), None, "another core's");
        assert_eq!(warnings.count(&other, 2, at(1)), Some(2));
        assert_eq!(warnings.count(&one, 5, at(10)), Some(6));
        assert_eq!(warnings.count(&one, 1, at(11)), None);
    }

    #[test]
    fn instances_are_bounded() {
        let mut warnings = UpstreamWarnings::default();
        let id = |number: usize| InstanceId::parse(&format!("a-{number}")).unwrap();
        for number in 0..limits::UPSTREAM_WARNINGS_MAX {
            assert_eq!(warnings.count(&id(number), 1, at(0)), Some(1));
        }
        assert_eq!(warnings.count(&id(5_000), 1, at(9)), None);
        assert_eq!(warnings.count(&id(5_000), 1, at(10)), Some(1));
        assert_eq!(warnings.0.len(), 1);
    }
}
