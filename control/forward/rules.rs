//! The rules from their sources: files of lists and of users.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ahash::RandomState;
use ringway_forward::{DomainList, Policy, PolicyError, SuffixKey, Users, limits, parse_list};
use ringway_middleware::{Credentials, LineError};
use ringway_model::{DomainListSpec, ForwardSpec, ListAction, ListFormat, ListSource};
use ringway_traffic::rate_limit::RateLimitTable;

/// Failure to make the rules.
#[derive(Debug)]
pub enum LoadError {
    /// The configuration cannot be compiled.
    Policy(PolicyError),
    /// A file cannot be read.
    File(PathBuf, io::Error),
    /// A file is too large.
    Size(PathBuf),
    /// A line of the file of users.
    Users(PathBuf, LineError),
    /// A list lost more than half of its rules: perhaps its file is incomplete.
    Loss {
        /// The list.
        list: Arc<str>,
        /// Rules in force.
        before: usize,
        /// Rules of the file.
        after: usize,
    },
    /// There is no list of this name.
    NoList(Arc<str>),
}

/// State of a file as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    modified: Option<SystemTime>,
    len: u64,
}

/// Whether a list may lose most of its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Refused,
    Allowed,
}

/// A list as it was loaded.
struct Loaded {
    spec: DomainListSpec,
    action: ListAction,
    mark: Option<Mark>,
    list: Arc<DomainList>,
}

/// Loader of the rules, with what is in force.
pub(crate) struct Rules {
    key: SuffixKey,
    table: Arc<RateLimitTable>,
    own_ports: Vec<u16>,
    revision: u64,
    lists: HashMap<Arc<str>, Loaded, RandomState>,
    users: Option<(PathBuf, Mark, Users)>,
}

impl Rules {
    pub(crate) fn new(own_ports: Vec<u16>) -> Self {
        Self {
            key: SuffixKey::random(),
            table: Arc::default(),
            own_ports,
            revision: 0,
            lists: HashMap::default(),
            users: None,
        }
    }

    /// Makes a policy: files that have not changed since they were read are not read again. Seconds for long
    /// lists.
    pub(crate) fn make(&mut self, spec: &Arc<ForwardSpec>, loss: Loss) -> Result<Policy, LoadError> {
        Policy::check_spec(spec).map_err(LoadError::Policy)?;
        let mut loaded = Vec::with_capacity(spec.lists.len());
        for list in &spec.lists {
            loaded.push(self.load(spec, list, loss)?);
        }
        let users = match &spec.auth {
            Some(auth) => Some(self.load_users(&auth.users_file)?),
            None => None,
        };
        let lists = loaded.iter().map(|loaded| loaded.list.clone()).collect();
        let of_users = users.as_ref().map(|(.., users)| users.clone());
        let own = (self.revision + 1, &self.own_ports[..], &self.table);
        let policy = Policy::compile(spec, lists, of_users, &self.key, own).map_err(LoadError::Policy)?;
        self.revision += 1;
        self.lists = loaded.into_iter().map(|loaded| (loaded.spec.name.clone(), loaded)).collect();
        self.users = users;
        Ok(policy)
    }

    /// Whether a file has changed since it was read.
    pub(crate) fn is_outdated(&self) -> bool {
        let is_new = |path: &Path, mark: Mark| mark_of(path).is_ok_and(|now| now != mark);
        self.users.as_ref().is_some_and(|(path, mark, _)| is_new(path, *mark))
            || self.lists.values().any(|loaded| match (&loaded.spec.source, loaded.mark) {
                (ListSource::File { path, .. }, Some(mark)) => is_new(path, mark),
                _ => false,
            })
    }

    /// Has a list read again, whatever its file's state.
    pub(crate) fn forget(&mut self, list: &str) -> Result<(), LoadError> {
        let loaded = self.lists.get_mut(list).ok_or_else(|| LoadError::NoList(list.into()))?;
        loaded.mark = None;
        Ok(())
    }

