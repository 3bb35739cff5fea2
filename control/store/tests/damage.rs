//! Damaged files: bits flipped, files cut and deleted, one at a time. Every start must succeed, and must
//! report when it serves anything but the acknowledged state.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::{Finding, StoreError, durable};

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Flips one bit at this share of the used length.
    Flip(f64),
    /// Cuts the file to this share.
    Cut(f64),
    Delete,
}

const DAMAGES: [Damage; 9] = [
    Damage::Flip(0.0),
    Damage::Flip(0.13),
    Damage::Flip(0.5),
    Damage::Flip(0.77),
    Damage::Flip(0.999),
    Damage::Cut(0.0),
    Damage::Cut(0.5),
    Damage::Cut(0.98),
    Damage::Delete,
];

const LAST: u64 = 200;

#[test]
fn damage_after_a_clean_end_loses_nothing() {
    let place = made(LAST, Ended::Clean);

    let expected = state_at(LAST);
    for_each_damage(place.path(), |case, loaded| {
        assert!(same_records(loaded, &expected), "{case}: other records\n{}", loaded.report);
        assert!(loaded.revision >= Revision(LAST), "{case}: revision {}", loaded.revision);
    });
}

#[test]
fn damage_after_a_crash_is_never_silent() {
    let place = made(LAST, Ended::Killed);
    assert_never_silent(place.path(), LAST);
}

/// Most records are in tables then, and the newest in the journal.
#[test]
fn damage_to_compacted_files_is_never_silent() {
    const COMPACTED: u64 = 2_500;
    let place = made(COMPACTED, Ended::Clean);
    assert!(durable::disk_bytes(&place.path().join("live")) < 200_000, "it was not compacted");
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    commit_all(&mut store, COMPACTED + 1..=COMPACTED + 20);
    drop(store);
    assert_never_silent(place.path(), COMPACTED + 20);
}

fn assert_never_silent(place: &Path, last: u64) {
    let expected = state_at(last);
    for_each_damage(place, |case, loaded| {
        if same_records(loaded, &expected) {
            assert!(loaded.revision >= Revision(last), "{case}: revision {}", loaded.revision);
        } else {
            assert!(loaded.report.is_degraded(), "{case}: silently other records");
            assert!(
                loaded.revision > Revision(last),
                "{case}: revision {} has two meanings",
                loaded.revision
            );
            assert!(
                loaded.report.findings().iter().any(|finding| matches!(finding, Finding::KeptAside { .. })),
                "{case}: no copy\n{}",
                loaded.report
            );
        }
    });
}

#[test]
fn an_older_export_fills_the_holes_of_damaged_records() {
    let place = directory();
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    commit_all(&mut store, 1..=100);
    store.close().unwrap();
    commit_all(&mut store, 101..=LAST);
    drop(store);
    fs::remove_dir_all(place.path().join("live")).unwrap();

    let loaded = load(place.path());
    assert!(same_records(&loaded, &state_at(100)), "{}", loaded.report);
    assert_eq!(loaded.report.fallback(), Some(Revision(100)));
    assert_eq!(loaded.revision, Revision(LAST + 1));
    let lost = Finding::ChangesLost {
        since: Revision(100),
        acknowledged: Revision(LAST),
        served_as: Revision(LAST + 1),
    };
    assert!(loaded.report.findings().contains(&lost), "{}", loaded.report);
}

#[test]
fn one_damaged_record_costs_only_itself() {
    let place = made(50, Ended::Killed);
    let expected = state_at(50);
    let victim = domain_name(25);
    let journal = file_with(place.path(), victim.as_str().as_bytes());
    damage_all(&journal, victim.as_str().as_bytes());

    let loaded = load(place.path());
    assert!(loaded.report.is_degraded());
    let others: Vec<Resource> =
        expected.resources.into_iter().filter(|resource| resource.key() != victim.as_str()).collect();
    assert_eq!(loaded.resources, others, "{}", loaded.report);
    assert_eq!(loaded.revision, Revision(51));
    let told = loaded.report.findings().iter().any(|finding| {
        matches!(finding, Finding::ChangesLost { since: Revision(24), acknowledged: Revision(50), .. })
    });
    assert!(told, "{}", loaded.report);
}

#[test]
fn everything_is_salvaged_when_no_record_is_damaged() {
    let place = made(LAST, Ended::Killed);
    // The engine's own bytes at the beginning, before the first record.
    let journal = file_with(place.path(), b"\"schema\":");
    let file = fs::File::options().write(true).open(&journal).unwrap();
    file.write_all_at(&[0xff; 4], 0).unwrap();

    let loaded = load(place.path());
    assert!(same_records(&loaded, &state_at(LAST)), "{}", loaded.report);
    assert_eq!(loaded.revision, Revision(LAST));
    assert!(loaded.report.is_degraded());
    assert!(loaded.report.findings().contains(&Finding::NothingLost { revision: Revision(LAST) }));
}

