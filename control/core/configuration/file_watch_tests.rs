#![allow(clippy::unwrap_used)]
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use super::*;
use crate::configuration::sources::{read, watched};

struct Scene {
    _folder: tempfile::TempDir,
    root: PathBuf,
    watch: FileWatch,
    now: Tick,
}

impl Scene {
    /// A folder with one document, and one behind the links of a mounted ConfigMap.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap().join("conf.d");
        fs::create_dir_all(root.join("..v1")).unwrap();
        fs::write(root.join("..v1/k8s.yaml"), "v: 1").unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/k8s.yaml", root.join("k8s.yaml")).unwrap();
        fs::write(root.join("a.yaml"), "v: 1").unwrap();
        let mut scene = Self { _folder: folder, root, watch: FileWatch::new().unwrap(), now: Tick(1_000) };
        scene.rewatch();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn rewatch(&mut self) {
        self.watch.watch(&watched(&self.root)).unwrap();
    }

    fn contents(&self) -> Vec<(String, String)> {
        let reading = read(&self.root).unwrap();
        reading.sources.into_iter().map(|source| (source.name.to_string(), source.text)).collect()
    }

    /// The wait until the save is complete; `None` without one.
    fn wait(&mut self) -> Option<Duration> {
        self.watch.read_events(self.now).unwrap();
        Some(self.watch.due()).filter(|due| *due != Tick::NEVER).map(|due| self.now.until(due))
    }

    fn settle(&mut self) {
        self.now = self.watch.due();
        assert!(self.watch.take_due(self.now));
        self.rewatch();
        self.watch.read_events(self.now).unwrap();
        assert_eq!(self.watch.due(), Tick::NEVER, "reading and watching again causes no event");
    }
}

type Save = fn(&Path);

#[test]
fn sees_every_way_to_save_a_document() {
    let saves: [(&str, Save); 17] = [
        ("in place", |at| fs::write(at.join("a.yaml"), "v: 2").unwrap()),
        ("append", |at| {
            for number in 0..200 {
                writeln!(File::options().append(true).open(at.join("a.yaml")).unwrap(), "x{number}: 1")
                    .unwrap();
            }
        }),
        ("a copy over it", |at| {
            fs::write(at.join("../x"), "v: 2").unwrap();
            fs::copy(at.join("../x"), at.join("a.yaml")).unwrap();
        }),
        ("sed -i: a new file, renamed", |at| {
            fs::write(at.join("sedX1"), "v: 2").unwrap();
            fs::rename(at.join("sedX1"), at.join("a.yaml")).unwrap();
        }),
        ("a rename from another folder", |at| {
            fs::write(at.join("../x"), "v: 2").unwrap();
            fs::rename(at.join("../x"), at.join("a.yaml")).unwrap();
        }),
        ("vim: backup, new file, no backup", |at| {
            fs::rename(at.join("a.yaml"), at.join("a.yaml~")).unwrap();
            fs::write(at.join("a.yaml"), "v: 2").unwrap();
            fs::remove_file(at.join("a.yaml~")).unwrap();
        }),
        ("git checkout: unlink, create", |at| {
            fs::remove_file(at.join("a.yaml")).unwrap();
            fs::write(at.join("a.yaml"), "v: 2").unwrap();
        }),
        ("a new file", |at| fs::write(at.join("b.yaml"), "n: 1").unwrap()),
        ("300 new files", |at| {
            for number in 0..300 {
                fs::write(at.join(format!("g{number}.yaml")), "1").unwrap();
            }
        }),
        ("a hard link", |at| fs::hard_link(at.join("a.yaml"), at.join("c.yaml")).unwrap()),
        ("a symbolic link", |at| symlink("a.yaml", at.join("l.yaml")).unwrap()),
        ("a removal", |at| fs::remove_file(at.join("a.yaml")).unwrap()),
        ("a rename to another name", |at| fs::rename(at.join("a.yaml"), at.join("z.yaml")).unwrap()),
        ("kubelet: a new folder, a new link renamed", |at| {
            fs::create_dir(at.join("..v2")).unwrap();
            fs::write(at.join("..v2/k8s.yaml"), "v: 2").unwrap();
            symlink("..v2", at.join("..data_tmp")).unwrap();
            fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
            fs::remove_dir_all(at.join("..v1")).unwrap();
        }),
        ("ln -sfn", |at| {
            fs::create_dir(at.join("..v3")).unwrap();
            fs::write(at.join("..v3/k8s.yaml"), "v: 3").unwrap();
            fs::remove_file(at.join("..data")).unwrap();
            symlink("..v3", at.join("..data")).unwrap();
        }),
        ("in place behind the links", |at| fs::write(at.join("..v1/k8s.yaml"), "v: 2").unwrap()),
        ("a new folder in its place", |at| {
            fs::rename(at, at.with_extension("old")).unwrap();
            fs::create_dir(at).unwrap();
            fs::write(at.join("a.yaml"), "v: 2").unwrap();
        }),
    ];
    for (name, save) in saves {
        let mut scene = Scene::new();
        let before = scene.contents();
        save(&scene.root);
        assert_eq!(scene.wait(), Some(CONFIG_SETTLE), "{name}");
        assert_ne!(scene.contents(), before, "{name}");
        scene.settle();
        // The new state is watched as well.
        let last = scene.at("last.yaml");
        fs::write(&last, "v: 9").unwrap();
        assert_eq!(scene.wait(), Some(CONFIG_SETTLE), "a save after: {name}");
    }
}

