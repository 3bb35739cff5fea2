//! Facts of the kernel about this process.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Memory and descriptors of this process, read from `/proc`; 0 where it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessReading {
    /// Bytes of memory in RAM.
    pub resident_bytes: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// File descriptors that are open.
    pub open_fds: u64,
    /// File descriptors that may be open.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
}

impl ProcessReading {
    /// Reads `/proc/self`. Some 100 µs; on kernels before 6.2 longer with many descriptors. For the control thread only.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            resident_bytes: number_after(&status, "VmRSS:") * 1024,
            virtual_bytes: number_after(&status, "VmSize:") * 1024,
            threads: number_after(&status, "Threads:"),
            max_fds: number_after(&limits, "Max open files"),
            open_fds: open_fds(),
        }
    }
}

/// Since 6.2 the kernel gives their number as the size of the folder; before, it must be listed.
fn open_fds() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).map(|folder| folder.size()) {
        Ok(0) | Err(_) => fs::read_dir(FOLDER).map_or(0, |entries| entries.count().saturating_sub(1) as u64),
        Ok(count) => count,
    }
}

fn number_after(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let before = ProcessReading::read();
        assert!(before.resident_bytes > 100 * 1024, "{before:?}");
        assert!(before.virtual_bytes >= before.resident_bytes, "{before:?}");
        assert!(
            before.threads >= 1 && before.open_fds >= 3 && before.max_fds >= before.open_fds,
            "{before:?}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_zero() {
        assert_eq!(number_after("VmRSS:\t  1234 kB\n", "VmRSS:"), 1234);
        assert_eq!(number_after("VmRSS:\n", "VmRSS:"), 0);
        assert_eq!(number_after("", "VmRSS:"), 0);
        assert_eq!(number_after("Max open files   unlimited", "Max open files"), 0);
    }
}
