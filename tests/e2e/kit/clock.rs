//! Wall clock of a process, by libfaketime. Monotonic clocks, and thus all timeouts, stay real.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{proxy, tls};

/// Wall clock of a process that is started with [`Clock::set_up`].
#[derive(Clone)]
pub(crate) struct Clock(Arc<tempfile::TempDir>);

impl Clock {
    /// A clock that shows the time of the machine.
    pub(crate) fn new() -> Self {
        let clock = Self(Arc::new(tempfile::tempdir().unwrap()));
        clock.set("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("clock")
    }

    pub(crate) fn set_up(&self, builder: proxy::Builder) -> proxy::Builder {
        let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
            .map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1"));
        let library =
            library.iter().find(|path| path.exists()).expect("libfaketime (apt-get install libfaketime)");
        builder
            .env("LD_PRELOAD", library.to_str().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC")
    }

    /// Sets it: to an offset such as `+3650d`, or to `2026-11-30 12:00:00`, at which it stands still.
    pub(crate) fn set(&self, time: &str) {
        tls::put(&self.file(), time);
    }
}
