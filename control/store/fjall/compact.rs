//! New files at a clean end, so that a start takes as long as what is registered, not as what ever changed.
//!
//! fjall reads all of its journal when it opens, and begins another one after 64 MB only.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::engine::{Engine, open_and_scan};
use super::{Fjall, with_source};
use crate::StoreError;
use crate::image::Image;
use crate::mark::{Mark, MarkRead};

impl Fjall {
    /// Whether the journal is worth it.
    pub(super) fn is_compaction_due(&self) -> bool {
        self.journal_bytes() > JOURNAL_BYTES_MIN.max(self.mark.totals.records() * JOURNAL_BYTES_PER_RECORD)
    }

    /// What new files would hold: nothing, unless it is all that was acknowledged.
    pub(super) fn compacted(&self, engine: &Engine) -> Option<Image> {
        let scan = engine.scan().ok()?;
        scan.fits(&MarkRead::Whole(self.mark)).then_some(scan.image)
    }

    /// Puts new files in place of those in use, which are closed. Where that fails they stay, and nothing is lost.
    pub(super) fn compact(&self, image: &Image) {
        if let Err(error) = self.replace_live(image, &self.mark) {
            let _ = fs::remove_dir_all(self.live_new());
            let why = with_source(&error);
            tracing::warn!(
                why,
                "the store could not be compacted; it is whole, and the next start takes longer"
            );
        }
    }

    /// Writes new files, checks them, and puts them in place of those in use.
    pub(super) fn replace_live(&self, image: &Image, mark: &Mark) -> Result<(), StoreError> {
        self.write_new(image, mark)?;
        match open_and_scan(&self.live_new()) {
            Ok((_, scan)) if scan.fits(&MarkRead::Whole(*mark)) => {}
            _ => {
                return Err(StoreError::Engine {
                    action: "write a new store",
                    source: "its content differs".into(),
                });
            }
        }
        self.put_new().map_err(self.not_writable(self.live()))
    }

    /// What the journal takes on the disk, which is less than its length: it is made with 64 MB of holes.
    fn journal_bytes(&self) -> u64 {
        let files = fs::read_dir(self.live()).into_iter().flatten().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|extension| extension == "jnl"))
            .filter_map(|file| file.metadata().ok())
            .map(|meta| meta.blocks() * 512)
            .sum()
    }
}

/// 1 MiB: read in some 5 ms.
const JOURNAL_BYTES_MIN: u64 = 1 << 20;
/// A third of what a record takes: new files are written when a third of all was, since the last time.
const JOURNAL_BYTES_PER_RECORD: u64 = 64;
