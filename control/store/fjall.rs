//! Store on one machine: fjall, with checks around it.
//!
//! fjall keeps every acknowledged batch through `kill -9`, but does not detect all damage: it may take a
//! damaged journal for a torn end and come up with an older state, or with nothing. All records are therefore
//! checked from outside:
//!
//! ```text
//! <path>/LOCK                    locked while a process uses the directory
//! <path>/HEAD                    the mark of the last acknowledged batch, written after each
//! <path>/live/                   fjall: apps, instances, domains, meta (the mark again, in every batch)
//! <path>/export.jsonl            the last logical export, written periodically and at a clean close
//! <path>/export.previous.jsonl   the export before it
//! <path>/aside/0001/ ...         files in the state in which damage was found, with a report
//! <path>/aside/unchecked/        copy of the files after an unclean stop, until a start has checked the files in use
//! ```
//! Start: after an unclean stop copy `live` to `aside` → open → check all records against checksums, totals
//! and HEAD → drop the copy if everything matches; otherwise recover the best readable records, write them as
//! a new `live`, and report. `unwritable` handles directories that cannot be written, `migrate` stores of an
//! older format.
//!
//! `engine` wraps fjall; `exports`, `compact`, `aside`, `migrate`, `in_use` and `unwritable` have one task
//! each.

mod aside;
mod compact;
mod engine;
mod exports;
mod in_use;
mod migrate;
mod unwritable;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ringway_model::Revision;

use crate::durable::{self, PreparedFile};
use crate::export;
use crate::image::{Image, edits};
use crate::mark::{Mark, MarkRead, SCHEMA, Totals};
use crate::record::{Key, seal_of};
use crate::recovery::{Fallback, Restored, Scan};
use crate::salvage;
use crate::{Batch, Description, Finding, LoadReport, Loaded, Store, StoreError};

use self::aside::Unchecked;
use self::engine::{Engine, OpenError, engine_error, is_system_error, open_and_scan};
use self::exports::ExportState;
use self::unwritable::{Lock, scratch_folders};

/// Store in a directory of the local disk.
///
/// Cost: a commit is one fsynced append to fjall's journal and one fsynced small file; memory is a few MB and
/// the last writes; the journal is one sparse file of 64 MB.
pub struct Fjall {
    path: PathBuf,
    lock: Lock,
    state: State,
    /// The mark of the loaded or last acknowledged state.
    mark: Mark,
    export: ExportState,
    /// Disk usage, cached: measuring it walks through all folders.
    bytes: u64,
    /// The last commit is in the engine and not in HEAD.
    head_behind: bool,
    /// Folders for copies of the engine's files when these cannot be written.
    scratch: Vec<PathBuf>,
}

enum State {
    /// Nothing was read.
    Closed,
    Open(Engine),
    /// A commit failed and the engine was closed; has the writes that undo its traces, and its mark.
    Failed(Vec<(Key, Option<Vec<u8>>)>, Mark),
    /// The recovered records are not written yet; the damaged files are replaced only after they were moved
    /// to `aside`.
    Unrepaired {
        image: Image,
        kept: bool,
    },
    /// The directory cannot be written; has its records.
    Unwritable {
        image: Image,
        why: String,
    },
}

