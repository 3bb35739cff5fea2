//! Migration of a store of an older format: all records are rewritten in the present formats when the store
//! is opened.
//!
//! ```text
//! live (old) ─► live.new (all records, checked) ─► live.new takes the place of live ─► HEAD
//! ```
//! `kill -9` leaves the old store or the new one at every step: before the exchange the old one is in place;
//! between its two renames a start puts the new one in place; before HEAD is written, the new one is
//! recognised by its counts ([`Mark::is_migration_of`]).

use std::{fs, io};

use super::{Fjall, State};
use crate::image::Image;
use crate::mark::{Mark, SCHEMA};
use crate::{Finding, LoadReport, Loaded, StoreError, durable};

impl Fjall {
    /// Rewrites the store, which is open and checked. On failure the old files stay in place, and the store
    /// is served as one that cannot be written.
    pub(super) fn migrate(&mut self, old: &Image, mut report: LoadReport) -> Result<Loaded, StoreError> {
        let from = self.mark.schema;
        self.state = State::Closed;
        let image = old.migrated();
        let mark = Mark::new(self.mark.revision(), image.totals());
        if let Err(error) = self.replace_live(&image, &mark) {
            let _ = fs::remove_dir_all(self.live_new());
            return Err(StoreError::NotWritable { path: self.live_new(), source: io::Error::other(error) });
        }
        self.mark = mark;
        durable::write(&self.head(), &mark.encode()).map_err(self.not_writable(self.head()))?;
        self.reopen()?;
        report.push(Finding::Migrated { from, to: SCHEMA });
        // The export is of the old format; the next maintenance writes one of this.
        self.export.commits_since = self.export.commits_since.saturating_add(1);
        Ok(image.load(mark.revision(), report))
    }
}
