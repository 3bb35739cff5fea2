#![allow(clippy::unwrap_used)]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

fn texts(path: &Path) -> Vec<(String, String)> {
    let named = |source: Source| {
        let name = Path::new(&*source.name).file_name().unwrap().to_string_lossy().into_owned();
        (name, source.text)
    };
    read_sources(path).unwrap().into_iter().map(named).collect()
}

fn refusal(path: &Path) -> String {
    let error = read_sources(path).unwrap_err();
    error.to_string().replace(path.to_str().unwrap(), "PATH")
}

#[test]
fn reads_the_documents_of_a_folder_by_name_and_leaves_leftovers_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["b.yml", "a.yaml", "c.json"] {
        fs::write(at(name), name).unwrap();
    }
    for name in
        [".a.yaml.swp", "a.yaml~", ".#a.yaml", "#a.yaml#", "a.yaml.bak", "4913", ".hidden.yaml", "README"]
    {
        fs::write(at(name), "leftover").unwrap();
    }
    fs::create_dir(at("folder.yaml")).unwrap();
    let text = |name: &str| (name.to_owned(), name.to_owned());
    assert_eq!(texts(folder.path()), [text("a.yaml"), text("b.yml"), text("c.json")]);
}

#[test]
fn reads_one_file_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ringway.conf");
    fs::write(&file, "version: v1").unwrap();
    assert_eq!(texts(&file), [("ringway.conf".to_owned(), "version: v1".to_owned())]);
}

#[test]
fn names_the_reason_why_documents_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(refusal(folder.path()), "PATH has no file that ends with .yaml, .yml or .json");
    assert_eq!(refusal(&at("absent")), "PATH cannot be read");
    fs::write(at("latin1.yaml"), b"a: 1\nb: caf\xe9\n").unwrap();
    assert_eq!(refusal(&at("latin1.yaml")), "PATH:2: not UTF-8");
    fs::remove_file(at("latin1.yaml")).unwrap();
    symlink("nowhere", at("dangling.yaml")).unwrap();
    assert!(refusal(folder.path()).ends_with("dangling.yaml cannot be read"));
    fs::remove_file(at("dangling.yaml")).unwrap();
    for number in 0..=CONFIG_FILES_MAX {
        fs::write(at(&format!("{number}.yaml")), "").unwrap();
    }
    assert!(refusal(folder.path()).starts_with("PATH has more than 1000 documents"));
}

#[test]
fn bounds_all_documents_together() {
    let folder = tempfile::tempdir().unwrap();
    let half = "#".repeat((CONFIG_BYTES_MAX / 2) as usize);
    fs::write(folder.path().join("a.yaml"), &half).unwrap();
    fs::write(folder.path().join("b.yaml"), &half).unwrap();
    assert_eq!(read_sources(folder.path()).unwrap().len(), 2);
    fs::write(folder.path().join("c.yaml"), "#").unwrap();
    assert!(refusal(folder.path()).contains("more than 8 MiB together"));
}

#[test]
fn does_not_wait_for_the_writer_of_a_fifo() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(refusal(&fifo), "PATH is not a regular file");
}

#[test]
fn the_stamp_differs_after_each_save() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, "v: 1").unwrap();
    let read = read(folder.path()).unwrap().stamp;
    assert_eq!(stamp(folder.path(), &ScriptPaths::default()).unwrap(), read);
    fs::write(folder.path().join("new"), "v: 1").unwrap();
    assert_eq!(stamp(folder.path(), &ScriptPaths::default()).unwrap(), read, "another file");
    fs::rename(folder.path().join("new"), &file).unwrap();
    assert_ne!(stamp(folder.path(), &ScriptPaths::default()).unwrap(), read);
}

#[test]
fn a_file_that_no_folder_names_any_longer_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, "v: 1").unwrap();
    let open = File::open(&file).unwrap();
    assert!(read(&file).unwrap().unlinked.is_empty());
    fs::remove_file(&file).unwrap();
    use std::os::fd::AsRawFd;
    // As a file that was mounted by itself and replaced outside: the mount keeps the old one.
    let kept = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    assert_eq!(read(&kept).unwrap().unlinked, [kept]);
}

#[test]
fn watches_every_folder_on_the_way_to_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    fs::create_dir(root.join("..v1")).unwrap();
    fs::write(root.join("..v1/a.yaml"), "").unwrap();
    symlink("..v1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    let names = |watched: &Watched, folder: &Path| -> Vec<String> {
        let mut names: Vec<String> = watched.folders[folder]
            .named
            .iter()
            .map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned())
            .collect();
        names.sort();
        names
    };
    let of_file = watched(&root.join("a.yaml"));
    assert_eq!(names(&of_file, &root), ["..data", "a.yaml"]);
    assert_eq!(names(&of_file, &root.join("..v1")), ["a.yaml"]);
    let of_folder = watched(&root);
    assert!(of_folder.folders[&root].documents);
    assert_eq!(names(&of_folder, &root), ["..data", "a.yaml"]);
    assert_eq!(names(&of_folder, &root.join("..v1")), ["a.yaml"]);
}

#[test]
fn a_circle_of_links_ends() {
    let folder = tempfile::tempdir().unwrap();
    symlink("b.yaml", folder.path().join("a.yaml")).unwrap();
    symlink("a.yaml", folder.path().join("b.yaml")).unwrap();
    assert!(!watched(&folder.path().join("a.yaml")).folders.is_empty());
    assert!(refusal(&folder.path().join("a.yaml")).ends_with("cannot be read"));
}
