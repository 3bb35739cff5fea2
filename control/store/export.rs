//! Logical exports: records as JSON lines, with checksums, independent of the engine.
//!
//! ```text
//! {"ringway_export":2,"revision":7,"records":2}
//! {"kind":"app","seal":"6c1f…","record":{"format":2,"owner":"api","id":"shop",…}}
//! {"kind":"domain","seal":"90ab…","record":{"format":2,"owner":"api","name":"shop.example",…}}
//! {"end":2,"checksum":"53d0…"}
//! ```
//! A complete export is an exact picture of a revision. In a damaged one, every line that matches its
//! checksum is usable.

use std::io::{self, BufRead, Write};

use ringway_model::{Delta, Kind, Revision};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::image::Image;
use crate::mark::SCHEMA;
use crate::record::{Key, Sealed};
use crate::{Batch, ImportError, LoadReport, Loaded, Store, StoreError};

/// Summary of an export, an import or a copy between stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The revision.
    pub revision: Revision,
    /// The findings about the store that was read.
    pub report: LoadReport,
    counts: [usize; Kind::COUNT],
}

impl Summary {
    fn of(loaded: &Loaded) -> Self {
        let mut counts = [0; Kind::COUNT];
        loaded.resources.iter().for_each(|resource| counts[resource.kind().index()] += 1);
        Self { revision: loaded.revision, report: loaded.report.clone(), counts }
    }

    /// The number of resources of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts[kind.index()]
    }
}

/// Writes all records of a store to `to`.
///
/// # Errors
/// The store's error when it cannot be loaded; [`StoreError::Transfer`] when `to` cannot be written.
pub fn export(store: &mut dyn Store, to: &mut dyn Write) -> Result<Summary, StoreError> {
    export_loaded(&store.load()?, to)
}

/// Writes all loaded records to `to`.
///
/// # Errors
/// [`StoreError::Transfer`] when `to` cannot be written.
pub fn export_loaded(loaded: &Loaded, to: &mut dyn Write) -> Result<Summary, StoreError> {
    let image: Image = loaded.resources.iter().collect();
    let mut writer =
        Writer::new(to, loaded.revision, image.totals().records()).map_err(StoreError::Transfer)?;
    for ((kind, _), sealed) in image.iter() {
        writer.record(*kind, sealed).map_err(StoreError::Transfer)?;
    }
    writer.finish().map_err(StoreError::Transfer)?;
    Ok(Summary::of(loaded))
}

/// Imports an export into an empty store. Nothing is stored unless the export is complete.
///
/// # Errors
/// [`StoreError::Transfer`] when `from` cannot be read; [`StoreError::NewerSchema`] and
/// [`StoreError::Import`] when it is not a complete export of a known format; otherwise the store's error,
/// also when it is not empty.
pub fn import(from: &mut dyn BufRead, store: &mut dyn Store) -> Result<Summary, StoreError> {
    let read = read(from).map_err(StoreError::Transfer)?;
    if let Some(found) = read.newer {
        return Err(StoreError::NewerSchema { path: "the export".into(), found, known: SCHEMA });
    }
    if let Some((line, reason)) = read.defect {
        return Err(StoreError::Import { line, reason });
    }
    fill(&read.image.load(read.revision, LoadReport::default()), store)
}

/// Copies all records of one store into another, empty one.
///
/// # Errors
/// The errors of either store, also when `to` is not empty.
pub fn migrate(from: &mut dyn Store, to: &mut dyn Store) -> Result<Summary, StoreError> {
    fill(&from.load()?, to)
}

fn fill(loaded: &Loaded, store: &mut dyn Store) -> Result<Summary, StoreError> {
    let present = store.load()?;
    if present.revision != Revision(0) {
        return Err(StoreError::NotEmpty { revision: present.revision });
    }
    let deltas: Vec<Delta> = loaded.resources.iter().cloned().map(Delta::Put).collect();
    if loaded.revision > Revision(0) {
        store.commit(&Batch { revision: loaded.revision, deltas: &deltas })?;
    }
    Ok(Summary::of(loaded))
}

#[derive(Serialize, Deserialize)]
struct Header {
    ringway_export: u32,
    revision: u64,
    records: u64,
}

#[derive(Serialize, Deserialize)]
struct Footer {
    end: u64,
    checksum: String,
}

