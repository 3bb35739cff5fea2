//! Compaction at a clean close: the time of a start depends on the records, not on the history.
//!
//! fjall reads all of its journal when it opens, and starts another one only after 64 MB.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::engine::{Engine, open_and_scan};
use super::{Fjall, with_source};
use crate::StoreError;
use crate::image::Image;
use crate::mark::{Mark, MarkRead};

impl Fjall {
    /// Whether the journal is large enough.
    pub(super) fn is_compaction_due(&self) -> bool {
        self.journal_bytes() > JOURNAL_BYTES_MIN.max(self.mark.totals.records() * JOURNAL_BYTES_PER_RECORD)
    }

    /// Returns the records for new files, if they are exactly the acknowledged ones.
    pub(super) fn compacted(&self, engine: &Engine) -> Option<Image> {
        let scan = engine.scan().ok()?;
        scan.fits(&MarkRead::Whole(self.mark)).then_some(scan.image)
    }

    /// Replaces the closed files by new ones. On failure the old files stay in place.
    pub(super) fn compact(&self, image: &Image) {
        if let Err(error) = self.replace_live(image, &self.mark) {
            let _ = fs::remove_dir_all(self.live_new());
            let why = with_source(&error);
            tracing::warn!(why, "store not compacted; it is complete, and the next start takes longer");
        }
    }

    /// Writes new files, checks them, and replaces the files in use.
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

    /// Disk usage of the journal, which is less than its length: it starts as 64 MB of holes.
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
/// A third of the size of a record: the store is compacted when a third of it was written since the last
/// time.
const JOURNAL_BYTES_PER_RECORD: u64 = 64;
