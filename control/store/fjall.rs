//! The adapter for one machine: fjall, and around it what fjall does not promise.
//!
//! fjall keeps every acknowledged batch through `kill -9`, but damaged files do not always make it complain: it may
//! take a damaged journal for a torn end and come up with an older state, or with nothing. So everything is
//! checked from outside:
//!
//! ```text
//! <path>/LOCK                    held while a process uses the directory
//! <path>/HEAD                    the mark of the last acknowledged batch, written after each
//! <path>/live/                   fjall: apps, instances, domains, meta (the mark again, in every batch)
//! <path>/export.jsonl            a logical export, written now and then and at a clean end; the one before it
//! <path>/export.previous.jsonl   is kept too
//! <path>/aside/0001/ ...         files as they were when damage was found, with a report
//! <path>/aside/unchecked/         files as an unclean stop left them, until a start has checked the ones in use
//! ```
//! Start: after an unclean stop copy `live` aside → open → scan everything against seals, totals and HEAD → when all fits,
//! drop the copy; else put together the best that can be read, write it as a new `live`, and tell. `unwritable` has what
//! happens where nothing can be written.
//!
//! Nothing but this file names fjall.

mod unwritable;

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use ringway_model::{Revision, limits};

use crate::durable::{self, Prepared};
use crate::export;
use crate::image::{Image, edits, position, printable};
use crate::mark::{Mark, MarkRead, SCHEMA, Totals};
use crate::record::{Key, RecordKind, Sealed, seal_of};
use crate::recovery::{Fallback, Restored, Scan};
use crate::salvage;
use crate::{Batch, Description, Finding, LoadReport, Loaded, Store, StoreError};

use self::unwritable::{Lock, scratch_folders};

/// Records on this machine's disk.
///
/// Cost: a commit is one fsynced append to fjall's journal and one fsynced small file; memory is a few MB beside the
/// last writes; the journal is one sparse file of 64 MB.
pub struct Fjall {
    path: PathBuf,
    lock: Lock,
    state: State,
    /// The mark of what was loaded or last acknowledged.
    mark: Mark,
    export: ExportState,
    /// The last commit stands in the engine and not yet in HEAD.
    head_behind: bool,
    /// Where the engine's files may be copied to when they cannot be written.
    scratch: Vec<PathBuf>,
}

enum State {
    /// Nothing is read yet.
    Closed,
    Open(Engine),
    /// A commit failed and the engine was closed; this undoes what it may have left behind.
    Failed(Vec<(Key, Option<Vec<u8>>)>, Mark),
    /// What was recovered could not be written yet; the damaged files are replaced only once they are kept aside.
    Unrepaired {
        image: Image,
        kept: bool,
    },
    /// The directory cannot be written: this is what it holds.
    Unwritable {
        image: Image,
        why: String,
    },
}

#[derive(Default)]
struct ExportState {
    /// The newest export's revision, once known.
    revision: Option<Revision>,
    commits_since: u64,
    running: Option<JoinHandle<Result<Revision, StoreError>>>,
    failure: Option<String>,
}