impl Fjall {
    /// Opens a directory, which is created if it does not exist. Nothing is read before [`Store::load`].
    ///
    /// A store in a directory that cannot be written is opened, too: its records are loaded, commits are
    /// refused with [`StoreError::NotWritable`] until it can be written, and [`Store::describe`] warns.
    ///
    /// # Errors
    /// [`StoreError::NotADirectory`]; [`StoreError::Locked`] while another process holds it;
    /// [`StoreError::NotWritable`] when it does not exist and cannot be created, or for another error of the
    /// system.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        if path.exists() && !path.is_dir() {
            return Err(StoreError::NotADirectory { path });
        }
        let lock = Lock::take(&path)?;
        Ok(Self::with(path, lock))
    }

    fn with(path: PathBuf, lock: Lock) -> Self {
        Self {
            path,
            lock,
            state: State::Closed,
            mark: Mark::new(Revision(0), Totals::default()),
            export: ExportState::default(),
            bytes: 0,
            head_behind: false,
            scratch: scratch_folders(),
        }
    }

    /// Simulates a machine without room for temporary files.
    #[cfg(test)]
    pub(crate) fn without_scratch(mut self) -> Self {
        self.scratch.clear();
        self
    }

    fn live(&self) -> PathBuf {
        self.path.join("live")
    }

    fn live_new(&self) -> PathBuf {
        self.path.join("live.new")
    }

    fn live_old(&self) -> PathBuf {
        self.path.join("live.old")
    }

    fn head(&self) -> PathBuf {
        self.path.join("HEAD")
    }

    fn not_writable(&self, path: PathBuf) -> impl FnOnce(io::Error) -> StoreError {
        move |source| StoreError::NotWritable { path, source }
    }

    // --- start ---------------------------------------------------------------------------------------------

    fn start(&mut self) -> Result<Loaded, StoreError> {
        let mut report = LoadReport::default();
        let head = self.read_head()?;
        let started_before = !matches!(head, MarkRead::Missing)
            || self.live().exists()
            || self.exports().iter().any(|path| path.exists());
        // A replacement of `live` was killed between its two renames.
        for left in [self.live_new(), self.live_old()] {
            if !self.live().exists() && left.exists() && started_before {
                fs::rename(&left, self.live()).map_err(self.not_writable(left))?;
            }
        }
        if !started_before {
            self.create(&Image::default(), Revision(0))?;
            return self.open_verified(report);
        }

        let clean = matches!(head, MarkRead::Whole(mark) if mark.clean);
        let mut copy = None;
        if !clean && self.live().exists() {
            report.push(Finding::UncleanStop);
            match self.copy_unchecked() {
                Ok(made) => copy = Some(made),
                Err(error) => report.push(Finding::NotKeptAside { reason: error.to_string() }),
            }
        }
        if let MarkRead::Whole(mark) = head
            && mark.clean
        {
            // A failure shows at every commit; until then the state is that of the clean close.
            let _ = durable::write(&self.head(), &Mark { clean: false, ..mark }.encode());
        }

        let scan = match open_and_scan(&self.live()) {
            Ok((engine, scan)) => {
                if scan.fits(&head) {
                    let marked = scan.mark.expect("a scan without a mark does not fit");
                    self.state = State::Open(engine);
                    self.mark = marked;
                    self.drop_unchecked();
                    report.extend(self.missing_spares(&head));
                    for left in [self.live_old(), self.live_new()] {
                        let _ = fs::remove_dir_all(left);
                    }
                    if marked.schema < SCHEMA {
                        return self.migrate(&scan.image, report);
                    }
                    return Ok(scan.image.load(marked.revision(), report));
                }
                drop(engine);
                scan
            }
            Err(OpenError::System(source)) => {
                return Err(StoreError::NotWritable { path: self.live(), source });
            }
            Err(OpenError::Newer(found)) => {
                return Err(StoreError::NewerSchema { path: self.path.clone(), found, known: SCHEMA });
            }
            Err(OpenError::Damaged(finding)) => Scan { findings: vec![finding], ..Scan::default() },
        };
        Ok(self.recover(&head, scan, copy, report))
    }

    /// Files for a repair that are missing beside whole records: HEAD, and after a clean close the export.
    fn missing_spares(&self, head: &MarkRead) -> LoadReport {
        let [export, _] = self.exports();
        let is_export_missing = matches!(head, MarkRead::Whole(mark) if mark.clean) && !export.exists();
        let missing =
            [matches!(head, MarkRead::Missing).then(|| self.head()), is_export_missing.then_some(export)];
        let mut report = LoadReport::default();
        for path in missing.into_iter().flatten() {
            report.push(Finding::SpareMissing { path });
        }
        report
    }

    fn read_head(&self) -> Result<MarkRead, StoreError> {
        match read_bounded(&self.head()) {
            Ok(bytes) => match Mark::decode(&bytes) {
                MarkRead::Newer(found) => {
                    Err(StoreError::NewerSchema { path: self.path.clone(), found, known: SCHEMA })
                }
                read => Ok(read),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(MarkRead::Missing),
            Err(error) if is_system_error(&error) => {
                Err(StoreError::NotWritable { path: self.head(), source: error })
            }
            Err(_) => Ok(MarkRead::Damaged),
        }
    }

    /// Opens the files that were just written and reads them back.
    fn open_verified(&mut self, report: LoadReport) -> Result<Loaded, StoreError> {
        let (engine, scan) = open_and_scan(&self.live()).map_err(|error| self.reopen_error(error))?;
        let Some(mark) = scan.mark.filter(|_| scan.fits(&MarkRead::Missing)) else {
            return Err(self.diverged(&scan));
        };
        self.state = State::Open(engine);
        self.mark = mark;
        Ok(scan.image.load(mark.revision(), report))
    }

    fn reopen_error(&self, error: OpenError) -> StoreError {
        match error {
            OpenError::System(source) => StoreError::NotWritable { path: self.live(), source },
            OpenError::Newer(found) => {
                StoreError::NewerSchema { path: self.path.clone(), found, known: SCHEMA }
            }
            OpenError::Damaged(finding) => {
                StoreError::Engine { action: "open its files", source: finding.to_string().into() }
            }
        }
    }

    fn diverged(&self, scan: &Scan) -> StoreError {
        StoreError::Diverged {
            path: self.path.clone(),
            acknowledged: self.mark.revision(),
            found: scan.mark.map_or(Revision(0), |mark| mark.revision()),
        }
    }

    // --- recovery ------------------------------------------------------------------------------------------

    /// Recovers the best readable records, writes them as a new `live`, and reports.
    fn recover(
        &mut self,
        head: &MarkRead,
        scan: Scan,
        copy: Option<Unchecked>,
        mut report: LoadReport,
    ) -> Loaded {
        let head_mark = self.head_mark(head, &mut report);
        scan.explain(head_mark, &mut report);
        let kept = match copy {
            Some(Unchecked::Made) => self.number_unchecked(),
            // The files in use may have changed since the copy: they are kept, too.
            Some(Unchecked::Found) => {
                self.number_unchecked().and_then(|first| self.keep_aside().map(|_| first))
            }
            None => self.keep_aside(),
        };
        let damaged = kept.as_ref().map_or_else(|_| self.live(), |kept| kept.join("live"));
        let scan = scan.or_salvaged(salvage::read_files(&damaged), head_mark, &mut report);
        let restored = self.best(head_mark, &scan, &mut report);
        match &kept {
            Ok(path) => report.push(Finding::KeptAside { path: path.clone() }),
            Err(error) => report.push(Finding::NotKeptAside { reason: error.to_string() }),
        }
        let image = restored.image.migrated();
        self.mark = Mark::new(restored.revision, image.totals());
        let mut loaded = image.load(restored.revision, LoadReport::default());
        report.extend(std::mem::take(&mut loaded.report));
        let mut is_kept = kept.is_ok();
        if let Err(error) = self.repair(&image, &mut is_kept) {
            report.push(Finding::NotRepaired { reason: with_source(&error) });
            self.state = State::Unrepaired { image, kept: is_kept };
        }
        if let Ok(path) = kept {
            let _ = durable::write(&path.join("REPORT"), report.to_string().as_bytes());
            self.forget_copies();
        }
        // The next commit exports the repaired state.
        self.export.commits_since = u64::MAX / 2;
        loaded.report = report;
        loaded
    }

    /// Chooses the best of what was scanned and the newest export. Checksums compare only within one format:
    /// an export that was written before a migration is converted first.
    fn best(&self, head: Option<Mark>, scan: &Scan, report: &mut LoadReport) -> Restored {
        let is_migrated = [head, scan.mark].iter().flatten().any(|mark| mark.schema == SCHEMA);
        let fallback = self.newest_export(report).map(|fallback| match is_migrated {
            true => Fallback { image: fallback.image.migrated(), ..fallback },
            false => fallback,
        });
        Restored::best(head, scan, fallback, report)
    }

    /// The mark in HEAD; damage is reported.
    fn head_mark(&self, head: &MarkRead, report: &mut LoadReport) -> Option<Mark> {
        match head {
            MarkRead::Whole(mark) => return Some(*mark),
            MarkRead::Damaged | MarkRead::Newer(_) => report.push(Finding::FileDamaged { path: self.head() }),
            MarkRead::Missing => report.push(Finding::FileMissing { path: self.head() }),
        }
        None
    }

    /// Writes the recovered records as a new `live`. The damaged files are replaced only after they were
    /// kept: they may still be of use to an expert.
    fn repair(&mut self, image: &Image, kept: &mut bool) -> Result<(), StoreError> {
        if !*kept {
            self.keep_aside().map_err(|source| StoreError::Write { path: self.aside(), source })?;
            *kept = true;
        }
        self.create(image, self.mark.revision())?;
        self.reopen()
    }

    /// Returns the newest readable export; damage is reported.
    fn newest_export(&self, report: &mut LoadReport) -> Option<Fallback> {
        let mut best: Option<Fallback> = None;
        for path in self.exports() {
            let Ok(file) = File::open(&path) else { continue };
            let Ok(read) = export::read(&mut BufReader::new(file)) else {
                report.push(Finding::FileDamaged { path });
                continue;
            };
            let whole = read.defect.is_none() && read.newer.is_none();
            if !whole {
                report.push(Finding::FileDamaged { path: path.clone() });
            }
            let found = Fallback { path, revision: read.revision, image: read.image, whole };
            // The newest complete export; if there is none, the rest of the newest one.
            let better =
                best.as_ref().is_none_or(|best| (found.whole, found.revision) > (best.whole, best.revision));
            if better && (found.whole || !found.image.is_empty()) {
                best = Some(found);
            }
        }
        best
    }

    /// Writes a new store of these records in place of the present one.
    fn create(&self, image: &Image, revision: Revision) -> Result<(), StoreError> {
        let mark = Mark::new(revision, image.totals());
        self.write_new(image, &mark)?;
        self.put_new()
            .and_then(|()| durable::write(&self.head(), &mark.encode()))
            .map_err(|source| StoreError::Write { path: self.live(), source })
    }

    /// Writes a new `live.new`.
    fn write_new(&self, image: &Image, mark: &Mark) -> Result<(), StoreError> {
        let new = self.live_new();
        let _ = fs::remove_dir_all(&new);
        durable::make_dir(&new).map_err(self.not_writable(new.clone()))?;
        match catch_unwind(AssertUnwindSafe(|| Engine::fill(&new, image, mark))) {
            Ok(result) => result.map_err(engine_error("write a new store")),
            Err(_) => Err(StoreError::Engine { action: "write a new store", source: "it panicked".into() }),
        }
    }

    /// Replaces `live` by `live.new`. At every moment one of them is complete: `live`, or `live.new` while
    /// `live` is missing.
    fn put_new(&self) -> io::Result<()> {
        let (live, old) = (self.live(), self.live_old());
        let _ = fs::remove_dir_all(&old);
        if live.exists() {
            fs::rename(&live, &old)?;
        }
        if let Err(error) = fs::rename(self.live_new(), &live) {
            let _ = fs::rename(&old, &live);
            return Err(error);
        }
        durable::sync_parent(&live)?;
        let _ = fs::remove_dir_all(&old);
        Ok(())
    }

    // --- commits -------------------------------------------------------------------------------------------

    /// Opens the engine and compares it with the acknowledged state.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let (engine, scan) = open_and_scan(&self.live()).map_err(|error| self.reopen_error(error))?;
        if scan.findings.is_empty() && scan.mark.is_some_and(|mark| same(&mark, &self.mark)) {
            self.state = State::Open(engine);
            return Ok(());
        }
        Err(self.diverged(&scan))
    }

    /// Returns the engine; restores it after a failure.
    fn ready(&mut self) -> Result<&Engine, StoreError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(engine) => self.state = State::Open(engine),
            State::Closed => _ = self.start_or_read()?,
            State::Unwritable { image, why } => self.become_writable(image, why)?,
            State::Failed(undo, failed) => {
                if let Err(error) = self.undo(&undo, &failed) {
                    self.state = State::Failed(undo, failed);
                    return Err(error);
                }
            }
            State::Unrepaired { image, mut kept } => {
                if let Err(error) = self.repair(&image, &mut kept) {
                    self.state = State::Unrepaired { image, kept };
                    return Err(error);
                }
            }
        }
        match &self.state {
            State::Open(engine) => Ok(engine),
            State::Closed | State::Failed(..) | State::Unrepaired { .. } => Err(StoreError::Engine {
                action: "open its files",
                source: "the recovered records are not written yet".into(),
            }),
            State::Unwritable { why, .. } => {
                Err(StoreError::Engine { action: "open its files", source: why.as_str().into() })
            }
        }
    }

    /// Opens the engine after a failed commit. The batch was refused, but may have reached the journal: it is
    /// undone.
    fn undo(&mut self, undo: &[(Key, Option<Vec<u8>>)], failed: &Mark) -> Result<(), StoreError> {
        let (engine, scan) = open_and_scan(&self.live()).map_err(|error| self.reopen_error(error))?;
        let Some(found) = scan.mark.filter(|_| scan.findings.is_empty()) else {
            return Err(self.diverged(&scan));
        };
        if same(&found, failed) {
            engine.write(undo, &self.mark).map_err(engine_error("take back a batch"))?;
        } else if !same(&found, &self.mark) {
            return Err(self.diverged(&scan));
        }
        self.state = State::Open(engine);
        Ok(())
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut totals = self.mark.totals;
        let head = self.head();
        let edits = edits(batch);
        let engine = self.ready()?;
        let mut undo = Vec::with_capacity(edits.len());
        let mut writes = Vec::with_capacity(edits.len());
        for (key, new) in edits {
            let old = engine.get(&key).map_err(engine_error("read a record"))?;
            if let Some(old) = &old {
                totals.remove(key.0, seal_of(old));
            }
            if let Some(new) = &new {
                totals.add(key.0, new.seal());
            }
            undo.push((key.clone(), old));
            writes.push((key, new.map(|sealed| sealed.bytes().to_vec())));
        }
        let after = Mark::new(batch.revision, totals);
        // First the write that is likely to fail on a full disk, while nothing is changed.
        let prepared = PreparedFile::new(&head, &after.encode())
            .map_err(|source| StoreError::Write { path: head.clone(), source })?;
        if let Err(error) = engine.write(&writes, &after) {
            // After such an error the engine must be reopened.
            self.join_export();
            self.state = State::Failed(undo, after);
            return Err(engine_error("store a batch")(error));
        }
        self.mark = after;
        // The batch is stored even if HEAD is not replaced: HEAD only detects losses, and the next commit
        // writes it again. After a power cut it may lag by one commit for the same reason: a third sync would
        // make each commit a third slower.
        self.head_behind = match prepared.replace_soon() {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(path = %head.display(), %error, "HEAD not replaced; the change is stored");
                true
            }
        };
        Ok(())
    }
}