/// Writes an export record by record; the header has their number.
pub(crate) struct Writer<W: Write> {
    to: W,
    hash: Xxh3,
    written: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(to: W, revision: Revision, records: u64) -> io::Result<Self> {
        let mut writer = Self { to, hash: Xxh3::new(), written: 0 };
        let header = Header { ringway_export: SCHEMA, revision: revision.0, records };
        writer.line(&serde_json::to_string(&header)?)?;
        Ok(writer)
    }

    pub(crate) fn record(&mut self, kind: Kind, sealed: &Sealed) -> io::Result<()> {
        let body = String::from_utf8_lossy(sealed.body());
        self.written += 1;
        self.line(&format!(r#"{{"kind":"{kind}","seal":"{:016x}","record":{body}}}"#, sealed.seal()))
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        let footer = Footer { end: self.written, checksum: format!("{:016x}", self.hash.digest()) };
        self.line(&serde_json::to_string(&footer)?)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.hash.update(text.as_bytes());
        self.hash.update(b"\n");
        self.to.write_all(text.as_bytes())?;
        self.to.write_all(b"\n")
    }
}

/// The readable part of an export.
pub(crate) struct Read {
    pub(crate) revision: Revision,
    pub(crate) image: Image,
    /// The first mistake; `None` when the export is complete.
    pub(crate) defect: Option<(usize, ImportError)>,
    /// The format of an export that is too new.
    pub(crate) newer: Option<u32>,
}

/// Reads an export. Lines that do not match their checksum are skipped; without a header nothing is read.
pub(crate) fn read(from: &mut dyn BufRead) -> io::Result<Read> {
    let mut read = Read { revision: Revision(0), image: Image::default(), defect: None, newer: None };
    let mut hash = Xxh3::new();
    let mut line = Vec::new();
    let mut number = 0;
    let mut header: Option<Header> = None;
    loop {
        number += 1;
        line.clear();
        let mut bounded = io::Read::take(&mut *from, LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            read.defect.get_or_insert((number, ImportError::Truncated));
            return Ok(read);
        }
        let text = std::str::from_utf8(&line).ok().and_then(|text| text.strip_suffix('\n'));
        let Some(known) = &header else {
            match text.and_then(|text| serde_json::from_str::<Header>(text).ok()) {
                Some(found) if found.ringway_export > SCHEMA => {
                    read.newer = Some(found.ringway_export);
                    return Ok(read);
                }
                Some(found) => {
                    read.revision = Revision(found.revision);
                    header = Some(found);
                }
                None => {
                    read.defect = Some((number, ImportError::Header));
                    return Ok(read);
                }
            }
            hash.update(&line);
            continue;
        };
        if let Some(footer) = text.and_then(|text| serde_json::from_str::<Footer>(text).ok()) {
            let lines = u64::try_from(number - 2).unwrap_or(u64::MAX);
            let fits = footer.checksum == format!("{:016x}", hash.digest())
                && footer.end == lines
                && known.records == lines;
            if !fits {
                read.defect.get_or_insert((number, ImportError::Total));
            }
            return Ok(read);
        }
        hash.update(&line);
        match text.map(record) {
            Some(Ok((key, sealed))) => _ = read.image.put(key, sealed),
            Some(Err(reason)) => _ = read.defect.get_or_insert((number, reason)),
            None => _ = read.defect.get_or_insert((number, ImportError::Syntax)),
        }
    }
}

fn record(line: &str) -> Result<(Key, Sealed), ImportError> {
    let parts = || {
        let (kind, rest) = line.strip_prefix(r#"{"kind":""#)?.split_once(r#"","seal":""#)?;
        let (seal, rest) = rest.split_once(r#"","record":"#)?;
        Some((Kind::parse(kind)?, u64::from_str_radix(seal, 16).ok()?, rest.strip_suffix('}')?))
    };
    let (kind, seal, body) = parts().ok_or(ImportError::Syntax)?;
    let (key, sealed) = Sealed::from_export(kind, seal, body).ok_or(ImportError::Damaged)?;
    Ok(((kind, key), sealed))
}

/// 64 KiB: ten times the longest record within the model's limits.
const LINE_BYTES_MAX: u64 = 64 * 1024;
