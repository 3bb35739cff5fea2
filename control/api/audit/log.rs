//! Handle of the audit log: a bounded queue in front of the writer's thread.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ringway_control::{OwnEvent, SecurityCount, SecurityEvent, SecurityEventKind, SecuritySubject};
use ringway_model::{CanaryState, Timestamp};
use ringway_net::clock;

use super::Entry;
use super::entry::{Notice, Object, OwnEntry};
use super::writer::Writer;
use crate::limits::{AUDIT_FILE_BYTES_MAX, AUDIT_FINISH_TIMEOUT, AUDIT_QUEUE_MAX, AUDIT_RETRY};

/// Audit log. Cheap to clone. Nothing that happens to its file stops or delays the API: lines wait while it
/// cannot be written, and beyond a bound they are lost and counted.
#[derive(Clone)]
pub struct AuditLog(Arc<Shared>);

struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    /// A line has come, or the writer has ended.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Members of lines that are not written yet.
    queue: VecDeque<String>,
    /// Lines for which the queue had no room.
    lost: u64,
    is_closing: bool,
    is_closed: bool,
    reading: AuditReading,
}

/// State of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditReading {
    /// Number of the last line.
    pub(crate) sequence: u64,
    /// Hash of the last line.
    pub(crate) hash: String,
    /// Lines lost since the start.
    pub(crate) lost: u64,
    /// Present failure, as a sentence.
    pub(crate) problem: Option<String>,
}

impl AuditReading {
    /// Problems, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let lost = (self.lost > 0).then(|| {
            format!("{} lines of the audit log were lost, because its file could not be written", self.lost)
        });
        self.problem.iter().cloned().chain(lost).collect()
    }
}

impl AuditLog {
    /// Opens the file, and starts the writer's thread. A file that cannot be opened is tried again, and
    /// reported in the status.
    ///
    /// # Errors
    /// When the system starts no further thread.
    pub fn start(path: PathBuf) -> io::Result<Self> {
        Self::with_limit(path, AUDIT_FILE_BYTES_MAX)
    }

    pub(crate) fn with_limit(path: PathBuf, file_bytes_max: u64) -> io::Result<Self> {
        let shared = Shared { path: path.clone(), state: Mutex::default(), changed: Condvar::new() };
        let log = Self(Arc::new(shared));
        let shared = Arc::clone(&log.0);
        let mut writer = Writer::new(path, file_bytes_max);
        // A log that another process writes is a problem from the start on, and not with the first change.
        shared.write(&mut writer, VecDeque::new(), 0);
        thread::Builder::new()
            .name("ringway-audit".to_owned())
            .spawn(move || shared.write_all(&mut writer))?;
        Ok(log)
    }

    /// Path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Adds a line. Cost: a few microseconds; never waits for the file.
    pub(crate) fn record(&self, entry: &Entry) {
        self.push(entry.members());
    }

    /// Adds a line about what no client has ordered, without addresses of clients unless `shows_clients`.
    /// Costs as much as any line.
    pub fn record_own(&self, event: &OwnEvent<'_>, shows_clients: bool) {
        let entry = match event {
            OwnEvent::Braked(state) => brake(state),
            OwnEvent::Security { at, event, count } => Some(security(*at, event, *count, shows_clients)),
        };
        if let Some(entry) = entry {
            self.push(entry.members());
        }
    }