fn image_of(store: &mut Memory) -> crate::image::Image {
    store.load().unwrap().resources.iter().collect()
}

#[test]
fn salvage_recognises_a_removed_app_with_its_instances() {
    let mut salvage = crate::salvage::Salvage::default();
    let mut store = Memory::new();
    let remove_all: Vec<Delta> =
        (1..=3).map(|n| Delta::Remove(instance(n, n).into())).chain([Delta::Remove(app().into())]).collect();
    // The records of a journal: for each batch the records, then the mark.
    for revision in 1..=4 {
        let deltas = if revision == 4 { remove_all.clone() } else { deltas_of(revision) };
        let batch = Batch { revision: Revision(revision), deltas: &deltas };
        let mut bytes = Vec::new();
        for (_, sealed) in crate::image::edits(&batch) {
            bytes.extend_from_slice(b"\0junk{");
            bytes.extend_from_slice(sealed.as_ref().map_or(&[], |sealed| sealed.bytes()));
        }
        store.commit(&batch).unwrap();
        let totals = image_of(&mut store).totals();
        bytes.extend_from_slice(&crate::mark::Mark::new(Revision(revision), totals).encode());
        salvage.read(&bytes);
    }
    let salvaged = salvage.finish();
    assert_eq!(salvaged.image, image_of(&mut store));
    assert_eq!(salvaged.whole_at, Revision(4));
}

#[test]
fn a_repaired_store_works_and_restarts_cleanly() {
    let place = made(50, Ended::Killed);
    fs::remove_dir_all(place.path().join("live/keyspaces")).unwrap();

    let mut store = Fjall::open(place.path()).unwrap();
    let first = store.load().unwrap();
    assert!(first.report.is_degraded());
    let next = first.revision.0 + 1;
    commit_all(&mut store, [next]);
    let after = store.load().unwrap();
    drop(store);

    let second = load(place.path());
    assert!(!second.report.is_degraded(), "{}", second.report);
    assert_eq!(second.revision, Revision(next));
    assert!(same_records(&second, &after));
}

#[test]
fn copies_of_damaged_files_are_bounded_and_have_a_report() {
    let place = directory();
    for round in 0..5 {
        let mut store = Fjall::open(place.path()).unwrap();
        let revision = store.load().unwrap().revision.0 + 1;
        commit_all(&mut store, [revision]);
        drop(store);
        fs::write(place.path().join("HEAD"), format!("nonsense {round}")).unwrap();
        assert!(load(place.path()).report.is_degraded());
    }
    let mut copies: Vec<PathBuf> =
        fs::read_dir(place.path().join("aside")).unwrap().map(|entry| entry.unwrap().path()).collect();
    copies.sort();
    assert_eq!(copies.len(), crate::limits::STORE_COPIES_MAX);
    let newest = copies.last().unwrap();
    assert_eq!(fs::read_to_string(newest.join("HEAD")).unwrap(), "nonsense 4");
    assert!(fs::read_to_string(newest.join("REPORT")).unwrap().contains("HEAD is damaged"));
    assert!(newest.join("live").is_dir());
}

#[test]
fn a_directory_of_a_newer_version_is_refused_unchanged() {
    let place = made(3, Ended::Killed);
    let head = place.path().join("HEAD");
    let body = r#"{"schema":99,"something":"new"}"#;
    let seal = crate::record::checksum(0, b"mark", body.as_bytes());
    fs::write(&head, format!("{seal:016x} {body}\n")).unwrap();
    let before = fs::read(&head).unwrap();

    let refused = Fjall::open(place.path()).unwrap().load();
    assert!(matches!(refused, Err(StoreError::NewerSchema { found: 99, .. })), "{refused:?}");
    assert_eq!(fs::read(&head).unwrap(), before);
}

/// Damages a copy of `pristine` in every way, one at a time, and runs `check` on the result.
fn for_each_damage(pristine: &Path, mut check: impl FnMut(&str, &Loaded)) {
    let mut files = Vec::new();
    collect_files(pristine, &mut files);
    assert!(files.len() > 8, "only {files:?}");
    let (mut cases, mut degraded) = (0, 0);
    for file in files {
        let name = file.strip_prefix(pristine).unwrap();
        for damage in DAMAGES {
            let case = format!("{} {damage:?}", name.display());
            let copy = directory();
            durable::copy_dir(pristine, copy.path()).unwrap();
            if !inflict(&copy.path().join(name), damage) {
                continue;
            }
            let mut store = Fjall::open(copy.path()).unwrap();
            let loaded = store.load().unwrap_or_else(|error| panic!("{case}: {error}"));
            check(&case, &loaded);
            cases += 1;
            degraded += usize::from(loaded.report.is_degraded());
            // It accepts changes.
            let next = Revision(loaded.revision.0 + 1);
            store
                .commit(&Batch { revision: next, deltas: &[] })
                .unwrap_or_else(|error| panic!("{case}: {error}"));
        }
    }
    assert!(cases > 50 && degraded > cases / 4, "{degraded} of {cases} cases were noticed");
}

