//! Memory, descriptors and threads of this process, read from `/proc`.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Memory, descriptors and threads of this process; 0 for a value that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessReading {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Limit of open file descriptors.
    pub max_fds: u64,
    /// Number of threads.
    pub threads: u64,
}

impl ProcessReading {
    /// Reads `/proc/self`. About 100 µs; on kernels before 6.2 longer with many descriptors. For the control
    /// thread only.
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

/// Counts the open descriptors: since Linux 6.2 the size of the folder is their number, before it must be
/// listed.
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
    fn this_process_has_memory_threads_and_descriptors() {
        let before = ProcessReading::read();
        assert!(before.resident_bytes > 100 * 1024, "{before:?}");
        assert!(before.virtual_bytes >= before.resident_bytes, "{before:?}");
        assert!(
            before.threads >= 1 && before.open_fds >= 3 && before.max_fds >= before.open_fds,
            "{before:?}"
        );
    }

    #[test]
    fn an_unreadable_value_is_zero() {
        assert_eq!(number_after("VmRSS:\t  1234 kB\n", "VmRSS:"), 1234);
        assert_eq!(number_after("VmRSS:\n", "VmRSS:"), 0);
        assert_eq!(number_after("", "VmRSS:"), 0);
        assert_eq!(number_after("Max open files   unlimited", "Max open files"), 0);
    }
}