impl Fjall {
    fn read_all(&mut self) -> Result<Loaded, StoreError> {
        match &self.state {
            State::Unrepaired { image, .. } => {
                let mut report = LoadReport::default();
                report.push(Finding::NotRepaired { reason: "no change was made since".to_owned() });
                Ok(image.load(self.mark.revision(), report))
            }
            State::Unwritable { image, .. } => Ok(image.load(self.mark.revision(), LoadReport::default())),
            State::Closed => self.start_or_read(),
            State::Open(_) | State::Failed(..) => {
                let engine = self.ready()?;
                let scan = engine.scan().map_err(|error| match error {
                    OpenError::System(source) => {
                        StoreError::Engine { action: "read its files", source: source.into() }
                    }
                    OpenError::Newer(found) => {
                        StoreError::NewerSchema { path: "the store".into(), found, known: SCHEMA }
                    }
                    OpenError::Damaged(finding) => {
                        StoreError::Engine { action: "read its files", source: finding.to_string().into() }
                    }
                })?;
                let mut report = LoadReport::default();
                scan.explain(Some(self.mark), &mut report);
                Ok(scan.image.load(self.mark.revision(), report))
            }
        }
    }
}

impl Store for Fjall {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.join_export();
        let loaded = self.read_all()?;
        self.bytes = durable::disk_bytes(&self.path);
        Ok(loaded)
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        self.ready()?;
        if batch.revision <= self.mark.revision() {
            return Err(StoreError::StaleRevision { stored: self.mark.revision(), given: batch.revision });
        }
        self.write(batch)?;
        self.export.commits_since = self.export.commits_since.saturating_add(1);
        self.reap_export();
        if self.export_due() {
            self.start_export();
        }
        Ok(())
    }

    /// Exports in the background when anything changed since the last one.
    fn maintain(&mut self) -> Result<(), StoreError> {
        self.reap_export();
        if matches!(self.state, State::Unwritable { .. }) {
            // The description reports a failure.
            let _ = self.ready();
        }
        if self.export.commits_since > 0 && self.export.running.is_none() {
            self.start_export();
        }
        self.bytes = durable::disk_bytes(&self.path);
        Ok(())
    }

    /// Writes a last export, compacts the files if that is worth it, and marks the store as cleanly closed.
    /// Blocks.
    fn close(&mut self) -> Result<(), StoreError> {
        self.join_export();
        let State::Open(engine) = &self.state else { return Ok(()) };
        let mut exported = Ok(());
        if self.export.revision != Some(self.mark.revision()) {
            match self.export_now(engine) {
                Ok(revision) => self.export.revision = Some(revision),
                Err(error) => exported = Err(error),
            }
        }
        let compacted =
            if exported.is_ok() && self.is_compaction_due() { self.compacted(engine) } else { None };
        self.state = State::Closed;
        if let Some(image) = compacted {
            self.compact(&image);
        }
        let head = self.head();
        durable::write(&head, &Mark { clean: exported.is_ok(), ..self.mark }.encode())
            .map_err(|source| StoreError::Write { path: head, source })?;
        exported
    }

    fn describe(&self) -> Description {
        let mut warnings = Vec::new();
        match &self.state {
            State::Closed | State::Open(_) => {}
            State::Failed(..) => {
                warnings.push("the last change could not be stored; the next change tries again".to_owned())
            }
            State::Unrepaired { .. } => {
                warnings.push("the repaired store could not be written yet".to_owned())
            }
            State::Unwritable { why, .. } => warnings.push(format!(
                "it cannot be written; its contents are served and changes are refused: {why}"
            )),
        }
        if self.head_behind {
            warnings.push("HEAD could not be written: a loss of changes would not be detected".to_owned());
        }
        if let Some(failure) = &self.export.failure {
            warnings.push(format!("the logical export failed: {failure}"));
        }
        Description {
            kind: "fjall",
            path: Some(self.path.clone()),
            bytes: self.bytes,
            revision: self.mark.revision(),
            exported: self.export.revision,
            warnings,
        }
    }
}

impl Drop for Fjall {
    fn drop(&mut self) {
        // The export thread holds the engine; the lock must not be released before it ends.
        self.join_export();
    }
}

/// Reads a small file, up to a limit.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, MARK_BYTES_MAX), &mut bytes)?;
    Ok(bytes)
}

/// Whether two marks describe the same state; a clean close is not part of it.
fn same(a: &Mark, b: &Mark) -> bool {
    a.revision == b.revision && a.totals == b.totals
}

fn with_source(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A mark is one short line.
const MARK_BYTES_MAX: u64 = 4096;