    fn push(&self, members: String) {
        let mut state = self.0.lock();
        match state.queue.len() < AUDIT_QUEUE_MAX {
            true => state.queue.push_back(members),
            false => state.lost += 1,
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Problems, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.reading().warnings()
    }

    /// State of the log.
    pub(crate) fn reading(&self) -> AuditReading {
        self.0.lock().reading.clone()
    }

    /// Waits until all lines are written, for a bounded time, and ends the writer's thread.
    pub fn finish(&self) {
        let mut state = self.0.lock();
        state.is_closing = true;
        self.0.changed.notify_all();
        let waited = self.0.changed.wait_timeout_while(state, AUDIT_FINISH_TIMEOUT, |state| !state.is_closed);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::error!(
                lines = state.queue.len(),
                "lines of the audit log could not be written before the end"
            );
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic within these few statements leaves the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes lines until the end.
    fn write_all(&self, writer: &mut Writer) {
        while let Some((batch, lost)) = self.next_batch() {
            if self.write(writer, batch, lost) {
                continue;
            }
            let state = self.lock();
            if state.is_closing {
                break;
            }
            let _unused = self.changed.wait_timeout_while(state, AUDIT_RETRY, |state| !state.is_closing);
        }
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Writes a batch of lines and the number of lost ones. False when they are to be tried again.
    fn write(&self, writer: &mut Writer, batch: VecDeque<String>, lost: u64) -> bool {
        let mut lines: Vec<&str> = batch.iter().map(String::as_str).collect();
        let notice = notice("audit.lost", lost);
        if lost > 0 {
            lines.push(&notice);
        }
        let result = writer.write(&lines);
        let mut state = self.lock();
        match result {
            Ok(()) => {
                let end = writer.end();
                state.reading.sequence = end.sequence;
                state.reading.hash.clone_from(&end.hash);
                state.reading.lost += lost;
                if state.reading.problem.take().is_some() {
                    tracing::info!(path = %self.path.display(), "the audit log is written again");
                }
                true
            }
            Err(error) => {
                let problem = format!("the audit log {} cannot be written: {error}", self.path.display());
                if state.reading.problem.as_ref() != Some(&problem) {
                    tracing::error!("{problem}");
                    state.reading.problem = Some(problem);
                }
                state.give_back(batch, lost);
                false
            }
        }
    }

    /// Waits for lines, or takes none while the file cannot be written; `None` when all are written and no
    /// more will come.
    fn next_batch(&self) -> Option<(VecDeque<String>, u64)> {
        let is_waiting = |state: &mut State| {
            let has_none = state.queue.is_empty() && state.lost == 0;
            has_none && state.reading.problem.is_none() && !state.is_closing
        };
        let state = self.changed.wait_while(self.lock(), is_waiting);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let (queue, lost) = (std::mem::take(&mut state.queue), std::mem::take(&mut state.lost));
        (!queue.is_empty() || lost > 0 || !state.is_closing).then_some((queue, lost))
    }
}

impl State {
    /// Takes back lines that could not be written; the newest beyond the bound are lost.
    fn give_back(&mut self, mut batch: VecDeque<String>, lost: u64) {
        self.lost += lost;
        batch.append(&mut self.queue);
        self.lost += batch.len().saturating_sub(AUDIT_QUEUE_MAX) as u64;
        batch.truncate(AUDIT_QUEUE_MAX);
        self.queue = batch;
    }
}

/// Line about a canary that ringway has braked.
fn brake(state: &CanaryState) -> Option<OwnEntry<'_>> {
    let braked = state.braked.as_ref()?;
    Some(OwnEntry {
        at: braked.at.to_rfc3339_millis(),
        who: OWN_NAME,
        remote: None,
        action: "canary.brake",
        objects: vec![Object { kind: "canary", id: state.route.to_string() }],
        reason: &braked.reason,
        result: "done",
        count: None,
    })
}

/// Line about equal observations.
fn security(
    at: Timestamp,
    event: &SecurityEvent,
    count: SecurityCount,
    shows_clients: bool,
) -> OwnEntry<'static> {
    let (action, result) = match event.kind {
        SecurityEventKind::AuthRefused => ("auth.refused", "refused"),
        SecurityEventKind::Banned => ("rate_limit.banned", "refused"),
        SecurityEventKind::FilterFailedOpen => ("filter.failed_open", "passed"),
        SecurityEventKind::CredentialsFailed => ("credentials.failed", "failed"),
        SecurityEventKind::CredentialsRecovered => ("credentials.recovered", "recovered"),
    };
    let object = |kind, id: &dyn fmt::Display| Object { kind, id: id.to_string() };
    let objects = match &event.subject {
        SecuritySubject::Route(route) => vec![object("route", route)],
        SecuritySubject::Filter { route, pool } => vec![object("route", route), object("pool", pool)],
        SecuritySubject::Credentials(source) => vec![object("credentials", source)],
        SecuritySubject::Others => Vec::new(),
    };
    OwnEntry {
        at: at.to_rfc3339_millis(),
        who: OWN_NAME,
        remote: count.client.filter(|_| shows_clients).map(|client| client.to_string()),
        action,
        objects,
        reason: event.reason,
        result,
        count: Some(count.count),
    }
}

/// Actor of what no client has ordered.
const OWN_NAME: &str = "ringway";

/// Members of a line of the log itself.
pub(super) fn notice(action: &str, lost: u64) -> String {
    Notice { at: clock::timestamp().to_rfc3339_millis(), who: OWN_NAME, action, lost }.members()
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuditLog").field(&self.0.path).finish()
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
