//! Lists of domains: their text, and the lookup of a host in all of them.

use std::fmt;
use std::sync::Arc;

use ringway_model::{ListAction, ListFormat};

use crate::domain_set::{DomainSet, Rules, SuffixKey, suffixes};
use crate::limits;

/// List of domains, ready for lookups.
#[derive(Debug)]
pub struct DomainList {
    /// Its name.
    pub name: Arc<str>,
    /// Its rules.
    pub set: DomainSet,
    /// Lines of its text.
    pub counts: ListCounts,
}

/// Lines of a list's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListCounts {
    /// Rules, each of which may name a domain that another one names.
    pub rules: usize,
    /// Empty lines and comments.
    pub comments: usize,
    /// Lines that say something else, and are ignored.
    pub other: usize,
    /// Rules beyond the most that a list may have.
    pub beyond: usize,
}

/// Rule that decides about a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its list.
    pub list: &'a Arc<str>,
    /// Its domain: the host, or a parent of it.
    pub domain: &'a str,
    /// Its action.
    pub action: ListAction,
}

/// Reads a list. Two passes over the text; 0.1 to 0.5 s for a million rules: not on a thread that others wait
/// for.
pub fn parse_list(
    name: &Arc<str>,
    text: &str,
    format: ListFormat,
    action: ListAction,
    key: &SuffixKey,
) -> DomainList {
    let mut counts = ListCounts::default();
    let count = entries(text, format, action, |_, _| {}, &mut counts);
    let mut names = Vec::new();
    // Names in one block: a million allocations would cost more than all the rest.
    let mut block = String::new();
    entries(
        text,
        format,
        action,
        |domain, rules| {
            if names.len() < limits::LIST_RULES_MAX {
                let start = block.len();
                block.push_str(domain);
                names.push((start, block.len(), rules));
            }
        },
        &mut ListCounts::default(),
    );
    counts.beyond = count.saturating_sub(limits::LIST_RULES_MAX);
    let rules = names.iter().map(|(start, end, rules)| (&block[*start..*end], *rules));
    let set = DomainSet::build(key, rules, names.len());
    DomainList { name: name.clone(), set, counts }
}

/// Finds the rule for a host in all lists: that with the longest domain, block before allow. About 250 ns for
/// each list of a million.
pub(crate) fn find<'a>(key: &SuffixKey, lists: &'a [Arc<DomainList>], host: &'a str) -> Option<Found<'a>> {
    for (suffix, labels) in suffixes(host) {
        if !lists.iter().any(|list| list.set.may_have(labels)) {
            continue;
        }
        let (hash, is_host) = (key.hash(suffix.as_bytes()), suffix.len() == host.len());
        let mut found: Option<Found<'a>> = None;
        for list in lists {
            let rules = list.set.get(hash);
            let action = if is_host { rules.of_domain() } else { rules.of_subdomain() };
            let Some(action) = action else { continue };
            if found.is_none_or(|found| found.action == ListAction::Allow && action == ListAction::Block) {
                found = Some(Found { list: &list.name, domain: suffix, action });
            }
        }
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Passes all rules of a text to `each`; returns their number.
fn entries(
    text: &str,
    format: ListFormat,
    action: ListAction,
    mut each: impl FnMut(&str, Rules),
    counts: &mut ListCounts,
) -> usize {
    let mut lower = String::new();
    let mut emit = |domain: &str, rules| match normal(domain, &mut lower) {
        Some(domain) => {
            each(domain, rules);
            true
        }
        None => false,
    };
    for line in text.lines() {
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{feff}');
        if line.is_empty() || is_comment(line, format) {
            counts.comments += 1;
            continue;
        }
        let before = counts.rules;
        match format {
            ListFormat::Plain => {
                let line = line.split('#').next().unwrap_or_default().trim();
                let (domain, rules) = plain(line, action);
                counts.rules += usize::from(emit(domain, rules));
            }
            ListFormat::Hosts => {
                let line = line.split('#').next().unwrap_or_default();
                let mut words = line.split_ascii_whitespace();
                let is_address = words.next().is_some_and(|word| word.parse::<std::net::IpAddr>().is_ok());
                // Names of the machine itself have one label.
                for name in words.filter(|name| is_address && name.contains('.')) {
                    counts.rules += usize::from(emit(name, Rules::exact(action)));
                }
            }
            ListFormat::Adblock => {
                if let Some((domain, action)) = adblock(line, action) {
                    counts.rules += usize::from(emit(domain, Rules::both(action)));
                }
            }
        }
        counts.other += usize::from(counts.rules == before);
    }
    counts.rules
}

fn is_comment(line: &str, format: ListFormat) -> bool {
    match format {
        ListFormat::Plain | ListFormat::Hosts => line.starts_with('#'),
        ListFormat::Adblock => line.starts_with('!') || line.starts_with('['),
    }
}

/// A line of a plain list: `a.com` itself, `*.a.com` those below, `.a.com` both.
pub(crate) fn plain(line: &str, action: ListAction) -> (&str, Rules) {
    if let Some(domain) = line.strip_prefix("*.") {
        (domain, Rules::below(action))
    } else if let Some(domain) = line.strip_prefix('.') {
        (domain, Rules::both(action))
    } else {
        (line, Rules::exact(action))
    }
}

/// `||a.com^` and `@@||a.com^`, without options: those would mean something else.
fn adblock(line: &str, action: ListAction) -> Option<(&str, ListAction)> {
    let (line, action) = match line.strip_prefix("@@") {
        Some(exception) => (exception, opposite(action)),
        None => (line, action),
    };
    line.strip_prefix("||")?.strip_suffix('^').map(|domain| (domain, action))
}

fn opposite(action: ListAction) -> ListAction {
    match action {
        ListAction::Allow => ListAction::Block,
        ListAction::Block => ListAction::Allow,
    }
}

/// The normal form of a domain, or of an address: lower case, without the trailing dot. `None` for any other
/// text.
pub(crate) fn normal<'b>(text: &str, lower: &'b mut String) -> Option<&'b str> {
    lower.clear();
    let text = text.strip_suffix('.').unwrap_or(text);
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        lower.push_str(&address.to_string());
        return Some(lower);
    }
    if text.is_empty() || text.len() > ringway_model::limits::HOST_BYTES_MAX {
        return None;
    }
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63;
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !text.bytes().all(is_name_byte) || !text.split('.').all(is_label) {
        return None;
    }
    lower.push_str(text);
    lower.make_ascii_lowercase();
    Some(lower)
}

impl fmt::Display for ListCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules, {} other lines, {} beyond the limit", self.rules, self.other, self.beyond)
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
