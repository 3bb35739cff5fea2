//! Connection limits of the workers, from open files and memory.

use ringway_model::limits::CONNECTIONS_PER_CORE_MAX;

use super::config::Settings;
use super::limits::{CONNECTION_BYTES, CONNECTIONS_MEMORY_PART};
use super::memory;

/// Connection limits of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Connections of clients.
    pub(super) connections: usize,
    /// Open files for those and for connections to instances together.
    pub(super) connection_files: usize,
}

/// Raises the limit of open files as far as possible. Returns the limits of a worker: from
/// PROXY_CONNECTIONS_MAX, else from those files and the memory.
pub(super) fn raise_file_limit(settings: &Settings) -> Capacity {
    let granted = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(granted) => granted,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            rlimit::Resource::NOFILE.get_soft().unwrap_or(FILES_ASSUMED)
        }
    };
    let memory = memory::available();
    let memory_mib = memory.map(|bytes| bytes >> 20);
    match settings.connections_max {
        None => {
            let capacity = capacity_of(granted, memory, settings.workers);
            tracing::info!(
                open_files = granted,
                memory_mib,
                connections_per_worker = capacity.connections,
                "connection limit from open files and memory"
            );
            if capacity.connections < CONNECTIONS_FEW {
                tracing::warn!(
                    open_files = granted,
                    memory_mib,
                    connections_per_worker = capacity.connections,
                    "low connection limit: further clients get 503; raise LimitNOFILE=, `ulimit -Hn` or the memory limit"
                );
            }
            capacity
        }
        Some(wanted) => {
            let needed =
                (wanted * settings.workers) as u64 * FILES_PARTS / FILES_PARTS_OF_CLIENTS + FILES_RESERVED;
            if granted < needed {
                tracing::warn!(
                    open_files = granted,
                    needed,
                    "the limit of open files is too low for PROXY_CONNECTIONS_MAX; raise LimitNOFILE= or `ulimit -Hn`"
                );
            }
            let needed = (wanted * settings.workers) as u64 * CONNECTION_BYTES;
            if memory.is_some_and(|memory| memory < needed) {
                tracing::warn!(
                    memory_mib,
                    needed_mib = needed >> 20,
                    "the memory is too small for PROXY_CONNECTIONS_MAX connections with half a request each"
                );
            }
            // A given number is taken as it is; open files run out later, if at all.
            Capacity { connections: wanted, connection_files: usize::MAX }
        }
    }
}

/// Connections of a worker below which the start warns.
const CONNECTIONS_FEW: usize = 64;

/// Computes the limits of each worker. Most clients are idle at any moment and need no connection to an
/// instance: both kinds share the files, except for a part that is reserved for instances.
fn capacity_of(open_files: u64, memory: Option<u64>, workers: usize) -> Capacity {
    let workers = workers.max(1) as u64;
    let files = open_files.saturating_sub(FILES_RESERVED) / workers;
    let by_files = files * FILES_PARTS_OF_CLIENTS / FILES_PARTS;
    let by_memory = memory.map(|bytes| bytes / CONNECTIONS_MEMORY_PART / CONNECTION_BYTES / workers);
    let connections = by_memory.map_or(by_files, |by_memory| by_files.min(by_memory));
    let bounded = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let files = bounded(files);
    Capacity {
        connections: bounded(connections).clamp(1, CONNECTIONS_PER_CORE_MAX),
        // At least one to each side; some files are reserved for clients that get 503.
        connection_files: (files - ringway_model::limits::rejections_max(files)).max(2),
    }
}

/// Share of clients in the files for connections, of [`FILES_PARTS`]; the rest is reserved for instances.
const FILES_PARTS_OF_CLIENTS: u64 = 3;
/// Denominator of [`FILES_PARTS_OF_CLIENTS`].
const FILES_PARTS: u64 = 4;
/// Files for everything else: store, logs, rings, listeners, splice pipes, health checks, the API.
const FILES_RESERVED: u64 = 256;
/// Usual soft limit, assumed where it cannot be read.
const FILES_ASSUMED: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_open_files_and_the_memory() {
        let connections = |files, memory, workers| capacity_of(files, memory, workers).connections;
        assert_eq!(connections(1024, None, 1), 576);
        assert_eq!(connections(1024, None, 2), 288);
        assert_eq!(connections(1_048_576, None, 2), CONNECTIONS_PER_CORE_MAX);
        assert_eq!(connections(0, None, 64), 1, "at least one, or the process could accept nothing");
        // 10,000 clients, and files left for their upstream connections.
        assert_eq!(capacity_of(20_000, None, 1), Capacity { connections: 14_808, connection_files: 18_720 });
        // Half of 128 MiB for half requests of 40 KiB.
        assert_eq!(connections(1_048_576, Some(128 << 20), 1), 1638);
        assert_eq!(connections(1_048_576, Some(128 << 20), 2), 819);
        assert_eq!(connections(1024, Some(128 << 20), 1), 576);
        assert_eq!(connections(1_048_576, Some(64 << 30), 2), CONNECTIONS_PER_CORE_MAX);
        assert_eq!(connections(1_048_576, Some(0), 2), 1);
    }
}
