//! Probation: a version that is not proven must survive its first minute after a start.
//!
//! ```text
//!  start ── version not proven ──► count the start, in a file of the store ── a minute ──► proven, forgotten
//!    │                                  └── crash: the next start counts again
//!    └── counted twice before ──► refused: the last proven version serves
//! ```
//! The same file holds the versions that a trial reverted: a start does not bring them back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ringway_model::{Owner, SetVersion};

/// Starts with versions that are not proven, and refused versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probation {
    /// The file; none for a store without files.
    path: Option<PathBuf>,
    records: BTreeMap<Owner, Record>,
}

/// State of an owner's version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    version: SetVersion,
    standing: Standing,
}

/// Standing of a version at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It serves. The number of starts that it has not survived so far, this one included; 0 when it is
    /// proven.
    Serves(u32),
    /// It must not serve.
    Refused(Refused),
}

/// Reason why a version must not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The process crashed with it, twice in its first minute.
    Crashed,
    /// It was reverted on trial.
    Reverted,
}

impl Probation {
    /// Reads the file in the folder of a store. One that cannot be read counts as empty.
    pub(crate) fn open(store: Option<&Path>) -> Self {
        let Some(path) = store.map(|folder| folder.join(FILE)) else { return Self::default() };
        let records = match fs::read_to_string(&path) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "probation file unreadable; no version is on probation");
                BTreeMap::new()
            }
        };
        Self { path: Some(path), records }
    }

    /// Counts a start with a version, and returns whether it may serve.
    pub(crate) fn begin(&mut self, owner: &Owner, version: &SetVersion, is_proven: bool) -> Standing {
        let known = self.records.get(owner).filter(|record| record.version == *version);
        let standing = match known.map(|record| record.standing) {
            Some(Standing::Refused(why)) => Standing::Refused(why),
            _ if is_proven => Standing::Serves(0),
            Some(Standing::Serves(starts)) if starts >= CRASHES_MAX => Standing::Refused(Refused::Crashed),
            Some(Standing::Serves(starts)) => Standing::Serves(starts + 1),
            None => Standing::Serves(1),
        };
        self.set(owner, version, standing);
        standing
    }

    /// Records that a version was reverted on trial.
    pub(crate) fn refuse(&mut self, owner: &Owner, version: &SetVersion) {
        self.set(owner, version, Standing::Refused(Refused::Reverted));
    }

    /// Forgets an owner's version: it is proven, or another one was stored. Returns whether that is a change.
    pub(crate) fn forget(&mut self, owner: &Owner) -> bool {
        self.records.remove(owner).is_some()
    }

    /// Forgets the counted starts at an orderly end. Returns whether that is a change.
    pub(crate) fn handle_end(&mut self) -> bool {
        let before = self.records.len();
        self.records.retain(|_, record| matches!(record.standing, Standing::Refused(_)));
        self.records.len() < before
    }

    /// The refused version of an owner.
    pub(crate) fn refused(&self, owner: &Owner) -> Option<(&SetVersion, Refused)> {
        let record = self.records.get(owner)?;
        match record.standing {
            Standing::Refused(why) => Some((&record.version, why)),
            Standing::Serves(_) => None,
        }
    }

    /// One sentence for each version that is refused because the process crashed with it.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let crashed = |record: &&Record| record.standing == Standing::Refused(Refused::Crashed);
        let crashed = self.records.iter().filter(move |(_, record)| crashed(record));
        crashed.map(|(owner, Record { version, .. })| {
            format!(
                "version {version} of owner {owner} is refused: the process crashed with it twice in its first \
                 minute; the last proven version serves. Change the configuration, or apply it explicitly"
            )
        })
    }

    /// Replaces the file, or removes it when there is nothing to record.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.records.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let mut text = String::new();
        for (owner, Record { version, standing }) in &self.records {
            let standing = match standing {
                Standing::Serves(starts) => format!("starts {starts}"),
                Standing::Refused(Refused::Crashed) => "crashed".to_owned(),
                Standing::Refused(Refused::Reverted) => "reverted".to_owned(),
            };
            let _ = writeln!(text, "{owner} {version} {standing}");
        }
        let new = path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    fn set(&mut self, owner: &Owner, version: &SetVersion, standing: Standing) {
        match standing {
            Standing::Serves(0) => _ = self.records.remove(owner),
            _ => _ = self.records.insert(owner.clone(), Record { version: version.clone(), standing }),
        }
    }
}