impl Fjall {
    /// Takes a directory, made if it is not there. Nothing is read before [`Store::load`].
    ///
    /// One that cannot be written and holds a store is taken, too: what it holds is loaded, commits are refused with
    /// [`StoreError::NotWritable`] until it can be written, and [`Store::describe`] warns.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        if path.exists() && !path.is_dir() {
            return Err(StoreError::NotADirectory { path });
        }
        let lock = Lock::take(&path)?;
        Ok(Self {
            path,
            lock,
            state: State::Closed,
            mark: Mark::new(Revision(0), Totals::default()),
            export: ExportState::default(),
            head_behind: false,
            scratch: scratch_folders(),
        })
    }

    /// With no room for temporary files anywhere.
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

    fn head(&self) -> PathBuf {
        self.path.join("HEAD")
    }

    fn exports(&self) -> [PathBuf; 2] {
        [self.path.join("export.jsonl"), self.path.join("export.previous.jsonl")]
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
        // A repair, or the very first start, ended between its two renames.
        if !self.live().exists() && self.live_new().exists() && started_before {
            fs::rename(self.live_new(), self.live()).map_err(self.not_writable(self.live_new()))?;
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
            // Where this fails, every commit says it again; until then nothing differs from the clean end.
            let _ = durable::write(&self.head(), &Mark { clean: false, ..mark }.encode());
        }

        let scan = match open_and_scan(&self.live()) {
            Ok((engine, scan)) => {
                if scan.fits(&head) {
                    let marked = scan.mark.expect("a scan without a mark does not fit");
                    self.state = State::Open(engine);
                    self.mark = marked;
                    self.drop_unchecked();
                    return Ok(scan.image.load(marked.revision(), report));
                }
                drop(engine);
                scan
            }
            Err(Unopened::System(source)) => {
                return Err(StoreError::NotWritable { path: self.live(), source });
            }
            Err(Unopened::Newer(found)) => {
                return Err(StoreError::NewerSchema { path: self.path.clone(), found, known: SCHEMA });
            }
            Err(Unopened::Damaged(finding)) => Scan { findings: vec![finding], ..Scan::default() },
        };
        Ok(self.recover(&head, scan, copy, report))
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
            Err(error) if is_systems(&error) => {
                Err(StoreError::NotWritable { path: self.head(), source: error })
            }
            Err(_) => Ok(MarkRead::Damaged),
        }
    }

    /// Opens what was just written and reads it back.
    fn open_verified(&mut self, report: LoadReport) -> Result<Loaded, StoreError> {
        let (engine, scan) = open_and_scan(&self.live()).map_err(|unopened| self.reopen_error(unopened))?;
        let Some(mark) = scan.mark.filter(|_| scan.fits(&MarkRead::Missing)) else {
            return Err(self.diverged(&scan));
        };
        self.state = State::Open(engine);
        self.mark = mark;
        Ok(scan.image.load(mark.revision(), report))
    }

    fn reopen_error(&self, unopened: Unopened) -> StoreError {
        match unopened {
            Unopened::System(source) => StoreError::NotWritable { path: self.live(), source },
            Unopened::Newer(found) => {
                StoreError::NewerSchema { path: self.path.clone(), found, known: SCHEMA }
            }
            Unopened::Damaged(finding) => {
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

    /// Puts together the best that can be read, makes a new `live` of it, and says what happened.
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
            // The files in use may have changed since: they are kept as well.
            Some(Unchecked::Found) => {
                self.number_unchecked().and_then(|first| self.keep_aside().map(|_| first))
            }
            None => self.keep_aside(),
        };
        let damaged = kept.as_ref().map_or_else(|_| self.live(), |kept| kept.join("live"));
        let scan = scan.or_salvaged(salvage::read_files(&damaged), head_mark, &mut report);
        let restored = Restored::best(head_mark, &scan, self.newest_export(&mut report), &mut report);
        match &kept {
            Ok(path) => report.push(Finding::KeptAside { path: path.clone() }),
            Err(error) => report.push(Finding::NotKeptAside { reason: error.to_string() }),
        }
        self.mark = Mark::new(restored.revision, restored.image.totals());
        let mut loaded = restored.image.load(restored.revision, LoadReport::default());
        report.extend(std::mem::take(&mut loaded.report));
        let mut is_kept = kept.is_ok();
        if let Err(error) = self.repair(&restored.image, &mut is_kept) {
            report.push(Finding::NotRepaired { reason: with_source(&error) });
            self.state = State::Unrepaired { image: restored.image, kept: is_kept };
        }
        if let Ok(path) = kept {
            let _ = durable::write(&path.join("REPORT"), report.to_string().as_bytes());
            self.forget_copies();
        }
        // The old export belongs to the past; the next commit writes one of the repaired state.
        self.export.commits_since = u64::MAX / 2;
        loaded.report = report;
        loaded
    }

    /// What HEAD says; what is wrong with it is reported.
    fn head_mark(&self, head: &MarkRead, report: &mut LoadReport) -> Option<Mark> {
        match head {
            MarkRead::Whole(mark) => return Some(*mark),
            MarkRead::Damaged | MarkRead::Newer(_) => report.push(Finding::FileDamaged { path: self.head() }),
            MarkRead::Missing => report.push(Finding::FileMissing { path: self.head() }),
        }
        None
    }

    /// Makes a new `live` of what was recovered. Without a copy of the damaged files they are not replaced: a person may
    /// still get something out of them.
    fn repair(&mut self, image: &Image, kept: &mut bool) -> Result<(), StoreError> {
        if !*kept {
            self.keep_aside().map_err(|source| StoreError::Write { path: self.aside(), source })?;
            *kept = true;
        }
        self.create(image, self.mark.revision())?;
        self.reopen()
    }

    /// The newest export from which anything can be read; a damaged one is reported.
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
            // The newest whole one; only if there is none, what is left of the newest.
            let better =
                best.as_ref().is_none_or(|best| (found.whole, found.revision) > (best.whole, best.revision));
            if better && (found.whole || !found.image.is_empty()) {
                best = Some(found);
            }
        }
        best
    }

    /// Writes a whole new `live` and puts it in place of the old one, then HEAD.
    fn create(&self, image: &Image, revision: Revision) -> Result<(), StoreError> {
        let new = self.live_new();
        let mark = Mark::new(revision, image.totals());
        let _ = fs::remove_dir_all(&new);
        durable::make_dir(&new).map_err(self.not_writable(new.clone()))?;
        let written = catch_unwind(AssertUnwindSafe(|| Engine::fill(&new, image, &mark)));
        match written {
            Ok(result) => result.map_err(engine_error("write a new store"))?,
            Err(_) => {
                return Err(StoreError::Engine { action: "write a new store", source: "it panicked".into() });
            }
        }
        let live = self.live();
        let put = || {
            if live.exists() {
                fs::remove_dir_all(&live)?;
            }
            fs::rename(&new, &live)?;
            durable::sync_parent(&live)?;
            durable::write(&self.head(), &mark.encode())
        };
        put().map_err(|source| StoreError::Write { path: live.clone(), source })
    }

    fn aside(&self) -> PathBuf {
        self.path.join("aside")
    }

    fn unchecked(&self) -> PathBuf {
        self.aside().join("unchecked")
    }

    /// Copies the present files before the engine touches them. What a start that was killed has copied stays: it shows
    /// the files as they were before that start, and a process that is killed over and over must not fill the disk.
    pub(crate) fn copy_unchecked(&self) -> io::Result<Unchecked> {
        if self.unchecked().exists() {
            return Ok(Unchecked::Found);
        }
        // Under its name only once it is whole.
        let part = self.aside().join("unchecked.part");
        let copy = || {
            durable::make_dir(&self.aside())?;
            let _ = fs::remove_dir_all(&part);
            self.copy_files(&part)?;
            durable::copy_dir(&self.live(), &part.join("live"))?;
            fs::rename(&part, self.unchecked())?;
            durable::sync_parent(&self.unchecked())
        };
        let copied = copy();
        if copied.is_err() {
            let _ = fs::remove_dir_all(&part);
        }
        copied.map(|()| Unchecked::Made)
    }

    /// All that was acknowledged is there: what starts have copied until now tells nothing more.
    fn drop_unchecked(&self) {
        for name in ["unchecked", "unchecked.part"] {
            let _ = fs::remove_dir_all(self.aside().join(name));
        }
    }

    /// Damage was found: the copy becomes one of those that are kept.
    fn number_unchecked(&self) -> io::Result<PathBuf> {
        let to = self.next_copy()?;
        fs::rename(self.unchecked(), &to)?;
        durable::sync_parent(&to).map(|()| to)
    }

    /// Moves the present files away, under a new number.
    fn keep_aside(&self) -> io::Result<PathBuf> {
        let to = self.next_copy()?;
        let filled = self.copy_files(&to).and_then(|()| {
            if self.live().exists() {
                fs::rename(self.live(), to.join("live"))?;
            }
            durable::sync_parent(&to)
        });
        // Never with the files themselves in it.
        if filled.is_err() && !to.join("live").exists() {
            let _ = fs::remove_dir_all(&to);
        }
        filled.map(|()| to)
    }

    /// Copies what stands beside the engine's files.
    fn copy_files(&self, to: &Path) -> io::Result<()> {
        durable::make_dir(to)?;
        for file in [self.head()].into_iter().chain(self.exports()) {
            if let (true, Some(name)) = (file.is_file(), file.file_name()) {
                fs::copy(&file, to.join(name))?;
            }
        }
        Ok(())
    }

    fn next_copy(&self) -> io::Result<PathBuf> {
        durable::make_dir(&self.aside())?;
        Ok(self.copy(self.copies()?.last().map_or(1, |last| last.saturating_add(1))))
    }

    /// Drops the oldest copies beyond the limit.
    fn forget_copies(&self) {
        let Ok(numbers) = self.copies() else { return };
        let excess = numbers.len().saturating_sub(limits::STORE_COPIES_MAX);
        for number in numbers.into_iter().take(excess) {
            let _ = fs::remove_dir_all(self.copy(number));
        }
    }

    /// The numbers of the copies, ascending.
    fn copies(&self) -> io::Result<Vec<u32>> {
        let mut numbers: Vec<u32> = fs::read_dir(self.aside())?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn copy(&self, number: u32) -> PathBuf {
        self.aside().join(format!("{number:04}"))
    }

    // --- commits -------------------------------------------------------------------------------------------

    /// Opens the engine and compares it with what was acknowledged.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let (engine, scan) = open_and_scan(&self.live()).map_err(|unopened| self.reopen_error(unopened))?;
        if scan.findings.is_empty() && scan.mark.is_some_and(|mark| same(&mark, &self.mark)) {
            self.state = State::Open(engine);
            return Ok(());
        }
        Err(self.diverged(&scan))
    }

    /// Brings the store back to work after a failure.
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
                source: "what was recovered is not written yet".into(),
            }),
            State::Unwritable { why, .. } => {
                Err(StoreError::Engine { action: "open its files", source: why.as_str().into() })
            }
        }
    }

    /// Opens the engine after a failed commit. The batch may have reached the journal though the engine said no; it was
    /// refused, so it is taken back.
    fn undo(&mut self, undo: &[(Key, Option<Vec<u8>>)], failed: &Mark) -> Result<(), StoreError> {
        let (engine, scan) = open_and_scan(&self.live()).map_err(|unopened| self.reopen_error(unopened))?;
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
        // First what is likely to fail on a full disk, while nothing is changed yet.
        let prepared = Prepared::new(&head, &after.encode())
            .map_err(|source| StoreError::Write { path: head.clone(), source })?;
        if let Err(error) = engine.write(&writes, &after) {
            // The engine accepts nothing more after such an error until it is opened again.
            self.join_export();
            self.state = State::Failed(undo, after);
            return Err(engine_error("store a batch")(error));
        }
        self.mark = after;
        // The batch is stored, whatever becomes of HEAD: it only detects losses, and the next commit writes it again. For the
        // same reason it may lag by one commit after a power cut: a third sync would cost each change a third more.
        self.head_behind = match prepared.replace_soon() {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(path = %head.display(), %error, "HEAD could not be replaced; the change itself is stored");
                true
            }
        };
        Ok(())
    }

    // --- exports -------------------------------------------------------------------------------------------

    fn export_due(&self) -> bool {
        let records = self.mark.totals.records();
        self.export.running.is_none()
            && self.export.commits_since >= limits::STORE_EXPORT_COMMITS.max(records / EXPORT_SHARE)
    }

    /// Writes an export on a thread of its own, from a snapshot.
    fn start_export(&mut self) {
        let State::Open(engine) = &self.state else { return };
        let job = engine.export_job(self.exports());
        let spawned = std::thread::Builder::new().name("ringway-export".to_owned()).spawn(move || job.run());
        match spawned {
            Ok(handle) => {
                self.export.running = Some(handle);
                self.export.commits_since = 0;
            }
            Err(error) => self.export.failure = Some(error.to_string()),
        }
    }

    fn join_export(&mut self) {
        let Some(handle) = self.export.running.take() else { return };
        self.finish_export(handle);
    }

    fn reap_export(&mut self) {
        if let Some(handle) = self.export.running.take_if(|handle| handle.is_finished()) {
            self.finish_export(handle);
        }
    }

    fn finish_export(&mut self, handle: JoinHandle<Result<Revision, StoreError>>) {
        match handle.join() {
            Ok(Ok(revision)) => {
                self.export.revision = Some(revision);
                self.export.failure = None;
            }
            Ok(Err(error)) => self.export.failure = Some(with_source(&error)),
            Err(_) => self.export.failure = Some("the export panicked".to_owned()),
        }
        if let Some(failure) = &self.export.failure {
            tracing::warn!(failure, "the logical export failed; the store itself works");
        }
    }
}

