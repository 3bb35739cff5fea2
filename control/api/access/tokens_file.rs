//! File of named tokens: one line each, with scopes and the digest of the secret.
//!
//! ```text
//! # name   scopes         digest                expires (UTC)
//! grafana  read           sha256:9f86d081884c…
//! ci       apply          sha256:60303ae22b99…  2027-06-30
//! deploy   read,register  sha256:fd61a03af4f7…  2027-06-30T12:00:00Z
//! acme     purge          sha256:2c26b46b68ff…  tenant=acme
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway_model::{TenantId, Timestamp};
use ringway_net::clock;

use super::{Scopes, TokenDigest};
use crate::limits::{TOKEN_NAME_BYTES_MAX, TOKENS_FILE_BYTES_MAX, TOKENS_MAX};

/// Named token.
#[derive(Clone, Debug)]
pub struct NamedToken {
    /// Name, for the audit log.
    pub name: Arc<str>,
    /// Permissions.
    pub scopes: Scopes,
    /// Digest of the secret.
    pub digest: TokenDigest,
    /// First moment at which it is not accepted.
    pub expires: Option<Timestamp>,
    /// The only tenant whose cache it may see and purge.
    pub tenant: Option<TenantId>,
}

impl NamedToken {
    /// Draws a secret of 256 bits. Returns it, and the token that is to be in the file.
    ///
    /// # Errors
    /// [`TokensLineError::Name`], [`TokensLineError::Expiry`], [`TokensLineError::Expired`],
    /// [`TokensLineError::Tenant`] or [`TokensLineError::TenantScope`], and
    /// [`TokensLineError::Random`] when the
    /// system's random number generator fails.
    pub fn create(
        name: &str,
        scopes: Scopes,
        expires: Option<&str>,
        tenant: Option<&str>,
    ) -> Result<(String, Self), TokensLineError> {
        let name = parse_name(name)?.into();
        let tenant = tenant.map(|text| parse_tenant(text, scopes)).transpose()?;
        let expires = expires.map(|text| parse_expiry(text).ok_or(TokensLineError::Expiry)).transpose()?;
        if expires.is_some_and(|at| at <= clock::timestamp()) {
            return Err(TokensLineError::Expired);
        }
        let mut bytes = [0_u8; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TokensLineError::Random)?;
        let mut secret = SECRET_PREFIX.to_owned();
        secret.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
        let digest = TokenDigest::of(secret.as_bytes());
        Ok((secret, Self { name, scopes, digest, expires, tenant }))
    }

    /// Formats its line of the file.
    pub fn line(&self) -> String {
        let expires = self.expires.map(|at| format!(" {}", at.to_rfc3339())).unwrap_or_default();
        let tenant =
            self.tenant.as_ref().map(|tenant| format!(" {TENANT_PREFIX}{tenant}")).unwrap_or_default();
        format!("{} {} {}{expires}{tenant}", self.name, self.scopes, self.digest)
    }
}

/// Beginning of secrets, by which scanners of repositories recognise them.
const SECRET_PREFIX: &str = "rwt_";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// Tokens of a file.
#[derive(Clone, Debug, Default)]
pub struct TokenSet(Vec<NamedToken>);

