//! Salvage of records from files that the engine cannot open.
//!
//! One flipped bit in its journal stops the engine, though the rest is intact. Records can be found without
//! it: each is JSON behind its own checksum, and each batch ends with its mark. The raw bytes are read from
//! front to back, and every record that matches its checksum is taken:
//!
//! ```text
//!  … record record mark(7) … record ✗ mark(8) … mark(9) …
//!      put    put   check      put  lost  check    a batch of removals: derived from its mark
//! ```
//! Removals leave no record, but they show in the totals of a mark: the sum of the checksums is lower by
//! exactly the checksum of the removed record. Removals that cannot be derived this way are missed, and the
//! totals show it at the end.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ringway_model::{Kind, Resource, Revision};
use serde::de::IgnoredAny;

use crate::image::Image;
use crate::mark::{Mark, MarkRead, Totals};
use crate::record::{self, FORMAT_PREFIX, Key, Sealed};

/// Records found so far.
#[derive(Debug, Default)]
pub(crate) struct Salvage {
    image: Image,
    /// Totals of `image`.
    totals: Totals,
    /// The newest mark.
    mark: Option<Mark>,
    /// Totals of the found records at the newest mark; the next batch is compared with the difference.
    totals_at_mark: Totals,
    /// The newest revision at which the found records were complete.
    whole_at: Option<Revision>,
}

/// Result of a salvage.
#[derive(Debug)]
pub(crate) struct Salvaged {
    pub(crate) image: Image,
    pub(crate) mark: Option<Mark>,
    /// The newest revision up to which nothing is missing.
    pub(crate) whole_at: Revision,
}