/// Reads lines `OWNER VERSION STANDING`; others are ignored.
fn parse(text: &str) -> BTreeMap<Owner, Record> {
    let record = |line: &str| {
        let mut words = line.split(' ');
        let owner = Owner::parse(words.next()?).ok()?;
        let version = SetVersion::parse(words.next()?)?;
        let standing = match (words.next()?, words.next()) {
            ("starts", Some(starts)) => Standing::Serves(starts.parse().ok()?),
            ("crashed", None) => Standing::Refused(Refused::Crashed),
            ("reverted", None) => Standing::Refused(Refused::Reverted),
            _ => return None,
        };
        Some((owner, Record { version, standing }))
    };
    text.lines().take(LINES_MAX).filter_map(record).collect()
}

const FILE: &str = "probation";
/// Starts that a version may fail to survive.
const CRASHES_MAX: u32 = 2;
/// Lines of the file that are read: there is one for each owner.
const LINES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn version(digit: char) -> SetVersion {
        SetVersion::parse(&digit.to_string().repeat(SetVersion::DIGITS)).unwrap()
    }

    fn crash(store: &Path, digit: char) -> Standing {
        let mut probation = Probation::open(Some(store));
        let standing = probation.begin(&Owner::File, &version(digit), false);
        probation.save().unwrap();
        standing
    }

    #[test]
    fn the_third_start_after_two_crashes_refuses_the_version() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        assert_eq!(crash(store, 'a'), Standing::Serves(1));
        assert_eq!(crash(store, 'a'), Standing::Serves(2));
        let refused = Standing::Refused(Refused::Crashed);
        assert_eq!(crash(store, 'a'), refused);
        assert_eq!(crash(store, 'a'), refused, "it stays refused");
        let probation = Probation::open(Some(store));
        assert_eq!(probation.refused(&Owner::File), Some((&version('a'), Refused::Crashed)));
        assert_eq!(probation.warnings().count(), 1);
        // Another version begins from nothing.
        assert_eq!(crash(store, 'b'), Standing::Serves(1));
    }

    #[test]
    fn an_orderly_end_and_a_proof_are_no_crashes() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        for _ in 0..5 {
            assert_eq!(crash(store, 'a'), Standing::Serves(1));
            let mut probation = Probation::open(Some(store));
            assert!(probation.handle_end());
            probation.save().unwrap();
            assert!(!folder.path().join(FILE).exists());
        }
        crash(store, 'a');
        let mut probation = Probation::open(Some(store));
        assert_eq!(probation.begin(&Owner::File, &version('a'), true), Standing::Serves(0));
        assert_eq!(probation.records.len(), 0);
    }

    #[test]
    fn a_reverted_version_stays_refused_over_starts_until_another_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        let mut probation = Probation::open(Some(store));
        probation.refuse(&Owner::File, &version('a'));
        assert!(!probation.handle_end(), "not by an orderly end");
        probation.save().unwrap();
        let mut probation = Probation::open(Some(store));
        let standing = probation.begin(&Owner::File, &version('a'), true);
        assert_eq!(standing, Standing::Refused(Refused::Reverted));
        assert!(probation.forget(&Owner::File) && !probation.forget(&Owner::File));
        assert_eq!(probation.begin(&Owner::File, &version('a'), false), Standing::Serves(1));
    }

    #[test]
    fn owners_do_not_affect_each_other_and_a_damaged_file_counts_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        let mut probation = Probation::open(Some(store));
        probation.begin(&Owner::File, &version('a'), false);
        probation.begin(&Owner::Admin, &version('b'), false);
        probation.save().unwrap();
        assert_eq!(Probation::open(Some(store)), probation);
        for damage in [&b"\xff\xfe"[..], b"file\n", b"file xyz starts 1\nadmin aaaaaaaaaaaa starts x\n\n"] {
            fs::write(folder.path().join(FILE), damage).unwrap();
            assert!(Probation::open(Some(store)).records.is_empty());
        }
        assert!(Probation::open(None).save().is_ok(), "a store without files");
    }
}