impl TokenSet {
    /// Parses the text of a file. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// The first wrong line; nothing of it is repeated.
    pub fn parse(text: &str) -> Result<Self, TokensFileError> {
        let mut tokens: Vec<NamedToken> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |error| TokensFileError::Line { line: index + 1, error };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = parse_line(line).map_err(wrong)?;
            if tokens.len() == TOKENS_MAX {
                return Err(wrong(TokensLineError::TooMany));
            }
            if tokens.iter().any(|known| known.name == token.name) {
                return Err(wrong(TokensLineError::SameName));
            }
            if tokens.iter().any(|known| known.digest.matches(&token.digest)) {
                return Err(wrong(TokensLineError::SameSecret));
            }
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// Finds the token with this digest. Compares with all of them, in constant time each.
    pub(crate) fn find(&self, given: &TokenDigest) -> Option<&NamedToken> {
        self.0.iter().fold(None, |found, token| if token.digest.matches(given) { Some(token) } else { found })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_line(line: &str) -> Result<NamedToken, TokensLineError> {
    let mut words = line.split_ascii_whitespace();
    let name = parse_name(words.next().unwrap_or_default())?;
    let scopes = words.next().and_then(Scopes::parse).ok_or(TokensLineError::Scopes)?;
    let digest = words.next().and_then(TokenDigest::parse).ok_or(TokensLineError::Digest)?;
    let mut token = NamedToken { name: name.into(), scopes, digest, expires: None, tenant: None };
    for word in words {
        match word.strip_prefix(TENANT_PREFIX) {
            Some(id) if token.tenant.is_none() => token.tenant = Some(parse_tenant(id, scopes)?),
            None if token.expires.is_none() && token.tenant.is_none() => {
                token.expires = Some(parse_expiry(word).ok_or(TokensLineError::Expiry)?);
            }
            _ => return Err(TokensLineError::TooLong),
        }
    }
    Ok(token)
}

/// Word before the id of a token's tenant.
const TENANT_PREFIX: &str = "tenant=";

/// Parses the tenant of a token. All else than its cache concerns others, too.
fn parse_tenant(id: &str, scopes: Scopes) -> Result<TenantId, TokensLineError> {
    if scopes != Scopes::PURGE {
        return Err(TokensLineError::TenantScope);
    }
    TenantId::parse(id).map_err(|_| TokensLineError::Tenant)
}

fn parse_name(name: &str) -> Result<&str, TokensLineError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    match !name.is_empty() && name.len() <= TOKEN_NAME_BYTES_MAX && name.bytes().all(is_plain) {
        true => Ok(name),
        false => Err(TokensLineError::Name),
    }
}

/// Parses `2027-06-30`, through which a token is valid, or `2027-06-30T12:00:00Z`.
fn parse_expiry(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time.strip_suffix('Z')?)),
        None => (text, None),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let seconds = match time {
        None => 86_400,
        Some(time) => {
            let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
            (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)?
        }
    };
    if year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Days since 1970-01-01; years begin on 1 March, so that the leap day is the last of its year.
    let (shifted, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (153 * month_from_march + 2) / 5 + day
            - 1
            - 719_468;
    let midnight = Timestamp(days * 86_400_000);
    // A day that the month does not have falls into the next one.
    let civil = midnight.civil();
    let is_real = (u64::from(civil.month), u64::from(civil.day)) == (month, day);
    is_real.then_some(Timestamp(midnight.0 + seconds * 1000))
}

/// Parses three numbers with exactly these counts of digits.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut found = [0; 3];
    let mut parts = text.split(separator);
    for (number, count) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != count || !part.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// A file of tokens and its content.
#[derive(Clone, Debug)]
pub struct TokensFile {
    path: PathBuf,
    tokens: TokenSet,
    stamp: Stamp,
}

/// Identity of a file's content, as the system reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Reads the stamp of the file at a path.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|meta| Self::of(&meta))
    }

    fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl TokensFile {
    /// Reads a file. Blocks.
    ///
    /// # Errors
    /// See [`TokensFileError`].
    pub fn open(path: &Path) -> Result<Self, TokensFileError> {
        let meta = fs::metadata(path).map_err(|error| TokensFileError::Read(error.kind()))?;
        if meta.mode() & 0o002 != 0 && meta.is_file() {
            return Err(TokensFileError::WritableByAll);
        }
        if meta.len() > TOKENS_FILE_BYTES_MAX {
            return Err(TokensFileError::TooLarge);
        }
        let text = fs::read_to_string(path).map_err(|error| TokensFileError::Read(error.kind()))?;
        // Of the time before the read: a change during it is read once more.
        Ok(Self { path: path.to_owned(), tokens: TokenSet::parse(&text)?, stamp: Stamp::of(&meta) })
    }

    /// Reads the file if it has changed. Blocks.
    ///
    /// # Errors
    /// As [`TokensFile::open`].
    pub(crate) fn reopen(path: &Path, known: Stamp) -> Result<Option<Self>, TokensFileError> {
        match Stamp::read(path) {
            Ok(stamp) if stamp == known => Ok(None),
            _ => Self::open(path).map(Some),
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its tokens.
    pub fn tokens(&self) -> &TokenSet {
        &self.tokens
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }
}

/// Error of a file of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokensFileError {
    /// It cannot be read.
    Read(io::ErrorKind),
    /// It has more than `TOKENS_FILE_BYTES_MAX` bytes.
    TooLarge,
    /// Every user of the machine may write it.
    WritableByAll,
    /// A line, counted from 1, is wrong.
    Line {
        /// Number of the line.
        line: usize,
        /// Mistake.
        error: TokensLineError,
    },
}

/// Mistake in a line of a file of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokensLineError {
    /// Missing or invalid name.
    Name,
    /// Missing or unknown scopes.
    Scopes,
    /// Missing or malformed digest.
    Digest,
    /// Malformed time.
    Expiry,
    /// The time of a token to be created has passed.
    Expired,
    /// More than a name, scopes, a digest, a time and a tenant.
    TooLong,
    /// Invalid id of a tenant.
    Tenant,
    /// A tenant beside other scopes than `purge`.
    TenantScope,
    /// A name that an earlier line has.
    SameName,
    /// A digest that an earlier line has.
    SameSecret,
    /// More than `TOKENS_MAX` tokens.
    TooMany,
    /// The system's random number generator failed.
    Random,
}

impl fmt::Display for TokensFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(kind) => write!(f, "cannot read it: {kind}"),
            Self::TooLarge => write!(f, "it has more than {TOKENS_FILE_BYTES_MAX} bytes"),
            Self::WritableByAll => f.write_str("every user may write it; remove that permission (chmod o-w)"),
            Self::Line { line, error } => write!(f, "line {line}: {error}"),
        }
    }
}

impl fmt::Display for TokensLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                f,
                "the name must have 1 to {TOKEN_NAME_BYTES_MAX} letters, digits, dots, dashes, underscores or @"
            ),
            Self::Scopes => f.write_str(
                "the scopes must be read, register, purge, apply or admin, with commas between them",
            ),
            Self::Digest => f.write_str(
                "the digest must be sha256: and 64 hexadecimal digits; `ringway token create` makes the line",
            ),
            Self::Expiry => f.write_str("the time must be like 2027-06-30 or 2027-06-30T12:00:00Z"),
            Self::Expired => f.write_str("the time has passed: the token would never be accepted"),
            Self::TooLong => f.write_str(
                "a line has a name, scopes, a digest, a time of expiry and tenant=ID, nothing else",
            ),
            Self::Tenant => f.write_str("tenant= must have the id of a tenant"),
            Self::TenantScope => f.write_str("a token of a tenant has the scope purge alone"),
            Self::SameName => f.write_str("an earlier line has the same name"),
            Self::SameSecret => f.write_str("an earlier line has the same digest"),
            Self::Random => f.write_str("the system's random number generator failed"),
            Self::TooMany => write!(f, "there may be at most {TOKENS_MAX} tokens"),
        }
    }
}

impl std::error::Error for TokensFileError {}

impl std::error::Error for TokensLineError {}

#[cfg(test)]
#[path = "tokens_file_tests.rs"]
mod tests;