impl Salvage {
    /// Searches the bytes of one file. Files come from the oldest to the newest.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'{')) {
            let start = at + found;
            at = start + 1;
            if let Some(end) = self.take_record(bytes, start).or_else(|| self.take_mark(bytes, start)) {
                at = end;
            }
        }
    }

    pub(crate) fn finish(self) -> Salvaged {
        Salvaged { image: self.image, mark: self.mark, whole_at: self.whole_at.unwrap_or(Revision(0)) }
    }

    /// Takes the record that begins here, if there is one; returns its end.
    fn take_record(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        if !RECORD_PREFIXES.iter().any(|prefix| bytes[start..].starts_with(prefix)) {
            return None;
        }
        let sealed_from = start.checked_sub(8)?;
        let window = &bytes[start..bytes.len().min(start + RECORD_BYTES_MAX)];
        let mut objects = serde_json::Deserializer::from_slice(window).into_iter::<IgnoredAny>();
        objects.next()?.ok()?;
        let end = start + objects.byte_offset();
        for kind in Kind::ALL {
            let Some(resource) = record::decode(kind, &bytes[start..end]) else { continue };
            let key = resource.key();
            if let Some(sealed) = Sealed::verify(kind, key, &bytes[sealed_from..end]) {
                self.totals.add(kind, sealed.seal());
                if let Some(old) = self.image.put((kind, key.to_owned()), sealed) {
                    self.totals.remove(kind, old.seal());
                }
                return Some(end);
            }
        }
        None
    }

    /// Takes the mark whose JSON begins here, if there is one; returns its end. The mark ends its batch.
    fn take_mark(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        if !bytes[start..].starts_with(b"{\"schema\":") {
            return None;
        }
        let from = start.checked_sub(MARK_SEAL_BYTES)?;
        let window = &bytes[start..bytes.len().min(start + MARK_BYTES_MAX)];
        let end = start + window.iter().position(|byte| *byte == b'\n')? + 1;
        let MarkRead::Whole(mark) = Mark::decode(&bytes[from..end]) else { return None };
        // An older mark belongs to a file that was read out of order.
        if self.mark.is_none_or(|newest| mark.revision > newest.revision) {
            self.close_batch(mark);
        }
        Some(end)
    }

    fn close_batch(&mut self, mark: Mark) {
        let before = self.mark.map_or(Totals::default(), |newest| newest.totals);
        for key in self.removed(&before, &mark.totals) {
            if let Some(old) = self.image.remove(&key) {
                self.totals.remove(key.0, old.seal());
            }
        }
        if self.totals == mark.totals {
            self.whole_at = Some(mark.revision());
        }
        self.totals_at_mark = self.totals;
        self.mark = Some(mark);
    }

    /// Returns the records whose removal explains the change of the totals: one, two, or an app with its
    /// instances. More removals, or removals beside a lost record, are ambiguous and not applied.
    fn removed(&self, before: &Totals, after: &Totals) -> Vec<Key> {
        let counts = Kind::ALL.map(|kind| {
            let at = kind.index();
            let expected = after.counts[at].wrapping_sub(before.counts[at]);
            let found = self.totals.counts[at].wrapping_sub(self.totals_at_mark.counts[at]);
            found.wrapping_sub(expected)
        });
        let expected = after.sum.wrapping_sub(before.sum);
        let seals = self.totals.sum.wrapping_sub(self.totals_at_mark.sum).wrapping_sub(expected);
        let named = |seal: u64| {
            let fits = |((_, _), sealed): &(&Key, &Sealed)| sealed.seal() == seal;
            self.image.iter().find(fits).map(|(key, _)| key.clone())
        };
        let candidates = match counts.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count)) {
            1 => named(seals).into_iter().collect(),
            2 => {
                let all: HashMap<u64, &Key> =
                    self.image.iter().map(|(key, sealed)| (sealed.seal(), key)).collect();
                let pair = all.iter().find_map(|(seal, key)| {
                    let other = all.get(&seals.wrapping_sub(*seal))?;
                    (other != key).then(|| vec![Key::clone(key), Key::clone(other)])
                });
                pair.unwrap_or_default()
            }
            _ if counts[Kind::App.index()] == 1 => self.app_with_instances(seals),
            _ => Vec::new(),
        };
        // Sums of 64 bits may match by chance: the counts must match, too.
        let mut left = counts;
        for (kind, _) in &candidates {
            let count = &mut left[kind.index()];
            *count = count.wrapping_sub(1);
        }
        if left == [0; Kind::COUNT] { candidates } else { Vec::new() }
    }

    fn app_with_instances(&self, seals: u64) -> Vec<Key> {
        let mut groups: HashMap<String, (u64, Vec<Key>)> = HashMap::new();
        for (key, sealed) in self.image.iter() {
            let app = match record::decode(key.0, sealed.body()) {
                Some(Resource::App(app)) => app.id.to_string(),
                Some(Resource::Instance(instance)) => instance.app.to_string(),
                Some(
                    Resource::Domain(_)
                    | Resource::Policy(_)
                    | Resource::Route(_)
                    | Resource::ConfigVersion(_)
                    | Resource::Certificate(_)
                    | Resource::CanaryState(_)
                    | Resource::EndpointOverride(_)
                    | Resource::Middleware(_)
                    | Resource::Plugin(_)
                    | Resource::Script(_),
                )
                | None => continue,
            };
            let (sum, keys) = groups.entry(app).or_default();
            *sum = sum.wrapping_add(sealed.seal());
            keys.push(key.clone());
        }
        groups.into_values().find(|(sum, _)| *sum == seals).map_or(Vec::new(), |(_, keys)| keys)
    }
}

/// Reads the engine's files without it: first tables, which are older, then journals by their number.
pub(crate) fn read_files(live: &Path) -> Salvaged {
    let mut files = Vec::new();
    collect_files(live, &mut files);
    files.sort_by_key(|path| {
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        (path.extension().is_some_and(|extension| extension == "jnl"), number, path.clone())
    });
    let mut salvage = Salvage::default();
    for path in files {
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, SALVAGE_BYTES_MAX), &mut bytes));
        // An unreadable file is skipped; the others may hold records.
        if read.is_ok() {
            salvage.read(&bytes);
        }
    }
    salvage.finish()
}

fn collect_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_files(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
}

/// 256 MiB of one file: journals have 64 MiB, tables of a million records less than this.
const SALVAGE_BYTES_MAX: u64 = 256 << 20;
/// 64 KiB: longer than any record within the model's limits.
const RECORD_BYTES_MAX: usize = 64 * 1024;
/// The first bytes of records; those of format 1 began with their key.
const RECORD_PREFIXES: [&[u8]; 3] = [FORMAT_PREFIX, b"{\"id\":", b"{\"name\":"];
/// Sixteen digits and a space stand before a mark's JSON.
const MARK_SEAL_BYTES: usize = 17;
/// A mark is one short line.
const MARK_BYTES_MAX: usize = 4096;
