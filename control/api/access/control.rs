//! Access control of a running API: its rules, and the files that they come from.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;

use ringway_net::{blocking, sleep, spawn};
use rustls::ServerConfig;

use super::{AccessSettings, AdminTls, Guard, TokensFile};
use crate::limits::ACCESS_FILES_INTERVAL;

/// Rules of the API, and the files of tokens and certificates, which are read again when they change.
///
/// A file that has become unusable changes nothing: what was read last stays in force, with a warning.
pub(crate) struct AccessControl {
    guard: Guard,
    tokens: RefCell<Option<TokensFile>>,
    tls: RefCell<Option<AdminTls>>,
    problems: RefCell<Problems>,
}

/// Present errors of the files.
#[derive(Default)]
struct Problems {
    tokens: Option<String>,
    tls: Option<String>,
}

impl AccessControl {
    pub(crate) fn new(settings: &AccessSettings) -> Self {
        Self {
            guard: Guard::new(settings),
            tokens: RefCell::new(settings.tokens.clone()),
            tls: RefCell::new(settings.tls.clone()),
            problems: RefCell::default(),
        }
    }

    /// Access rules.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// TLS configuration of new connections.
    pub(crate) fn tls_config(&self) -> Option<Arc<ServerConfig>> {
        self.tls.borrow().as_ref().map(AdminTls::config)
    }

    /// Files that cannot be used, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let problems = self.problems.borrow();
        problems.tokens.iter().chain(&problems.tls).cloned().collect()
    }

    /// Starts the task that looks at the files, where there are any. It ends with the API.
    pub(crate) fn watch_files(self: &Rc<Self>) {
        if self.tokens.borrow().is_none() && self.tls.borrow().is_none() {
            return;
        }
        let access = Rc::downgrade(self);
        let watch = async move {
            loop {
                sleep(ACCESS_FILES_INTERVAL).await;
                let Some(access) = access.upgrade() else { return };
                access.look().await;
            }
        };
        spawn(watch, |panic| {
            tracing::error!(%panic, "file task of the admin API panicked; changed tokens and certificates are not read");
        });
    }

    /// Reads the files that have changed.
    async fn look(&self) {
        let tokens = self.tokens.borrow().as_ref().map(|file| (file.path().to_owned(), file.stamp()));
        if let Some((path, stamp)) = tokens {
            let shown = path.display().to_string();
            // A pool without a free thread: the next look reads it.
            if let Ok(result) = blocking(move || TokensFile::reopen(&path, stamp)).await {
                self.take_tokens(result, &shown);
            }
        }
        let tls = self.tls.borrow().clone();
        if let Some(tls) = tls
            && let Ok(result) = blocking(move || tls.reopen()).await
        {
            match result {
                Ok(None) => {}
                Ok(Some(tls)) => {
                    tracing::info!("certificate of the admin API read again");
                    self.guard.set_certificate(tls.identity());
                    self.tls.replace(Some(tls));
                    self.problems.borrow_mut().tls = None;
                }
                Err(error) => {
                    let text = format!("the admin API keeps its present certificate: {error}");
                    report(&mut self.problems.borrow_mut().tls, text);
                }
            }
        }
    }

    fn take_tokens(&self, result: Result<Option<TokensFile>, impl Display>, path: &str) {
        match result {
            Ok(None) => {}
            Ok(Some(file)) => {
                tracing::info!(path, tokens = file.tokens().len(), "tokens of the admin API read again");
                self.guard.set_tokens(file.tokens().clone());
                self.tokens.replace(Some(file));
                self.problems.borrow_mut().tokens = None;
            }
            Err(error) => {
                let text =
                    format!("the admin API keeps the tokens that it has; {path} cannot be used: {error}");
                report(&mut self.problems.borrow_mut().tokens, text);
            }
        }
    }
}

/// Records a problem, and logs it once.
fn report(known: &mut Option<String>, problem: String) {
    if known.as_ref() != Some(&problem) {
        tracing::error!("{problem}");
        *known = Some(problem);
    }
}
