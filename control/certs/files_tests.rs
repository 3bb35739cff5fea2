#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::sync::Mutex;

use serde::Deserialize;

use super::*;

/// Injects a crash or a full disk at a step of a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    steps: usize,
    fail_at: Option<usize>,
    errno: i32,
    has_crashed: bool,
}

impl Faults {
    /// Power loss: the step with this number, counted from now, and all later ones fail, without cleanup.
    pub(crate) fn crash_at(&self, step: usize) {
        *self.0.lock().unwrap() = Plan { fail_at: Some(step), errno: libc::EIO, ..Plan::default() };
    }

    /// From the next step on, the system returns this error.
    pub(crate) fn refuse(&self, errno: i32) {
        *self.0.lock().unwrap() = Plan { fail_at: Some(0), errno, ..Plan::default() };
    }

    pub(crate) fn mend(&self) {
        *self.0.lock().unwrap() = Plan::default();
    }

    pub(super) fn step(&self) -> io::Result<()> {
        let mut plan = self.0.lock().unwrap();
        let step = plan.steps;
        plan.steps += 1;
        match plan.fail_at {
            Some(fail_at) if step >= fail_at => {
                plan.has_crashed = plan.errno == libc::EIO;
                Err(io::Error::from_raw_os_error(plan.errno))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.0.lock().unwrap().has_crashed
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

fn note(text: &str) -> Note {
    Note { text: text.to_owned() }
}

fn host(name: &str) -> Hostname {
    Hostname::parse(name).unwrap()
}

fn pair(name: &str) -> Pair {
    let text = |label: &str| format!("-----BEGIN {label}-----\n{name}\n-----END {label}-----\n").into_bytes();
    Pair { chain: text("CERTIFICATE"), key: text("PRIVATE KEY") }
}

fn dir() -> (tempfile::TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(&dir.path().join("certs"));
    files.prepare().unwrap();
    (dir, files)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

/// Marks of chain and key on the disk: `1+1` for a matching pair.
fn both(files: &Files, host: &Hostname) -> Option<String> {
    let pair = files.read_identity(host).unwrap()?;
    let middle =
        |pem: &[u8]| String::from_utf8(pem.to_vec()).unwrap().lines().nth(1).unwrap_or_default().to_owned();
    Some(format!("{}+{}", middle(&pair.chain), middle(&pair.key)))
}

#[test]
fn written_files_are_read_and_private() {
    let (dir, files) = dir();
    let shop = host("shop.example.com");
    assert_eq!(files.read_identity(&shop).unwrap(), None);
    assert!(!files.has_identity(&shop));
    files.write_identity(&shop, &pair("1")).unwrap();
    assert!(files.has_identity(&shop));
    let read = files.read_identity(&shop).unwrap().unwrap();
    assert_eq!(read, pair("1"));
    files.write_domain_file(&shop, DomainFile::State, &note("x")).unwrap();
    files.write_common("budgets.json", &note("y")).unwrap();
    files.write_common("accounts/one.json", &note("z")).unwrap();
    let root = dir.path().join("certs");
    for path in ["", "domains", "domains/shop.example.com", "accounts"] {
        assert_eq!(mode(&root.join(path)), 0o700, "{path}");
    }
    for path in [
        "domains/shop.example.com/identity.pem",
        "domains/shop.example.com/state.json",
        "budgets.json",
        "accounts/one.json",
    ] {
        assert_eq!(mode(&root.join(path)), 0o600, "{path}");
    }
    assert_eq!(files.read_domain_file(&shop, DomainFile::State).unwrap(), Some(note("x")));
    assert_eq!(files.read_common("accounts/one.json").unwrap(), Some(note("z")));
    files.remove_domain_file(&shop, DomainFile::State).unwrap();
    files.remove_domain_file(&shop, DomainFile::State).unwrap();
    assert_eq!(files.read_domain_file::<Note>(&shop, DomainFile::State).unwrap(), None);
}

#[test]
fn a_crash_at_any_step_leaves_the_old_pair_or_the_new_one() {
    let (mut saw_old, mut saw_new) = (false, false);
    for step in 0.. {
        let (_dir, files) = dir();
        let shop = host("shop.example.com");
        files.write_identity(&shop, &pair("old")).unwrap();
        files.faults.crash_at(step);
        let result = files.write_identity(&shop, &pair("new"));
        files.faults.mend();
        // State found by the next start.
        let found = both(&files, &shop).unwrap();
        match found.as_str() {
            "old+old" => saw_old = true,
            "new+new" => saw_new = true,
            torn => panic!("step {step} left {torn:?}"),
        }
        if result.is_ok() {
            assert_eq!(found, "new+new");
            break;
        }
        // Leftovers of the crash do not prevent the next write.
        files.write_identity(&shop, &pair("newer")).unwrap();
        assert_eq!(both(&files, &shop).unwrap(), "newer+newer");
        assert_eq!(files.list().unwrap().with_identity, std::slice::from_ref(&shop));
    }
    assert!(saw_old && saw_new);
}

#[test]
fn a_crash_in_a_removal_leaves_no_certificate_without_its_key() {
    for step in 0.. {
        let (_dir, files) = dir();
        let shop = host("shop.example.com");
        files.write_identity(&shop, &pair("1")).unwrap();
        files.write_domain_file(&shop, DomainFile::State, &note("x")).unwrap();
        files.faults.crash_at(step);
        let result = files.remove_domain(&shop);
        files.faults.mend();
        let found = both(&files, &shop);
        assert!(found.is_none() || found.as_deref() == Some("1+1"), "{found:?}");
        let is_done = result.is_ok();
        files.remove_domain(&shop).unwrap();
        let listing = files.list().unwrap();
        assert!(listing.with_identity.is_empty() && listing.without.is_empty());
        if is_done {
            break;
        }
    }
}

#[test]
fn a_full_disk_keeps_the_old_pair_and_names_the_remedy() {
    let (dir, files) = dir();
    let shop = host("shop.example.com");
    files.write_identity(&shop, &pair("old")).unwrap();
    files.faults.refuse(libc::ENOSPC);
    let error = files.write_identity(&shop, &pair("new")).unwrap_err();
    files.faults.mend();
    assert!(error.is_common());
    let text = error.to_string();
    assert!(
        text.contains("identity.pem") && text.ends_with("; free some space on this file system"),
        "{text}"
    );
    assert_eq!(both(&files, &shop).unwrap(), "old+old");
    let left: Vec<_> = fs::read_dir(dir.path().join("certs/domains/shop.example.com")).unwrap().collect();
    assert_eq!(left.len(), 1, "no partial file remains: {left:?}");
    for (errno, advice) in
        [(libc::EACCES, "chown"), (libc::EROFS, "mount it writable"), (libc::EDQUOT, "free some")]
    {
        files.faults.refuse(errno);
        let error = files.write_identity(&shop, &pair("new")).unwrap_err();
        files.faults.mend();
        assert!(error.is_common() && error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn no_name_leaves_the_directory() {
    let (_dir, files) = dir();
    for name in ["", ".", "..", "../x", "/etc", "accounts/../../x", "accounts//.."] {
        assert!(files.write_common(name, &note("x")).is_err(), "{name:?}");
        assert!(files.read_common::<Note>(name).is_err(), "{name:?}");
    }
    // Folder names are host names, which are one component by construction.
    for name in ["..", "a/b", "/etc", "a\0b", ".a", "a..b"] {
        assert!(Hostname::parse(name).is_err(), "{name:?}");
    }
    assert!(files.folder(&host("a.example")).is_ok());
}

#[test]
fn links_are_not_followed() {
    let (dir, files) = dir();
    let (a, b) = (host("a.example"), host("b.example"));
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("identity.pem"), "stolen").unwrap();
    let domains = dir.path().join("certs/domains");
    // A link in place of a folder.
    symlink(&outside, domains.join("a.example")).unwrap();
    assert!(matches!(files.read_identity(&a).unwrap_err(), FilesError::NotAFile(_)));
    assert!(matches!(files.write_identity(&a, &pair("1")).unwrap_err(), FilesError::NotAFile(_)));
    assert!(matches!(files.remove_domain(&a).unwrap_err(), FilesError::NotAFile(_)));
    assert!(!files.has_identity(&a));
    // A link in place of a file.
    fs::create_dir(domains.join("b.example")).unwrap();
    symlink(outside.join("identity.pem"), domains.join("b.example/identity.pem")).unwrap();
    assert!(!files.has_identity(&b));
    assert!(matches!(files.read_identity(&b).unwrap_err(), FilesError::NotAFile(_)));
    // A link in place of the temporary file.
    symlink(outside.join("target"), domains.join("b.example/identity.pem.tmp")).unwrap();
    files.write_identity(&b, &pair("1")).unwrap();
    assert_eq!(both(&files, &b).unwrap(), "1+1");
    assert!(!outside.join("target").exists());
    assert_eq!(
        fs::read(outside.join("identity.pem")).unwrap(),
        b"stolen",
        "the link was replaced, not its target"
    );
    let listing = files.list().unwrap();
    assert_eq!(listing.with_identity, [b]);
    assert_eq!(listing.findings.len(), 1, "{:?}", listing.findings);
}

#[test]
fn permissions_of_others_are_removed() {
    let (dir, files) = dir();
    let shop = host("shop.example.com");
    files.write_identity(&shop, &pair("1")).unwrap();
    let root = dir.path().join("certs");
    let pem = root.join("domains/shop.example.com/identity.pem");
    fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&pem, Permissions::from_mode(0o644)).unwrap();
    let findings = files.prepare().unwrap();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].contains("mode 755"), "{findings:?}");
    assert_eq!(mode(&root), 0o700);
    assert!(files.read_identity(&shop).unwrap().is_some());
    assert_eq!(mode(&pem), 0o600);
    assert!(files.prepare().unwrap().is_empty());
}

#[test]
fn a_listing_opens_no_file_and_reports_foreign_entries() {
    let (dir, files) = dir();
    let count = 5_000;
    for n in 0..count {
        let folder = dir.path().join(format!("certs/domains/d{n}.example"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("identity.pem"), "x").unwrap();
    }
    let domains = dir.path().join("certs/domains");
    fs::create_dir(domains.join("bare.example")).unwrap();
    fs::create_dir(domains.join("UPPER.example")).unwrap();
    fs::create_dir(domains.join("not a name")).unwrap();
    fs::write(domains.join("file.example"), "x").unwrap();
    let opened = files.opened();
    let listing = files.list().unwrap();
    assert_eq!(files.opened(), opened);
    assert_eq!(listing.with_identity.len(), count);
    assert_eq!(listing.without, [host("bare.example")]);
    assert_eq!(listing.findings.len(), 3, "{:?}", listing.findings);
}

#[test]
fn a_hand_placed_pair_is_read_until_one_is_stored() {
    let (dir, files) = dir();
    let shop = host("shop.example.com");
    let folder = dir.path().join("certs/domains/shop.example.com");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("certificate.pem"), "chain by hand").unwrap();
    assert!(!files.has_identity(&shop), "no key yet");
    assert_eq!(files.read_identity(&shop).unwrap(), None);
    fs::write(folder.join("key.pem"), "key by hand").unwrap();
    assert!(files.has_identity(&shop));
    let read = files.read_identity(&shop).unwrap().unwrap();
    assert_eq!((read.chain.as_slice(), read.key.as_slice()), (&b"chain by hand"[..], &b"key by hand"[..]));
    files.write_identity(&shop, &pair("1")).unwrap();
    assert_eq!(both(&files, &shop).unwrap(), "1+1");
    files.remove_domain(&shop).unwrap();
    assert!(!folder.exists());
}

#[test]
fn a_damaged_file_is_moved_aside_and_affects_no_other() {
    let (dir, files) = dir();
    let (a, b) = (host("a.example"), host("b.example"));
    files.write_domain_file(&a, DomainFile::State, &note("a")).unwrap();
    files.write_domain_file(&b, DomainFile::State, &note("b")).unwrap();
    let path = dir.path().join("certs/domains/a.example/state.json");
    for damage in [&b""[..], b"{", b"\0\0\0\0", b"{\"text\": 7}", b"[]"] {
        fs::write(&path, damage).unwrap();
        let error = files.read_domain_file::<Note>(&a, DomainFile::State).unwrap_err();
        assert!(matches!(error, FilesError::Damaged { .. }) && !error.is_common(), "{error}");
        assert_eq!(files.read_domain_file::<Note>(&a, DomainFile::State).unwrap(), None, "reported once");
        assert_eq!(fs::read(path.with_added_extension("damaged")).unwrap(), damage);
    }
    assert_eq!(files.read_domain_file(&b, DomainFile::State).unwrap(), Some(note("b")));
    files.write_domain_file(&a, DomainFile::State, &note("again")).unwrap();
    assert_eq!(files.read_domain_file(&a, DomainFile::State).unwrap(), Some(note("again")));
}

#[test]
fn a_damaged_file_is_reported_without_its_content() {
    let (dir, files) = dir();
    let path = dir.path().join("certs/accounts/one.json");
    fs::write(&path, "{\"text\": [\"secret-key\"]}").unwrap();
    let error = files.read_common::<Note>("accounts/one.json").unwrap_err().to_string();
    assert!(!error.contains("secret") && error.contains("moved aside"), "{error}");
}

#[test]
fn sizes_are_bounded_on_both_sides() {
    let (dir, files) = dir();
    let shop = host("shop.example.com");
    files.write_identity(&shop, &pair("1")).unwrap();
    let pem = dir.path().join("certs/domains/shop.example.com/identity.pem");
    fs::write(&pem, vec![b'x'; CERTIFICATE_FILE_BYTES_MAX]).unwrap();
    assert!(files.read_identity(&shop).unwrap().is_some());
    fs::write(&pem, vec![b'x'; CERTIFICATE_FILE_BYTES_MAX + 1]).unwrap();
    assert!(matches!(files.read_identity(&shop).unwrap_err(), FilesError::TooLarge { .. }));
    let named = dir.path().join("ca.pem");
    fs::write(&named, vec![b'x'; CERTIFICATE_FILE_BYTES_MAX + 1]).unwrap();
    assert!(matches!(files.read_named(&named).unwrap_err(), FilesError::TooLarge { .. }));
    assert!(matches!(files.read_named(dir.path()).unwrap_err(), FilesError::NotAFile(_)));
    assert!(matches!(files.read_named(Path::new("/dev/null")).unwrap_err(), FilesError::NotAFile(_)));
}

#[test]
fn an_uncreatable_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let files = Files::new(&dir.path().join("file/certs"));
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("file/certs"), "{error}");
    assert!(files.list().is_err() || files.list().unwrap().with_identity.is_empty());
}

#[test]
fn different_contents_have_different_stamps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, "1").unwrap();
    let first = Stamp::read(&path).unwrap();
    assert_eq!(Stamp::read(&path).unwrap(), first);
    fs::write(dir.path().join("y"), "2").unwrap();
    fs::rename(dir.path().join("y"), &path).unwrap();
    assert_ne!(Stamp::read(&path).unwrap(), first);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert!(!Stamp::read(&path).unwrap().is_open_to_others());
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(Stamp::read(&path).unwrap().is_open_to_others());
}
