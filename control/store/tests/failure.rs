//! Failures: a killed process, a full disk, a directory that cannot be used.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::StoreError;

const PLACE: &str = "RINGWAY_STORE_TEST_PLACE";

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let place = tempfile::tempdir().unwrap();
    let mut random = Random(0x5eed_0001);
    let mut last = 0;
    for round in 0..15 {
        let mut child = this_test("tests::failure::child_commits_until_it_is_killed", place.path(), None);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // The number of commits decides the moment of the kill.
        let mut acknowledged = last;
        for _ in 0..1 + random.below(120) {
            acknowledged = next_revision(&mut lines).expect("the child reports revisions until it is killed");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(revision) = next_revision(&mut lines) {
            acknowledged = revision;
        }

        let loaded = load(place.path());
        let found = loaded.revision.0;
        assert!(!loaded.report.is_degraded(), "round {round}: {}", loaded.report);
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "round {round}: {acknowledged} → {found}"
        );
        assert!(
            same_records(&loaded, &state_at(found)),
            "round {round}: not the records of revision {found}"
        );
        assert!(
            !place.path().join("aside").exists() || no_entries(&place.path().join("aside")),
            "a copy is left"
        );
        last = found;
    }
}

#[test]
#[ignore = "the child of the test above, which kills it"]
fn child_commits_until_it_is_killed() {
    let mut store = Fjall::open(std::env::var_os(PLACE).unwrap()).unwrap();
    let from = store.load().unwrap().revision.0 + 1;
    let mut out = std::io::stdout();
    for revision in from..from + 100_000 {
        commit_all(&mut store, [revision]);
        writeln!(out, "\nrevision {revision}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_full_disk_refuses_the_change_and_the_next_one_works() {
    let place = tempfile::tempdir().unwrap();
    {
        let mut store = Fjall::open(place.path()).unwrap();
        store.load().unwrap();
        commit_all(&mut store, 1..=3);
        store.close().unwrap();
    }
    // 128 KiB of each file may be written: the journal of the engine reaches that soon, HEAD never.
    let child = this_test("tests::failure::child_meets_a_full_disk", place.path(), Some(256));
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let revisions: Vec<u64> =
        text.lines().filter_map(|line| line.strip_prefix("revision ")?.parse().ok()).collect();
    let last = *revisions.last().expect("the child commits something before the disk is full and after");

    let loaded = load(place.path());
    assert!(!loaded.report.is_degraded(), "{}", loaded.report);
    assert_eq!(loaded.revision, Revision(last));
    assert!(same_records(&loaded, &state_at(last)), "the refused batch left a trace");
}

#[test]
#[ignore = "the child of the test above, which limits the size of its files"]
fn child_meets_a_full_disk() {
    let mut store = Fjall::open(std::env::var_os(PLACE).unwrap()).unwrap();
    let from = store.load().unwrap().revision.0 + 1;
    let mut out = std::io::stdout();
    let mut acknowledge = |revision| writeln!(out, "\nrevision {revision}").unwrap();

    let full = (from..from + 5_000).find(|&revision| {
        let stored = store.commit(&Batch { revision: Revision(revision), deltas: &deltas_of(revision) });
        if stored.is_ok() {
            acknowledge(revision);
        }
        stored.is_err()
    });
    let full = full.expect("the limit is reached long before");
    assert!(!store.describe().warnings.is_empty(), "no warning in the status");
    // The disk is still full, and not even a new file has room; this batch must leave no trace.
    let (_, hard) = rlimit::getrlimit(rlimit::Resource::FSIZE).unwrap();
    rlimit::setrlimit(rlimit::Resource::FSIZE, 1, hard).unwrap();
    let trace = [Delta::Put(instance(1_000_000, full).into())];
    store.commit(&Batch { revision: Revision(full), deltas: &trace }).expect_err("nothing has changed yet");

    rlimit::setrlimit(rlimit::Resource::FSIZE, hard, hard).unwrap();
    for revision in full..full + 20 {
        commit_all(&mut store, [revision]);
        acknowledge(revision);
    }
    assert!(store.describe().warnings.is_empty(), "{:?}", store.describe().warnings);
}

#[test]
fn a_second_process_gets_locked() {
    let place = tempfile::tempdir().unwrap();
    let first = Fjall::open(place.path()).unwrap();
    let second = Fjall::open(place.path());
    assert!(matches!(second, Err(StoreError::Locked { .. })));
    drop(first);
    assert!(Fjall::open(place.path()).is_ok());
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Fjall::open(file.path()), Err(StoreError::NotADirectory { .. })));
    assert!(matches!(Fjall::open(file.path().join("below")), Err(StoreError::NotWritable { .. })));
}

fn this_test(name: &str, place: &Path, blocks_max: Option<u32>) -> Child {
    let exe = std::env::current_exe().unwrap();
    let mut command = match blocks_max {
        None => Command::new(exe),
        // The signal of the limit is ignored, so that a write fails as on a full disk.
        Some(blocks) => {
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg(format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\""))
                .arg(exe);
            command
        }
    };
    command
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(PLACE, place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn next_revision(lines: &mut impl BufRead) -> Option<u64> {
    let mut line = String::new();
    while lines.by_ref().take(1024).read_line(&mut line).ok()? > 0 {
        // A partial last line was not acknowledged.
        if let Some(revision) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("revision ")) {
            return revision.parse().ok();
        }
        line.clear();
    }
    None
}

fn no_entries(path: &Path) -> bool {
    std::fs::read_dir(path).unwrap().next().is_none()
}

/// Random generator with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
