#![allow(clippy::unwrap_used)]
use super::*;
use crate::audit::{audit_files, verify_audit};
use std::os::unix::fs::PermissionsExt;

const LARGE: u64 = 1 << 20;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    (folder, path)
}

fn members(number: usize) -> String {
    format!(r#""action":"registerApp","n":{number}"#)
}

fn write(writer: &mut Writer, numbers: std::ops::Range<usize>) {
    for number in numbers {
        writer.write(&[&members(number)]).unwrap();
    }
}

/// Number of lines of a chain that is whole.
fn whole(path: &Path) -> u64 {
    verify_audit(&audit_files(path)).unwrap().lines
}

fn fault(path: &Path) -> String {
    verify_audit(&audit_files(path)).unwrap_err().to_string()
}

#[test]
fn a_chain_continues_over_starts() {
    let (_folder, path) = folder();
    write(&mut Writer::new(path.clone(), LARGE), 0..3);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut writer = Writer::new(path.clone(), LARGE);
    write(&mut writer, 3..5);
    let verified = verify_audit(&audit_files(&path)).unwrap();
    assert_eq!((verified.lines, verified.sequence, verified.is_complete), (5, 5, true));
    assert_eq!(verified.hash, writer.end().hash);
}

#[test]
fn rotation_carries_the_chain_over() {
    let (_folder, path) = folder();
    write(&mut Writer::new(path.clone(), 1000), 0..12);
    let files = audit_files(&path);
    assert!(files.len() > 2, "{files:?}");
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 1000));
    assert_eq!(whole(&path), 12);
    // The newest file alone is whole, and known to be a part.
    let verified = verify_audit(std::slice::from_ref(&path)).unwrap();
    assert!(!verified.is_complete && verified.sequence == 12);
}

#[test]
fn a_start_between_rotation_and_first_line_continues_the_chain() {
    let (_folder, path) = folder();
    write(&mut Writer::new(path.clone(), LARGE), 0..2);
    fs::rename(&path, rotated(&path, 1)).unwrap();
    write(&mut Writer::new(path.clone(), LARGE), 2..4);
    assert_eq!(whole(&path), 4);
}

#[test]
fn only_so_many_files_are_kept() {
    let (_folder, path) = folder();
    write(&mut Writer::new(path.clone(), 1), 0..AUDIT_FILES_MAX + 5);
    assert_eq!(audit_files(&path).len(), AUDIT_FILES_MAX + 1);
    let verified = verify_audit(&audit_files(&path)).unwrap();
    assert!(!verified.is_complete && verified.sequence == AUDIT_FILES_MAX as u64 + 5);
}

#[test]
fn an_edit_a_removal_and_a_cut_are_found_at_their_line() {
    let (_folder, path) = folder();
    write(&mut Writer::new(path.clone(), LARGE), 0..4);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let check = |content: String, expected: &str| {
        fs::write(&path, content).unwrap();
        let found = fault(&path);
        assert!(found.contains(expected), "{found}, not {expected}");
    };
    check(text.replace(r#""n":1"#, r#""n":7"#), "audit.log:2: the line was changed");
    check(text.replace(r#""n":3"#, r#""n":7"#), "audit.log:4: the line was changed");
    check([lines[0], lines[2], lines[3], ""].join("\n"), "audit.log:2: the line does not follow");
    check([lines[0], lines[0], lines[1], ""].join("\n"), "audit.log:2: the line does not follow");
    check([lines[0], "nonsense", lines[1], ""].join("\n"), "audit.log:2: the line is not one");
    check(text.trim_end().to_owned(), "audit.log:4: the line is incomplete");
    fs::remove_file(&path).unwrap();
    assert!(fault(&path).contains("cannot read"));
}

#[test]
fn an_incomplete_last_line_is_cut_off_and_reported() {
    let (_folder, path) = folder();
    write(&mut Writer::new(path.clone(), LARGE), 0..2);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(br#"{"seq":3,"prev"#).unwrap();
    write(&mut Writer::new(path.clone(), LARGE), 2..3);
    assert_eq!(whole(&path), 4);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().nth(2).unwrap().contains(r#""action":"audit.torn","lost":14"#), "{text}");
}

#[test]
fn a_broken_last_line_begins_a_new_chain_and_stays_broken() {
    let (_folder, path) = folder();
    write(&mut Writer::new(path.clone(), LARGE), 0..2);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(r#""n":1"#, r#""n":7"#)).unwrap();
    write(&mut Writer::new(path.clone(), LARGE), 2..3);
    assert!(fault(&path).contains("audit.log:2: the line was changed"));
}

#[test]
fn a_file_that_was_moved_away_is_replaced() {
    let (_folder, path) = folder();
    let mut writer = Writer::new(path.clone(), LARGE);
    write(&mut writer, 0..2);
    let moved = path.with_extension("moved");
    fs::rename(&path, &moved).unwrap();
    write(&mut writer, 2..4);
    let verified = verify_audit(&[moved, path]).unwrap();
    assert_eq!((verified.lines, verified.sequence), (4, 4));
}

#[test]
fn a_file_of_another_process_is_left_alone() {
    let (_folder, path) = folder();
    let mut first = Writer::new(path.clone(), LARGE);
    write(&mut first, 0..1);
    let mut second = Writer::new(path.clone(), LARGE);
    assert_eq!(second.write(&[&members(1)]).unwrap_err().kind(), ErrorKind::ResourceBusy);
    drop(first);
    write(&mut second, 1..2);
    assert_eq!(whole(&path), 2);
}

#[test]
fn a_full_device_is_an_error_and_loses_no_chain() {
    // Writes to /dev/full fail as on a full disk; it has no length and takes no lock of a file.
    let mut writer = Writer::new(PathBuf::from("/dev/full"), LARGE);
    assert!(writer.write(&[&members(0)]).is_err());
    assert_eq!(writer.end().sequence, 0, "nothing counts as written");
}
