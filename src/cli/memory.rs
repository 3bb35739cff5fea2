//! Memory that this process may use: the limit of its control groups, else the machine's.

use std::fs;
use std::path::Path;

/// Lowest of the machine's memory and the limits of the control group and its parents, in bytes. `None` where
/// none of them can be read.
pub(crate) fn available() -> Option<u64> {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let bounds = groups.lines().flat_map(|line| group_files(line).unwrap_or_default());
    let bounds = bounds.filter_map(|path| read(&path)?.trim().parse::<u64>().ok());
    bounds.chain(read("proc/meminfo").as_deref().and_then(total)).min()
}

/// Files with the limits of a line of `/proc/self/cgroup`, up to the root: `0::PATH` for version 2,
/// `N:memory:PATH` for version 1. A container sees its own group as the root, or a path that does not exist.
fn group_files(line: &str) -> Option<Vec<String>> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (base, names): (_, &[&str]) = match controllers {
        "" => ("sys/fs/cgroup", &["memory.max", "memory.high"]),
        list if list.split(',').any(|one| one == "memory") => {
            ("sys/fs/cgroup/memory", &["memory.limit_in_bytes"])
        }
        _ => return None,
    };
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    let files = groups.flat_map(|group| {
        names.iter().map(move |name| Path::new(base).join(group).join(name).display().to_string())
    });
    Some(files.collect())
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        4194304 kB\nMemFree:  1 kB\n");

    #[test]
    fn the_lowest_limit_of_all_groups_counts() {
        let group = ("proc/self/cgroup", "0::/system.slice/ringway.service\n");
        let of =
            |files: &[(&str, &str)]| available_below(machine(&[&[MEMINFO, group], files].concat()).path());
        assert_eq!(of(&[]), Some(4 << 30), "the machine's own");
        let service = "sys/fs/cgroup/system.slice/ringway.service/memory.max";
        assert_eq!(of(&[(service, "max\n")]), Some(4 << 30));
        assert_eq!(of(&[(service, "134217728\n")]), Some(128 << 20));
        let slice = ("sys/fs/cgroup/system.slice/memory.high", "67108864\n");
        assert_eq!(of(&[(service, "134217728\n"), slice]), Some(64 << 20));
        assert_eq!(of(&[(service, "9223372036854771712\n")]), Some(4 << 30), "more than there is");
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let of = |files: &[(&str, &str)]| available_below(machine(files).path());
        let group = ("proc/self/cgroup", "0::/\n");
        assert_eq!(of(&[MEMINFO, group, ("sys/fs/cgroup/memory.max", "1048576\n")]), Some(1 << 20));
        let old = ("proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n");
        let bound = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n");
        assert_eq!(of(&[MEMINFO, old, bound]), Some(2 << 20));
        assert_eq!(of(&[]), None);
    }
}