#[test]
fn other_files_of_the_folder_are_no_saves() {
    let mut scene = Scene::new();
    fs::write(scene.at("access.log"), "a line").unwrap();
    fs::write(scene.at(".a.yaml.swp"), "a swap file").unwrap();
    fs::create_dir(scene.at("sub")).unwrap();
    fs::read(scene.at("a.yaml")).unwrap();
    assert_eq!(scene.wait(), None);
}

#[test]
fn a_writer_is_waited_for() {
    let mut scene = Scene::new();
    let mut file = File::create(scene.at("a.yaml")).unwrap();
    file.write_all(b"v: 7\n").unwrap();
    assert_eq!(scene.wait(), Some(CONFIG_WRITE_SILENCE));
    scene.now = scene.now.after(Duration::from_millis(300));
    file.write_all(b"w: 8\n").unwrap();
    assert_eq!(scene.wait(), Some(CONFIG_WRITE_SILENCE));
    drop(file);
    assert_eq!(scene.wait(), Some(CONFIG_SETTLE));
}

#[test]
fn the_creator_of_a_file_is_waited_for() {
    let mut scene = Scene::new();
    let file = File::create(scene.at("new.yaml")).unwrap();
    assert_eq!(scene.wait(), Some(CONFIG_WRITE_SILENCE));
    drop(file);
    assert_eq!(scene.wait(), Some(CONFIG_SETTLE));
}

#[test]
fn endless_saves_are_read_after_a_second() {
    let mut scene = Scene::new();
    let first = scene.now;
    for _ in 0..100 {
        fs::write(scene.at("a.yaml"), "v: 2").unwrap();
        scene.wait();
        scene.now = scene.now.after(Duration::from_millis(20));
    }
    assert_eq!(scene.watch.due(), first.after(CONFIG_SETTLE_MAX));
}

/// A configuration of one file: `conf.d/a.yaml`, or the one behind the links.
fn one_file(name: &str) -> Scene {
    let mut scene = Scene::new();
    let path = scene.at(name);
    scene.watch.watch(&watched(&path)).unwrap();
    assert_eq!(scene.wait(), None);
    scene
}

#[test]
fn one_whole_file_is_read_soon() {
    let (closed, renamed) = (CONFIG_SETTLE_CLOSED, Duration::ZERO);
    let saves: [(&str, &str, Duration, Save); 7] = [
        ("in place", "a.yaml", closed, |at| fs::write(at.join("a.yaml"), "v: 2").unwrap()),
        ("a new file, renamed", "a.yaml", renamed, |at| {
            fs::write(at.join("sedX1"), "v: 2").unwrap();
            fs::rename(at.join("sedX1"), at.join("a.yaml")).unwrap();
        }),
        ("vim", "a.yaml", closed, |at| {
            fs::rename(at.join("a.yaml"), at.join("a.yaml~")).unwrap();
            fs::write(at.join("a.yaml"), "v: 2").unwrap();
            fs::remove_file(at.join("a.yaml~")).unwrap();
        }),
        ("unlink, create", "a.yaml", closed, |at| {
            fs::remove_file(at.join("a.yaml")).unwrap();
            fs::write(at.join("a.yaml"), "v: 2").unwrap();
        }),
        ("other permissions behind it", "a.yaml", closed, |at| {
            use std::os::unix::fs::PermissionsExt;
            fs::write(at.join("a.yaml"), "v: 2").unwrap();
            fs::set_permissions(at.join("a.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("renamed, then written again", "a.yaml", closed, |at| {
            fs::write(at.join("sedX1"), "v: 1").unwrap();
            fs::rename(at.join("sedX1"), at.join("a.yaml")).unwrap();
            fs::write(at.join("a.yaml"), "v: 2").unwrap();
        }),
        ("kubelet", "k8s.yaml", renamed, |at| {
            fs::create_dir(at.join("..v2")).unwrap();
            fs::write(at.join("..v2/k8s.yaml"), "v: 2").unwrap();
            symlink("..v2", at.join("..data_tmp")).unwrap();
            fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
        }),
    ];
    for (what, name, wait, save) in saves {
        let mut scene = one_file(name);
        save(&scene.root);
        assert_eq!(scene.wait(), Some(wait), "{what}");
        assert_eq!(fs::read_to_string(scene.at(name)).unwrap(), "v: 2", "{what}");
    }
}

#[test]
fn one_file_that_is_not_whole_yet_is_waited_for() {
    let mut scene = one_file("a.yaml");
    fs::rename(scene.at("a.yaml"), scene.at("a.yaml~")).unwrap();
    assert_eq!(scene.wait(), Some(CONFIG_SETTLE), "its successor may follow");
    let mut file = File::create(scene.at("a.yaml")).unwrap();
    file.write_all(b"v: 2").unwrap();
    assert_eq!(scene.wait(), Some(CONFIG_WRITE_SILENCE));
    drop(file);
    assert_eq!(scene.wait(), Some(CONFIG_SETTLE_CLOSED));
    let file = File::options().append(true).open(scene.at("a.yaml")).unwrap();
    (&file).write_all(b"w: 2").unwrap();
    assert_eq!(scene.wait(), Some(CONFIG_WRITE_SILENCE), "written again");
    drop(file);
    fs::remove_file(scene.at("a.yaml")).unwrap();
    assert_eq!(scene.wait(), Some(CONFIG_SETTLE), "removed");
}