fn file_with(dir: &Path, needle: &[u8]) -> PathBuf {
    let mut files = Vec::new();
    collect_files(&dir.join("live"), &mut files);
    let holds = |path: &PathBuf| !places(path, needle).is_empty();
    files.into_iter().find(holds).expect("a file holds it in clear")
}

/// Positions of a text in the first megabyte of a file.
fn places(path: &Path, needle: &[u8]) -> Vec<usize> {
    let mut bytes = Vec::new();
    fs::File::open(path).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
    (0..bytes.len().saturating_sub(needle.len())).filter(|at| bytes[*at..].starts_with(needle)).collect()
}

fn damage_all(path: &Path, needle: &[u8]) {
    let file = fs::File::options().write(true).open(path).unwrap();
    for at in places(path, needle) {
        file.write_all_at(&vec![0xff; needle.len()], at as u64).unwrap();
    }
}

/// Damages a file; false when there was nothing to damage.
fn inflict(path: &Path, damage: Damage) -> bool {
    if let Damage::Delete = damage {
        fs::remove_file(path).unwrap();
        return true;
    }
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    // The journal has 64 MB, mostly a hole; the written part is at its beginning.
    let mut bytes = Vec::new();
    (&file).take(1 << 20).read_to_end(&mut bytes).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used == 0 {
        return false;
    }
    let at = |share: f64| (used as f64 * share) as usize;
    match damage {
        Damage::Flip(share) => file.write_all_at(&[bytes[at(share)] ^ 0x10], at(share) as u64).unwrap(),
        Damage::Cut(share) => file.set_len(at(share) as u64).unwrap(),
        Damage::Delete => {}
    }
    true
}

fn collect_files(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// A process that is killed during every start must not fill the disk with copies.
#[test]
fn the_copy_of_a_killed_start_is_kept_once_and_removed_by_a_good_start() {
    let place = made(3, Ended::Killed);
    let aside = place.path().join("aside");
    let unchecked = aside.join("unchecked");
    for round in 0..4 {
        // A start that is killed before the check, or during the copy.
        fs::create_dir_all(aside.join("unchecked.part")).unwrap();
        let store = Fjall::open(place.path()).unwrap();
        store.copy_unchecked().unwrap();
        assert_eq!(fs::read_dir(&aside).unwrap().count(), if round == 0 { 1 } else { 2 });
        assert!(unchecked.join("live").is_dir() && unchecked.join("HEAD").is_file());
    }
    let loaded = load(place.path());
    assert!(!loaded.report.is_degraded() && loaded.revision == Revision(3), "{}", loaded.report);
    assert!(!unchecked.exists(), "the copy is removed when nothing is missing");
}

/// The files before and after the first start are kept for an analysis.
#[test]
fn damage_before_a_killed_start_is_kept() {
    let place = made(3, Ended::Killed);
    let head = place.path().join("HEAD");
    fs::write(&head, "as it was").unwrap();
    Fjall::open(place.path()).unwrap().copy_unchecked().unwrap();
    fs::write(&head, "changed since").unwrap();

    let loaded = load(place.path());
    assert!(loaded.report.is_degraded() && same_records(&loaded, &state_at(3)), "{}", loaded.report);
    for (copy, text) in [("0001", "as it was"), ("0002", "changed since")] {
        let copy = place.path().join("aside").join(copy);
        assert_eq!(fs::read_to_string(copy.join("HEAD")).unwrap(), text);
        assert!(copy.join("live").is_dir());
    }
    assert!(!place.path().join("aside/unchecked").exists());
}

#[test]
fn missing_spares_are_reported_and_written_again() {
    for name in ["HEAD", "export.jsonl"] {
        let place = made(3, Ended::Clean);
        let path = place.path().join(name);
        fs::remove_file(&path).unwrap();
        let mut store = Fjall::open(place.path()).unwrap();
        let loaded = store.load().unwrap();
        assert!(same_records(&loaded, &state_at(3)) && !loaded.report.is_degraded(), "{}", loaded.report);
        let reported = loaded.report.findings().contains(&Finding::SpareMissing { path: path.clone() });
        assert!(reported, "{name}: {}", loaded.report);
        store.close().unwrap();
        drop(store);
        assert!(path.exists(), "{name}");
        let again = load(place.path()).report;
        assert!(again.findings().is_empty(), "{name}: {again}");
    }
}
