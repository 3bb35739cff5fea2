//! Provider of owner `file`: the operator's file or folder, read again after each save.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use ringway_config::{Document, Finding, ScriptPaths, Source, StaticValue};
use ringway_model::{Desired, Owner, SetVersion, Tick};

use super::checks;
use super::error::ConfigError;
use super::file_watch::FileWatch;
use super::judge;
use super::requests::{Applied, ConfigurationStatus};
use super::sources::{self, SourceError, Stamp, Watched};
use super::startup::{ConfigurationSettings, Start};
use crate::error_chain::with_causes;
use crate::limits::{CONFIG_READ_INTERVAL, CONFIG_STAT_INTERVAL, FINDINGS_REPORTED_MAX};

/// Result of reading the files.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// Their texts.
    Read(Vec<Source>),
    /// They cannot be read.
    Unreadable(Vec<Finding>),
}

/// The files, their watch, and their relation to the set in force.
pub(super) struct Files {
    path: PathBuf,
    /// Documents before those of the files.
    fixed: Vec<Source>,
    watch: Option<FileWatch>,
    watched: Watched,
    /// Files and folders of scripts that the documents name.
    scripts: ScriptPaths,
    /// Result of the last reading.
    content: Content,
    stamp: Option<Stamp>,
    /// Version of the content; `None` while it has mistakes.
    version: Option<SetVersion>,
    /// Static settings with which the process was started.
    statics: Vec<StaticValue>,
    /// Those of the last document without mistakes.
    last_statics: Vec<StaticValue>,
    /// Whether they have changed since the last application.
    has_new_statics: bool,
    refusal: Vec<Finding>,
    quarantined: Vec<Finding>,
    warnings: Vec<String>,
    is_due: bool,
    /// The content is judged again although it has not changed: the reason of its refusal was outside of it.
    is_retried: bool,
    stat_at: Tick,
    not_before: Tick,
}