impl Store for Fjall {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.join_export();
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
                let scan = engine.scan().map_err(|unopened| match unopened {
                    Unopened::System(source) => {
                        StoreError::Engine { action: "read its files", source: source.into() }
                    }
                    Unopened::Newer(found) => {
                        StoreError::NewerSchema { path: "the store".into(), found, known: SCHEMA }
                    }
                    Unopened::Damaged(finding) => {
                        StoreError::Engine { action: "read its files", source: finding.to_string().into() }
                    }
                })?;
                let mut report = LoadReport::default();
                scan.explain(Some(self.mark), &mut report);
                Ok(scan.image.load(self.mark.revision(), report))
            }
        }
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
            // While it cannot be written, the description says so.
            let _ = self.ready();
        }
        if self.export.commits_since > 0 && self.export.running.is_none() {
            self.start_export();
        }
        Ok(())
    }

    /// Writes a last export and marks the end as clean. Blocks for as long as the export takes.
    fn close(&mut self) -> Result<(), StoreError> {
        self.join_export();
        let State::Open(engine) = &self.state else { return Ok(()) };
        let mut exported = Ok(());
        if self.export.revision != Some(self.mark.revision()) {
            match engine.export_job(self.exports()).run() {
                Ok(revision) => self.export.revision = Some(revision),
                Err(error) => exported = Err(error),
            }
        }
        self.state = State::Closed;
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
                warnings.push("the last change could not be stored; the next one tries again".to_owned())
            }
            State::Unrepaired { .. } => {
                warnings.push("the repaired store could not be written yet".to_owned())
            }
            State::Unwritable { why, .. } => warnings.push(format!(
                "it cannot be written, so that what it holds is served and changes are refused: {why}"
            )),
        }
        if self.head_behind {
            warnings.push("HEAD could not be written: a loss would not be noticed".to_owned());
        }
        if let Some(failure) = &self.export.failure {
            warnings.push(format!("the logical export failed: {failure}"));
        }
        Description {
            kind: "fjall",
            path: Some(self.path.clone()),
            bytes: durable::disk_bytes(&self.path),
            revision: self.mark.revision(),
            exported: self.export.revision,
            warnings,
        }
    }
}

