//! Static values of the configuration, found by their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_config::{Place, StaticValue};

/// Static values of a configuration by their paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statics {
    values: BTreeMap<Arc<str>, StaticValue>,
}

/// Value at a key: a scalar, or the items of a list with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) text: String,
    /// Place of the value, or of the first item.
    pub(crate) place: Place,
}

impl Statics {
    /// The static values of a document.
    pub(crate) fn new(values: &[StaticValue]) -> Self {
        Self { values: values.iter().map(|value| (value.path.clone(), value.clone())).collect() }
    }

    /// Returns the value at a key.
    pub(crate) fn get(&self, path: &str) -> Option<Found> {
        if let Some(value) = self.values.get(path) {
            return Some(Found { text: value.value.to_string(), place: value.place.clone() });
        }
        let items = || (0..).map_while(|at| self.values.get(&*format!("{path}/{at}")));
        let place = items().next()?.place.clone();
        let texts: Vec<&str> = items().map(|value| &*value.value).collect();
        Some(Found { text: texts.join(","), place })
    }

    /// Place of the first value below a path.
    pub(crate) fn place_below(&self, path: &str) -> Option<&Place> {
        let below = self
            .values
            .values()
            .filter(|value| value.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
        below.map(|value| &value.place).min()
    }

    /// Takes the value at a key from another one; false when that is absent.
    pub(crate) fn redirect(&mut self, path: &str, other: &str) -> bool {
        let Some(value) = self.values.get(other).cloned() else { return false };
        self.values.insert(path.into(), value);
        true
    }

    /// Removes the value at a key.
    pub(crate) fn remove(&mut self, path: &str) {
        self.values.remove(path);
    }

    /// Number of items of a list of objects.
    pub(crate) fn count(&self, list: &str) -> usize {
        (0..).take_while(|at| self.place_below(&format!("{list}/{at}")).is_some()).count()
    }
}

#[cfg(test)]
#[path = "statics_tests.rs"]
pub(crate) mod tests;