impl Files {
    /// `None` without a file.
    pub(super) fn start(settings: ConfigurationSettings, quarantined: Vec<Finding>) -> Option<Self> {
        let path = settings.path?;
        let mut warnings = Vec::new();
        let watch = match settings.is_watched.then(FileWatch::new) {
            Some(Ok(watch)) => Some(watch),
            Some(Err(error)) => {
                warnings.push(watch_failure(&error));
                None
            }
            None => None,
        };
        let (content, document, refusal) = match settings.start {
            Start::Documents { sources, document } => (Content::Read(sources), Some(document), Vec::new()),
            Start::LastGood(findings) => (Content::Unreadable(findings.clone()), None, findings),
            Start::Empty => (Content::Read(Vec::new()), None, Vec::new()),
        };
        for finding in &quarantined {
            tracing::warn!(%finding, "left out at the start; the rest of the configuration is in force");
        }
        Some(Self {
            path,
            fixed: settings.fixed,
            watch,
            watched: Watched::default(),
            scripts: ScriptPaths::default(),
            content,
            stamp: None,
            version: document.map(|document| document.version.clone()),
            last_statics: settings.statics.clone(),
            has_new_statics: false,
            statics: settings.statics,
            refusal,
            quarantined,
            warnings,
            // Notices a save since the start, and begins the watch.
            is_due: settings.is_watched,
            is_retried: false,
            stat_at: if settings.is_watched { Tick(0) } else { Tick::NEVER },
            not_before: Tick(0),
        })
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watch.as_ref()?.descriptor())
    }

    pub(super) fn next_deadline(&self) -> Tick {
        let reading = if self.is_due { self.not_before } else { Tick::NEVER };
        let save = self.watch.as_ref().map_or(Tick::NEVER, FileWatch::due);
        reading.min(save).min(self.stat_at)
    }

    /// Content that differs from the last reading, once a save is complete.
    pub(super) fn poll(&mut self, now: Tick) -> Option<Content> {
        if let Some(watch) = &mut self.watch {
            if let Err(error) = watch.read_events(now) {
                self.warnings = vec![watch_failure(&error)];
                self.watch = None;
            } else {
                self.is_due |= watch.take_due(now);
            }
        }
        if now >= self.stat_at {
            self.stat_at = now.after(CONFIG_STAT_INTERVAL);
            self.is_due |= self.is_retried || sources::stamp(&self.path, &self.scripts).ok() != self.stamp;
        }
        if !self.is_due || now < self.not_before {
            return None;
        }
        let former = self.content.clone();
        let content = self.read_now(now);
        (content != former || std::mem::take(&mut self.is_retried)).then_some(content)
    }

    /// Reads the files.
    pub(super) fn read_now(&mut self, now: Tick) -> Content {
        self.is_due = false;
        self.not_before = now.after(CONFIG_READ_INTERVAL);
        // First the watch, so that a save during the reading is noticed.
        self.warnings.clear();
        self.watch_files();
        self.content = match sources::read(&self.path) {
            Ok(reading) => {
                if reading.scripts != self.scripts {
                    // Read once more under the new watch, when there is nothing else to do.
                    self.scripts = reading.scripts;
                    self.is_due = self.watch.is_some();
                    self.watch_files();
                }
                self.stamp = Some(reading.stamp);
                self.warnings.extend(reading.unlinked.iter().map(|file| {
                    format!(
                        "{} was replaced outside of this container and is never updated here: mount its folder \
                         instead of the file",
                        file.display()
                    )
                }));
                Content::Read(self.fixed.iter().cloned().chain(reading.sources).collect())
            }
            Err(error) => {
                self.stamp = None;
                Content::Unreadable(vec![unreadable(&error)])
            }
        };
        self.content.clone()
    }

    /// Watches documents and scripts.
    fn watch_files(&mut self) {
        let mut watched = sources::watched(&self.path);
        watched.add_scripts(&self.scripts);
        if let Some(watch) = &mut self.watch
            && let Err(error) = watch.watch(&watched)
        {
            self.warnings.push(watch_failure(&error));
        }
        self.watched = watched;
    }

    /// Static settings of a document that differ from those of the process. The next application logs that
    /// they have changed.
    pub(super) fn restart_needed(&mut self, document: &Document) -> Vec<Arc<str>> {
        self.has_new_statics |=
            !ringway_config::restart_needed(&self.last_statics, &document.statics).is_empty();
        self.last_statics.clone_from(&document.statics);
        ringway_config::restart_needed(&self.statics, &document.statics)
    }

    /// Records the version of the content, or that it has mistakes.
    pub(super) fn handle_version(&mut self, version: Option<&SetVersion>) {
        self.version = version.cloned();
    }

    /// Records that the content is in force, or on trial.
    pub(super) fn handle_applied(&mut self, applied: &Applied) {
        let has_new_statics = std::mem::take(&mut self.has_new_statics);
        let is_news = applied.receipt.is_some() || !self.refusal.is_empty() || has_new_statics;
        self.refusal.clear();
        self.quarantined.clear();
        if !is_news {
            return;
        }
        let (version, changes) = (&applied.version, applied.changes.0);
        let on_trial = applied.receipt.as_ref().is_some_and(|receipt| receipt.trial.is_some());
        match on_trial {
            true => tracing::info!(path = %self.path.display(), %version, changes, "configuration on trial"),
            false => tracing::info!(path = %self.path.display(), %version, changes, "configuration applied"),
        }
        for finding in &applied.findings {
            tracing::warn!(%finding, "configuration applied with a warning");
        }
        if !applied.restart_needed.is_empty() {
            tracing::warn!(
                settings = applied.restart_needed.join(" "),
                "these settings have changed in the file and need a restart"
            );
        }
    }

    /// Records why the content is not in force, and logs a new reason. Returns whether it is new.
    pub(super) fn handle_refused(&mut self, error: &ConfigError) -> bool {
        let (findings, is_retried) = match error {
            ConfigError::Refused { findings, .. } => {
                (findings.clone(), findings.iter().any(|finding| finding.code == checks::FILE))
            }
            error => (vec![judge::error("not_applied", with_causes(error), None)], true),
        };
        self.refuse(findings, is_retried)
    }

    /// As [`Files::handle_refused`], with the findings. `is_retried`: the reason is outside of the content.
    pub(super) fn refuse(&mut self, findings: Vec<Finding>, is_retried: bool) -> bool {
        self.is_retried = is_retried;
        if self.refusal == findings {
            return false;
        }
        let errors: Vec<Finding> = findings.iter().filter(|finding| finding.is_error()).cloned().collect();
        tracing::error!(
            path = %self.path.display(),
            findings = judge::shorten(&errors, FINDINGS_REPORTED_MAX).join("; "),
            "configuration refused; the present one stays in force"
        );
        self.refusal = findings;
        true
    }

    /// Records that a kept version is in force instead of the content.
    pub(super) fn handle_rollback(&mut self, version: &SetVersion) {
        self.refusal.clear();
        self.quarantined.clear();
        if self.version.as_ref() != Some(version) {
            let path = self.path.display();
            tracing::warn!(%path, %version, "rolled back; the files have no effect until they change");
        }
    }

    /// Adds the state of the files to the status.
    pub(super) fn describe(&self, status: &mut ConfigurationStatus, desired: &Desired) {
        let in_force = desired.version_of(&Owner::File).map(|kept| &kept.version);
        status.path = Some(self.path.to_string_lossy().into());
        status.has_drifted = !self.refusal.is_empty() || self.version.as_ref() != in_force;
        status.refusal.clone_from(&self.refusal);
        status.quarantined.clone_from(&self.quarantined);
        status.warnings.clone_from(&self.warnings);
    }
}

fn unreadable(error: &SourceError) -> Finding {
    judge::error("unreadable", with_causes(error), None)
}

fn watch_failure(error: &std::io::Error) -> String {
    let seconds = CONFIG_STAT_INTERVAL.as_secs();
    format!(
        "the configuration files cannot be watched and are checked every {seconds} s: {error} (see \
         fs.inotify.max_user_watches and max_user_instances)"
    )
}
