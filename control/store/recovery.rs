//! Recovery after damage: chooses between the records that the engine reads, salvaged records, and the newest
//! export. Pure; `fjall` reads and writes around it.

use std::path::PathBuf;

use ringway_model::{Kind, Revision};

use crate::image::Image;
use crate::mark::{Mark, MarkRead};
use crate::record::Key;
use crate::salvage::Salvaged;
use crate::{Finding, LoadReport};

/// A logical export that is readable, at least in part.
pub(crate) struct Fallback {
    pub(crate) path: PathBuf,
    pub(crate) revision: Revision,
    pub(crate) image: Image,
    pub(crate) whole: bool,
}

/// The recovered records.
pub(crate) struct Restored {
    pub(crate) image: Image,
    pub(crate) revision: Revision,
    /// Whether these are provably all acknowledged changes.
    pub(crate) is_whole: bool,
}

impl Restored {
    /// Chooses between the scan and the newest export, and merges them where neither is complete.
    pub(crate) fn best(
        head: Option<Mark>,
        scan: &Scan,
        fallback: Option<Fallback>,
        report: &mut LoadReport,
    ) -> Self {
        let known = [head, scan.mark].into_iter().flatten().map(|mark| mark.revision()).max();
        let exported = fallback.as_ref().map(|fallback| fallback.revision);
        let newest = known.max(exported).unwrap_or(Revision(0));

        let scanned = scan.mark.map(|mark| mark.revision());
        let (image, since, taken) = match &fallback {
            None => (scan.image.clone(), scan.whole_at.or(scanned).unwrap_or(Revision(0)), 0),
            // The export is as new as any known revision.
            Some(fallback) if fallback.whole && known.is_some_and(|known| fallback.revision >= known) => {
                (fallback.image.clone(), fallback.revision, fallback.image.iter().count())
            }
            // The engine holds an older revision than the export.
            Some(fallback)
                if fallback.whole && scanned.is_some_and(|scanned| scanned < fallback.revision) =>
            {
                (fallback.image.clone(), fallback.revision, fallback.image.iter().count())
            }
            // The engine holds the newer records; the export fills the gaps.
            Some(fallback) => {
                let (image, taken) = scan.filled_from(&fallback.image);
                let since = scan.whole_at.or(scanned).unwrap_or_default().max(fallback.revision);
                (image, since.min(newest), taken)
            }
        };
        if let Some(fallback) = fallback.filter(|_| taken > 0) {
            report.push(Finding::FallbackUsed {
                path: fallback.path,
                revision: fallback.revision,
                records: taken,
            });
        }

        let totals = image.totals();
        let proven = [head, scan.mark]
            .into_iter()
            .flatten()
            .any(|mark| mark.totals == totals && mark.revision() == newest)
            || (exported == Some(newest) && since == newest && taken > 0 && known.is_some());
        if proven {
            report.push(Finding::NothingLost { revision: newest });
            return Self { image, revision: newest, is_whole: true };
        }
        let revision = newest.next();
        report.push(Finding::ChangesLost { since, acknowledged: newest, served_as: revision });
        Self { image, revision, is_whole: false }
    }
}

/// Result of reading all records of the engine.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) image: Image,
    pub(crate) mark: Option<Mark>,
    /// Damaged records, by key where the key is text.
    pub(crate) damaged: Vec<Key>,
    pub(crate) findings: Vec<Finding>,
    /// For salvaged records: the revision up to which nothing is missing.
    pub(crate) whole_at: Option<Revision>,
}

impl Scan {
    /// Whether these are the acknowledged records: complete, and not older than HEAD. A newer revision than
    /// HEAD is a commit that was stored but not acknowledged.
    pub(crate) fn fits(&self, head: &MarkRead) -> bool {
        let Some(mark) = &self.mark else { return false };
        let head_fits = match head {
            MarkRead::Whole(head) => match mark.revision.cmp(&head.revision) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => mark.totals == head.totals || mark.is_migration_of(head),
                std::cmp::Ordering::Greater => !head.clean,
            },
            // HEAD is not written yet.
            MarkRead::Missing => true,
            MarkRead::Damaged | MarkRead::Newer(_) => false,
        };
        head_fits && self.findings.is_empty() && self.image.totals() == mark.totals
    }

    /// Replaces the records by the salvaged ones where these are newer, or as new and more complete.
    pub(crate) fn or_salvaged(self, salvaged: Salvaged, head: Option<Mark>, report: &mut LoadReport) -> Self {
        let newest = salvaged.mark.map(|mark| mark.revision());
        let rank = |mark: Option<Mark>, image: &Image| {
            let whole = mark.is_some_and(|mark| mark.totals == image.totals());
            let fits_head = head.is_some_and(|head| head.totals == image.totals());
            (fits_head, mark.map(|mark| mark.revision()), whole, image.totals().records())
        };
        if newest.is_none() && salvaged.image.is_empty()
            || rank(salvaged.mark, &salvaged.image) <= rank(self.mark, &self.image)
        {
            return self;
        }
        report
            .push(Finding::Salvaged { records: salvaged.image.iter().count(), whole_at: salvaged.whole_at });
        Self {
            image: salvaged.image,
            mark: salvaged.mark,
            damaged: self.damaged,
            findings: self.findings,
            whole_at: Some(salvaged.whole_at),
        }
    }

    /// Adds findings about the differences from the expected records.
    pub(crate) fn explain(&self, head: Option<Mark>, report: &mut LoadReport) {
        for finding in &self.findings {
            report.push(finding.clone());
        }
        let totals = self.image.totals();
        match (self.mark, head) {
            (Some(mark), Some(head)) if mark.revision < head.revision => {
                report.push(Finding::OlderRevision { found: mark.revision(), acknowledged: head.revision() })
            }
            (Some(_), _) => {}
            (None, _) => {
                let opened = !self.findings.iter().any(|finding| {
                    matches!(finding, Finding::FilesUnreadable { .. } | Finding::FileMissing { .. })
                });
                if opened {
                    report.push(Finding::RevisionUnknown);
                }
            }
        }
        let Some(expected) = self.mark.or(head) else { return };
        let mut counts_fit = true;
        for kind in Kind::ALL {
            let (found, expected) = (totals.counts[kind.index()], expected.totals.counts[kind.index()]);
            if found != expected {
                counts_fit = false;
                report.push(Finding::WrongCount { kind, found, expected });
            }
        }
        if counts_fit && totals.sum != expected.totals.sum {
            report.push(Finding::ContentDiffers { revision: expected.revision() });
        }
    }

    /// Returns the records with missing ones added from an export, and their number. Where the missing keys
    /// are known, only these are added: others in the export were removed since.
    pub(crate) fn filled_from(&self, export: &Image) -> (Image, usize) {
        let mut image = self.image.clone();
        let mut counts = self.image.totals().counts;
        for (kind, _) in &self.damaged {
            counts[kind.index()] += 1;
        }
        let mut taken = 0;
        for (key, sealed) in export.iter() {
            let all_accounted =
                self.mark.is_some_and(|mark| counts[key.0.index()] == mark.totals.counts[key.0.index()]);
            if !image.contains(key) && (!all_accounted || self.damaged.contains(key)) {
                image.put(key.clone(), sealed.clone());
                taken += 1;
            }
        }
        (image, taken)
    }
}
