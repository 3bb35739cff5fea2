//! Users of basic authentication, and keys of clients: files of lines.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::limits;

/// Names with hashes of passwords.
pub struct Users {
    hashes: HashMap<Box<str>, Arc<str>, ahash::RandomState>,
    /// A hash to verify for unknown names, so that they take as long.
    dummy: Option<Arc<str>>,
}

impl fmt::Debug for Users {
    /// Omits names and hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.hashes.len())
    }
}

/// Keys of clients by their SHA-256.
pub struct ApiKeyTable(HashMap<[u8; 32], Arc<str>, ahash::RandomState>);

impl fmt::Debug for ApiKeyTable {
    /// Omits names and hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyTable({})", self.0.len())
    }
}

/// A line of a file that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Number of the line, from 1.
    pub line: usize,
    /// The reason; never the content.
    pub reason: &'static str,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for LineError {}

impl Users {
    /// Parses lines `name:hash`, with comments from `#` on their own lines.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut hashes = HashMap::default();
        for (line, name, hash) in lines(text) {
            let fail = |reason| Err(LineError { line, reason });
            let Some(hash) = hash else { return fail("must be name:hash") };
            if !is_password_hash(hash) {
                return fail(
                    "must have a hash of bcrypt ($2b$…, cost 4 to 15) or argon2 ($argon2id$…, at most 256 MiB, 16 passes)",
                );
            }
            if hashes.insert(name.into(), Arc::from(hash)).is_some() {
                return fail("has a name that stands above already");
            }
            if hashes.len() > limits::USERS_MAX {
                return fail("is one too many");
            }
        }
        let dummy = hashes.values().next().cloned();
        Ok(Self { hashes, dummy })
    }

    /// The hash of a user's password, or one that no password of theirs has.
    pub(crate) fn hash(&self, name: &str) -> (Option<&Arc<str>>, Option<&Arc<str>>) {
        (self.hashes.get(name), self.dummy.as_ref())
    }

    /// Number of users.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is no user.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl ApiKeyTable {
    /// Parses lines `name:sha256`, 64 hexadecimal digits each.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut keys = HashMap::default();
        for (line, name, hash) in lines(text) {
            let fail = |reason| Err(LineError { line, reason });
            let Some(hash) = hash.and_then(parse_sha256) else {
                return fail("must be name:sha256, with 64 hexadecimal digits");
            };
            if keys.insert(hash, Arc::from(name)).is_some() {
                return fail("has a key that stands above already");
            }
            if keys.len() > limits::USERS_MAX {
                return fail("is one too many");
            }
        }
        Ok(Self(keys))
    }

    /// A table of these names and hashes; wrong ones are left out.
    pub(crate) fn of<'k>(keys: impl Iterator<Item = (&'k Arc<str>, &'k str)>) -> Self {
        Self(keys.filter_map(|(name, hash)| Some((parse_sha256(hash)?, name.clone()))).collect())
    }

    /// Name of a key, by its SHA-256. The lookup may take different times for different hashes, which tells
    /// nothing about keys.
    pub(crate) fn name(&self, sha256: &[u8; 32]) -> Option<&Arc<str>> {
        self.0.get(sha256)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Lines with their number: name, and what follows the colon.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, Option<&str>)> {
    let kept = text.lines().zip(1..).map(|(line, number)| (number, line.trim()));
    kept.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| {
        match line.split_once(':') {
            Some((name, rest)) if !name.is_empty() => (number, name, Some(rest.trim())),
            _ => (number, line, None),
        }
    })
}

/// Whether a text is a hash that is slow to compute, and not so slow that it is an attack by itself.
fn is_password_hash(hash: &str) -> bool {
    let bcrypt = ["$2a$", "$2b$", "$2y$"].into_iter().find_map(|prefix| hash.strip_prefix(prefix));
    if let Some(rest) = bcrypt {
        let cost = rest.split('$').next().and_then(|cost| cost.parse::<u32>().ok());
        return hash.len() == 60 && cost.is_some_and(|cost| (4..=15).contains(&cost));
    }
    is_argon2_hash(hash).unwrap_or(false)
}

/// Whether a text is `$argon2id$v=19$m=MEMORY,t=PASSES,p=LANES$SALT$HASH` with costs within bounds.
fn is_argon2_hash(hash: &str) -> Option<bool> {
    let rest = ["$argon2id$", "$argon2i$"].into_iter().find_map(|prefix| hash.strip_prefix(prefix))?;
    let costs = rest.split('$').find(|part| part.starts_with("m="))?;
    let cost = |name: &str| {
        let mut costs = costs.split(',').filter_map(|cost| cost.split_once('='));
        costs.find(|(known, _)| *known == name)?.1.parse::<u32>().ok()
    };
    let is_bounded = |name, max| Some((1..=max).contains(&cost(name)?));
    Some(
        is_bounded("m", limits::ARGON2_MEMORY_KIB_MAX)?
            && is_bounded("t", limits::ARGON2_PASSES_MAX)?
            && is_bounded("p", limits::ARGON2_LANES_MAX)?
            && hash.len() <= limits::PASSWORD_HASH_BYTES_MAX,
    )
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(hash)
}
