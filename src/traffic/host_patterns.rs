//! Virtual hosts whose name is a pattern, asked for hosts that no exact name has.
//!
//! | tier      | example      | matches                                       | among several                |
//! |-----------|--------------|-----------------------------------------------|------------------------------|
//! | one label | `*.x.test`   | `a.x.test`, not `x.test`, not `a.b.x.test`    | one at most                  |
//! | suffix    | `**.x.test`  | `a.x.test` and `a.b.x.test`, not `x.test`     | the longest                  |
//! | regex     |              | whole hosts, in lower case                    | the one that was declared first |
//! | any       |              | every host, addresses and none as well        | one at most                  |
//!
//! The first tier that knows a host decides: a request that none of its rules matches does not fall through
//! to a wider pattern, which may be another tenant's.

use std::sync::Arc;

use ringway_model::{HostPattern, Hostname};

use crate::pattern::Pattern;
use crate::snapshot::{Map, map};
use crate::virtual_host::VirtualHost;

/// Virtual hosts with a pattern. Persistent: a copy shares all entries.
#[derive(Clone, Debug)]
pub(crate) struct HostPatterns {
    one_label: Map<Hostname, Arc<VirtualHost>>,
    suffixes: Map<Hostname, Arc<VirtualHost>>,
    /// In the order of their declaration.
    regexes: Arc<[RegexHost]>,
    any: Option<Arc<VirtualHost>>,
}

#[derive(Clone, Debug)]
struct RegexHost {
    order: u32,
    pattern: Arc<Pattern>,
    host: Arc<VirtualHost>,
}

impl Default for HostPatterns {
    fn default() -> Self {
        Self { one_label: map(), suffixes: map(), regexes: [].into(), any: None }
    }
}

impl HostPatterns {
    /// Finds the host of a request that no exact name has.
    #[cold]
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<VirtualHost>> {
        let mut parent = host.split_once('.').map(|(_, parent)| parent);
        if let Some(found) = parent.and_then(|parent| self.one_label.get(parent)) {
            return Some(found);
        }
        if !self.suffixes.is_empty() {
            // At most one lookup for each of 127 labels.
            while let Some(suffix) = parent {
                if let Some(found) = self.suffixes.get(suffix) {
                    return Some(found);
                }
                parent = suffix.split_once('.').map(|(_, parent)| parent);
            }
        }
        let matches = |entry: &&RegexHost| entry.pattern.is_match(host.as_bytes());
        self.regexes.iter().find(matches).map(|entry| &entry.host).or(self.any.as_ref())
    }

    /// The virtual host with this pattern.
    pub(crate) fn get(&self, pattern: &HostPattern) -> Option<&Arc<VirtualHost>> {
        match pattern {
            HostPattern::Exact(_) => None,
            HostPattern::OneLabel(parent) => self.one_label.get(parent),
            HostPattern::Suffix(parent) => self.suffixes.get(parent),
            HostPattern::Regex(text) => {
                self.regexes.iter().find(|entry| entry.pattern.as_str() == &**text).map(|entry| &entry.host)
            }
            HostPattern::Any => self.any.as_ref(),
        }
    }

    /// Adds or replaces a virtual host. `regex` is the compiled pattern of a host that is one, and the
    /// position at which that was declared.
    pub(crate) fn put(&mut self, host: Arc<VirtualHost>, regex: Option<(Arc<Pattern>, u32)>) {
        match (&host.host, regex) {
            (HostPattern::OneLabel(parent), _) => self.one_label.insert_mut(parent.clone(), host),
            (HostPattern::Suffix(parent), _) => self.suffixes.insert_mut(parent.clone(), host),
            (HostPattern::Any, _) => self.any = Some(host),
            (HostPattern::Regex(_), Some((pattern, order))) => {
                let others = self.regexes.iter().filter(|entry| entry.pattern != pattern).cloned();
                let mut regexes: Vec<_> = others.collect();
                let at = regexes.partition_point(|entry| entry.order <= order);
                regexes.insert(at, RegexHost { order, pattern, host });
                self.regexes = regexes.into();
            }
            (HostPattern::Exact(_), _) | (HostPattern::Regex(_), None) => {}
        }
    }

    /// Removes the virtual host with this pattern.
    pub(crate) fn remove(&mut self, pattern: &HostPattern) {
        match pattern {
            HostPattern::Exact(_) => {}
            HostPattern::OneLabel(parent) => drop(self.one_label.remove_mut(parent)),
            HostPattern::Suffix(parent) => drop(self.suffixes.remove_mut(parent)),
            HostPattern::Any => self.any = None,
            HostPattern::Regex(text) => {
                let is_other = |entry: &&RegexHost| entry.pattern.as_str() != &**text;
                self.regexes = self.regexes.iter().filter(is_other).cloned().collect();
            }
        }
    }

    /// All of them, tier by tier.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        let regexes = self.regexes.iter().map(|entry| &entry.host);
        self.one_label.values().chain(self.suffixes.values()).chain(regexes).chain(&self.any)
    }

    /// Number of them.
    pub(crate) fn len(&self) -> usize {
        self.one_label.size() + self.suffixes.size() + self.regexes.len() + usize::from(self.any.is_some())
    }
}

#[cfg(test)]
#[path = "host_patterns_tests.rs"]
mod tests;