impl Drop for Fjall {
    fn drop(&mut self) {
        // The export's thread has the engine open; the lock must not be given back before it ends.
        self.join_export();
    }
}

/// The copy that is made before files of an unclean stop are opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unchecked {
    /// Just now.
    Made,
    /// By a start that did not come so far as to decide about it.
    Found,
}

/// Why the engine did not come up.
enum Unopened {
    /// The system refused (rights, space, descriptors): nothing is wrong with the files.
    System(io::Error),
    /// They are of a schema that is not known here.
    Newer(u32),
    /// Something is wrong with the files.
    Damaged(Finding),
}

// --- the engine --------------------------------------------------------------------------------------------

struct Engine {
    keyspaces: [Keyspace; 3],
    meta: Keyspace,
    /// Last, so that it is dropped after the handles to it.
    database: Database,
    path: PathBuf,
}

impl Engine {
    fn database(path: &Path) -> fjall::Result<Database> {
        Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(1)
            .open()
    }

    fn with(database: Database, path: &Path) -> fjall::Result<Self> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        Ok(Self {
            keyspaces: [
                database.keyspace("apps", options)?,
                database.keyspace("instances", options)?,
                database.keyspace("domains", options)?,
            ],
            meta: database.keyspace("meta", options)?,
            database,
            path: path.to_owned(),
        })
    }

    fn open(path: &Path) -> Result<Self, Unopened> {
        let unopened = |error: fjall::Error| match error {
            fjall::Error::Io(error) if is_systems(&error) => Unopened::System(error),
            fjall::Error::Storage(fjall::LsmError::Io(error)) if is_systems(&error) => {
                Unopened::System(error)
            }
            error => Unopened::Damaged(Finding::FilesUnreadable {
                path: path.to_owned(),
                reason: format!("{error:?}"),
            }),
        };
        let database = Self::database(path).map_err(unopened)?;
        Self::with(database, path).map_err(unopened)
    }

    /// Writes a new database and closes it.
    fn fill(path: &Path, image: &Image, mark: &Mark) -> fjall::Result<()> {
        let engine = Self::with(Self::database(path)?, path)?;
        let writes: Vec<_> =
            image.iter().map(|(key, sealed)| (key.clone(), Some(sealed.bytes().to_vec()))).collect();
        engine.write(&writes, mark)
    }

    fn get(&self, key: &Key) -> fjall::Result<Option<Vec<u8>>> {
        Ok(self.keyspaces[position(key.0)].get(&key.1)?.map(|value| value.to_vec()))
    }

    /// One batch, durable on return.
    fn write(&self, writes: &[(Key, Option<Vec<u8>>)], mark: &Mark) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for ((kind, key), value) in writes {
            let keyspace = &self.keyspaces[position(*kind)];
            match value {
                Some(value) => batch.insert(keyspace, key.as_bytes(), value.as_slice()),
                None => batch.remove(keyspace, key.as_bytes()),
            }
        }
        batch.insert(&self.meta, MARK_KEY, mark.encode());
        batch.commit()
    }

    fn scan(&self) -> Result<Scan, Unopened> {
        let snapshot = self.database.snapshot();
        let mut scan = Scan::default();
        match snapshot.get(&self.meta, MARK_KEY) {
            Ok(Some(bytes)) => match Mark::decode(&bytes) {
                MarkRead::Whole(mark) => scan.mark = Some(mark),
                MarkRead::Newer(found) => return Err(Unopened::Newer(found)),
                MarkRead::Damaged | MarkRead::Missing => {}
            },
            Ok(None) => {}
            Err(error) => scan
                .findings
                .push(Finding::FilesUnreadable { path: self.path.clone(), reason: format!("{error:?}") }),
        }
        for kind in RecordKind::ALL {
            self.scan_kind(&snapshot, kind, &mut scan);
        }
        Ok(scan)
    }

    fn scan_kind(&self, snapshot: &Snapshot, kind: RecordKind, scan: &mut Scan) {
        let mut after = None;
        for item in snapshot.iter(&self.keyspaces[position(kind)]) {
            let (key, value) = match item.into_inner() {
                Ok(pair) => pair,
                Err(error) => {
                    scan.findings.push(Finding::RecordsUnreadable {
                        kind,
                        after,
                        reason: format!("{error:?}"),
                    });
                    return;
                }
            };
            let text = std::str::from_utf8(&key).ok();
            match text.and_then(|text| Some((text, Sealed::verify(kind, text, &value)?))) {
                Some((text, sealed)) => _ = scan.image.put((kind, text.to_owned()), sealed),
                None => {
                    scan.findings.push(Finding::RecordDamaged { kind, key: printable(&key) });
                    if let Some(text) = text {
                        scan.damaged.push((kind, text.to_owned()));
                    }
                }
            }
            after = Some(printable(&key));
        }
    }

    fn export_job(&self, paths: [PathBuf; 2]) -> ExportJob {
        ExportJob {
            snapshot: self.database.snapshot(),
            engine: Self {
                keyspaces: self.keyspaces.clone(),
                meta: self.meta.clone(),
                database: self.database.clone(),
                path: self.path.clone(),
            },
            paths,
        }
    }
}

