//! Serialized access to the certificate directory, on threads for blocking calls.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;

use ringway_model::Hostname;
use ringway_net::blocking;
use ringway_net::sync::{Permit, QueueFull, Semaphore};

use crate::event::CertificateEvent;
use crate::files::{Files, FilesError};
use crate::limits::CERTIFICATE_WRITES_WAITING_MAX;
use crate::publisher::Publisher;
use crate::registry::Registry;

/// Handle to the directory: one operation at a time, in order of arrival. Clones share it.
#[derive(Clone)]
pub(crate) struct Disk(Rc<Inner>);

struct Inner {
    files: Files,
    queue: Semaphore,
    /// Problem with the directory as a whole, from its last use.
    problem: RefCell<Option<String>>,
    registry: Registry,
    publisher: Publisher,
}

/// Exclusive access to the directory across several operations.
pub(crate) struct DiskGuard<'a> {
    disk: &'a Disk,
    _permit: Permit,
}

/// Reason for a failed disk operation.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// The file system, or a file's content.
    Files(FilesError),
    /// The queue is full.
    Busy,
    /// No thread was available, or the operation panicked.
    Thread(io::Error),
}

impl Disk {
    pub(crate) fn new(
        files: Files,
        problem: Option<String>,
        registry: Registry,
        publisher: Publisher,
    ) -> Self {
        let queue = Semaphore::new(1, CERTIFICATE_WRITES_WAITING_MAX);
        Self(Rc::new(Inner { files, queue, problem: RefCell::new(problem), registry, publisher }))
    }

    /// The files, for reads that need no order.
    pub(crate) fn files(&self) -> &Files {
        &self.0.files
    }

    /// Problem with the directory as a whole, and its remedy. While there is one, an order would be wasted.
    pub(crate) fn problem(&self) -> Option<String> {
        self.0.problem.borrow().clone()
    }

    /// Reports the directory's problem, if there is one.
    pub(crate) fn report_problem(&self) {
        if let Some(reason) = self.problem() {
            self.0.publisher.notify(CertificateEvent::DirectoryUnusable { reason });
        }
    }

    /// Waits for exclusive access.
    pub(crate) async fn lock(&self) -> Result<DiskGuard<'_>, DiskError> {
        let permit = self.0.queue.acquire().await.map_err(|QueueFull| DiskError::Busy)?;
        Ok(DiskGuard { disk: self, _permit: permit })
    }

    /// Runs one operation.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, DiskError> {
        self.lock().await?.run(work).await
    }

    /// Runs one operation on a domain's files; `None` when the domain is no longer registered by then: its
    /// folder is about to be removed.
    pub(crate) async fn run_for<T: Send + 'static>(
        &self,
        host: &Hostname,
        work: impl FnOnce(&Files) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<Option<T>, DiskError> {
        let guard = self.lock().await?;
        if !self.0.registry.is_registered(host) {
            return Ok(None);
        }
        guard.run(work).await.map(Some)
    }
}

impl DiskGuard<'_> {
    /// Runs an operation, and updates the directory's problem by its result.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, DiskError> {
        let inner = &*self.disk.0;
        let files = inner.files.clone();
        let result = blocking(move || work(&files)).await.map_err(DiskError::Thread)?;
        let problem = match &result {
            Ok(_) => None,
            Err(error) if error.is_common() => Some(error.to_string()),
            // An error of one domain's files proves nothing about the directory.
            Err(_) => return result.map_err(DiskError::Files),
        };
        let has_problem = problem.is_some();
        let had_problem = inner.problem.replace(problem).is_some();
        match (had_problem, has_problem) {
            (false, true) => self.disk.report_problem(),
            (true, false) => tracing::info!("certificate directory is usable again"),
            (true, true) | (false, false) => {}
        }
        result.map_err(DiskError::Files)
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => error.fmt(f),
            Self::Busy => f.write_str("too many operations wait for the certificate directory"),
            Self::Thread(error) => write!(f, "the certificate directory was not accessed: {error}"),
        }
    }
}

impl std::error::Error for DiskError {}
