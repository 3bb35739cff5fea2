//! Logical exports: the fallback of a start when the engine's files are damaged.

use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::limits;
use ringway_model::Revision;

use super::engine::{Engine, EngineSnapshot};
use super::{Fjall, State, with_source};
use crate::image::Image;
use crate::mark::{Mark, MarkRead};
use crate::{StoreError, durable, export};

/// State of the exports.
#[derive(Default)]
pub(super) struct ExportState {
    /// The revision of the newest export, once known.
    pub(super) revision: Option<Revision>,
    pub(super) commits_since: u64,
    pub(super) running: Option<JoinHandle<Result<Revision, StoreError>>>,
    pub(super) failure: Option<String>,
}

impl Fjall {
    /// The paths of the newest export and of the one before it.
    pub(super) fn exports(&self) -> [PathBuf; 2] {
        [self.path.join("export.jsonl"), self.path.join("export.previous.jsonl")]
    }

    /// Whether enough has changed since the last export.
    pub(super) fn export_due(&self) -> bool {
        let records = self.mark.totals.records();
        self.export.running.is_none()
            && self.export.commits_since >= limits::STORE_EXPORT_COMMITS.max(records / EXPORT_SHARE)
    }

    /// Starts a thread that writes an export of a snapshot.
    pub(super) fn start_export(&mut self) {
        let State::Open(engine) = &self.state else { return };
        let job = ExportJob { snapshot: engine.snapshot(), paths: self.exports() };
        let spawned = std::thread::Builder::new().name("ringway-export".to_owned()).spawn(move || job.run());
        match spawned {
            Ok(handle) => {
                self.export.running = Some(handle);
                self.export.commits_since = 0;
            }
            Err(error) => self.export.failure = Some(error.to_string()),
        }
    }

    /// Writes an export on this thread.
    pub(super) fn export_now(&self, engine: &Engine) -> Result<Revision, StoreError> {
        ExportJob { snapshot: engine.snapshot(), paths: self.exports() }.run()
    }

    /// Waits for a running export.
    pub(super) fn join_export(&mut self) {
        let Some(handle) = self.export.running.take() else { return };
        self.finish_export(handle);
    }

    /// Handles the end of a running export.
    pub(super) fn reap_export(&mut self) {
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
            tracing::warn!(failure, "logical export failed; the store itself works");
        }
    }
}

/// Input of an export; it runs concurrently with commits.
struct ExportJob {
    snapshot: EngineSnapshot,
    paths: [PathBuf; 2],
}

impl ExportJob {
    fn run(self) -> Result<Revision, StoreError> {
        let damaged =
            || StoreError::Engine { action: "read the records to export", source: "they are damaged".into() };
        let scan = self.snapshot.scan().map_err(|_| damaged())?;
        // A good export is never replaced by an export of damaged records.
        let Some(mark) = scan.mark.filter(|_| scan.fits(&MarkRead::Missing)) else { return Err(damaged()) };
        let [path, previous] = &self.paths;
        self.write(&scan.image, &mark, path, previous)
            .map_err(|source| StoreError::Write { path: path.clone(), source })?;
        Ok(mark.revision())
    }

    fn write(&self, image: &Image, mark: &Mark, path: &Path, previous: &Path) -> io::Result<()> {
        let tmp = durable::temporary(path);
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

/// Divisor of the number of records: an export is due after a tenth as many commits, so that it adds little
/// to each.
const EXPORT_SHARE: u64 = 10;