/// Everything that an export needs, so that it can run beside commits.
struct ExportJob {
    snapshot: Snapshot,
    engine: Engine,
    paths: [PathBuf; 2],
}

impl ExportJob {
    fn run(self) -> Result<Revision, StoreError> {
        let damaged =
            || StoreError::Engine { action: "read what is to be exported", source: "it is damaged".into() };
        let bytes = self
            .snapshot
            .get(&self.engine.meta, MARK_KEY)
            .map_err(engine_error("read what is to be exported"))?
            .ok_or_else(damaged)?;
        let MarkRead::Whole(mark) = Mark::decode(&bytes) else { return Err(damaged()) };
        let mut scan = Scan { mark: Some(mark), ..Scan::default() };
        for kind in RecordKind::ALL {
            self.engine.scan_kind(&self.snapshot, kind, &mut scan);
        }
        // A good export is never replaced by one of damaged records.
        if !scan.fits(&MarkRead::Missing) {
            return Err(damaged());
        }
        let [path, previous] = &self.paths;
        self.write(&scan.image, &mark, path, previous)
            .map_err(|source| StoreError::Write { path: path.clone(), source })?;
        Ok(mark.revision())
    }

    fn write(&self, image: &Image, mark: &Mark, path: &Path, previous: &Path) -> io::Result<()> {
        let tmp = durable::beside(path);
        let file = BufWriter::new(durable::create(&tmp)?);
        let mut writer = export::Writer::new(file, mark.revision(), mark.totals.records())?;
        for ((kind, _), sealed) in image.iter() {
            writer.record(*kind, sealed)?;
        }
        let file = writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        if path.exists() {
            fs::rename(path, previous)?;
        }
        fs::rename(&tmp, path)?;
        durable::sync_parent(path)
    }
}