    fn load(&self, spec: &ForwardSpec, list: &DomainListSpec, loss: Loss) -> Result<Loaded, LoadError> {
        let action = Policy::action(spec, list);
        let known = self.lists.get(&list.name).filter(|known| known.spec == *list && known.action == action);
        let (text, format, mark) = match &list.source {
            ListSource::Domains(domains) => {
                if let Some(known) = known {
                    return Ok(known.copy());
                }
                (domains.iter().map(|domain| format!("{domain}\n")).collect(), ListFormat::Plain, None)
            }
            ListSource::File { path, format } => {
                let mark = mark_of(path).map_err(|error| LoadError::File(path.clone(), error))?;
                if let Some(known) = known.filter(|known| known.mark == Some(mark)) {
                    return Ok(known.copy());
                }
                (read(path, limits::LIST_BYTES_MAX)?, *format, Some(mark))
            }
        };
        let parsed = parse_list(&list.name, &text, format, action, &self.key);
        let (before, after) = (known.map_or(0, |known| known.list.set.len()), parsed.set.len());
        if loss == Loss::Refused && after < before / limits::LIST_LOSS_DIVISOR {
            return Err(LoadError::Loss { list: list.name.clone(), before, after });
        }
        tracing::info!(list = %list.name, rules = after, other_lines = parsed.counts.other, "list of the forward proxy loaded");
        if parsed.counts.beyond > 0 {
            tracing::warn!(list = %list.name, beyond = parsed.counts.beyond, "list is too long; the last rules are ignored");
        }
        Ok(Loaded { spec: list.clone(), action, mark, list: Arc::new(parsed) })
    }

    fn load_users(&self, path: &Path) -> Result<(PathBuf, Mark, Users), LoadError> {
        let mark = mark_of(path).map_err(|error| LoadError::File(path.into(), error))?;
        if let Some(known) = self.users.as_ref().filter(|(of, known, _)| of == path && *known == mark) {
            return Ok(known.clone());
        }
        let text = read(path, limits::USERS_BYTES_MAX)?;
        let users =
            ringway_middleware::Users::parse(&text).map_err(|error| LoadError::Users(path.into(), error))?;
        tracing::info!(users = users.len(), "users of the forward proxy loaded");
        Ok((path.into(), mark, Arc::new(Credentials::Users(users))))
    }
}

impl Loaded {
    fn copy(&self) -> Self {
        Self { spec: self.spec.clone(), action: self.action, mark: self.mark, list: self.list.clone() }
    }
}

fn mark_of(path: &Path) -> io::Result<Mark> {
    let metadata = fs::metadata(path)?;
    Ok(Mark { modified: metadata.modified().ok(), len: metadata.len() })
}

/// Reads a text; bytes that are no UTF-8 become replacement characters, which are in no rule.
fn read(path: &Path, bytes_max: u64) -> Result<String, LoadError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
        .map_err(|error| LoadError::File(path.into(), error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(LoadError::Size(path.into()));
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            Self::Size(path) => write!(f, "{} is too large", path.display()),
            Self::Users(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Loss { list, before, after } => {
                write!(
                    f,
                    "the list {list} would shrink from {before} to {after} rules; reload it with force if that is right"
                )
            }
            Self::NoList(name) => write!(f, "there is no list {name}"),
        }
    }
}

impl std::error::Error for LoadError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_forward::Host;

    fn spec(path: &Path) -> Arc<ForwardSpec> {
        let source = ListSource::File { path: path.into(), format: ListFormat::Plain };
        Arc::new(ForwardSpec {
            allow_clients: vec!["127.0.0.0/8".parse().unwrap()],
            lists: vec![DomainListSpec { name: "own".into(), action: None, source }],
            ..ForwardSpec::default()
        })
    }

    #[test]
    fn a_list_is_read_again_when_its_file_changes_and_may_not_lose_most_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let spec = spec(&path);
        let mut rules = Rules::new(Vec::new());
        assert!(matches!(rules.make(&spec, Loss::Refused), Err(LoadError::File(..))));
        fs::write(&path, "a.example\nb.example\nc.example\nd.example\n").unwrap();
        let first = rules.make(&spec, Loss::Refused).unwrap();
        let blocks = |policy: &Policy, host| policy.check_lists(&Host::Name(host)).is_err();
        assert!(blocks(&first, "a.example") && !blocks(&first, "e.example"));
        assert!(!rules.is_outdated());
        fs::write(&path, "e.example\n").unwrap();
        assert!(rules.is_outdated());
        let loss = rules.make(&spec, Loss::Refused);
        assert!(matches!(loss, Err(LoadError::Loss { before: 4, after: 1, .. })), "{loss:?}");
        let second = rules.make(&spec, Loss::Allowed).unwrap();
        assert!(blocks(&second, "e.example") && !blocks(&second, "a.example"));
        assert!(second.revision > first.revision);
        assert!(!rules.is_outdated());
        assert!(rules.forget("other").is_err());
    }
}