/// Opens the engine on its files and reads all of them.
fn open_and_scan(live: &Path) -> Result<(Engine, Scan), Unopened> {
    if !live.exists() {
        return Err(Unopened::Damaged(Finding::FileMissing { path: live.to_owned() }));
    }
    // The engine meets bytes here that nobody vouches for; a panic in it is one more kind of damage.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let engine = Engine::open(live)?;
        let scan = engine.scan()?;
        Ok((engine, scan))
    }));
    opened.unwrap_or_else(|_| {
        Err(Unopened::Damaged(Finding::FilesUnreadable {
            path: live.to_owned(),
            reason: "it panicked over their content".to_owned(),
        }))
    })
}

/// Reads a small file; one that has grown beyond reason is not ours.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, MARK_BYTES_MAX), &mut bytes)?;
    Ok(bytes)
}

/// The same state; whether an end was clean is not part of it.
fn same(a: &Mark, b: &Mark) -> bool {
    a.revision == b.revision && a.totals == b.totals
}

/// Errors that say something about the machine and nothing about the content of files.
fn is_systems(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded | FileTooLarge | OutOfMemory
    )
}

fn engine_error(action: &'static str) -> impl FnOnce(fjall::Error) -> StoreError {
    move |error| StoreError::Engine { action, source: Box::new(error) }
}

fn with_source(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

const MARK_KEY: &str = "mark";
/// A mark is one short line.
const MARK_BYTES_MAX: u64 = 4096;
/// 8 MiB: records are read at start and before they are replaced, nothing else; a cache brings little.
const CACHE_BYTES: u64 = 8 << 20;
/// 4 MiB for each kind of record: thousands of them, before a table is written.
const MEMTABLE_BYTES: u64 = 4 << 20;
/// 64 MiB, the least that fjall allows.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// An export costs as much as there are records; it is due after a tenth as many commits, so that it adds little to each.
const EXPORT_SHARE: u64 = 10;
