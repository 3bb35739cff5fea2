//! Certificates and the control plane: what is published for them, and who waits until every core has it.
//!
//! ```text
//! Certificates ── Host ──► Engine: the fact is compiled, a snapshot published ──► cores
//!      ▲                                                                            │
//!      └───────────────────── Publications: every core acknowledged ◄───────────────┘
//! ```

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::limits::APPLY_DEADLINE;
use ringway_certs::{CertificateEvent, Host, Unpublished};
use ringway_model::{Hostname, Serial};
use ringway_traffic::snapshot::CertificateVersion;

use crate::control::Control;
use crate::engine::Engine;
use crate::time::{Micros, Now};

/// Those who wait for all cores to have a snapshot. As many as there are tasks that publish certificates, which are
/// bounded where they begin.
#[derive(Debug, Default)]
pub(crate) struct Publications {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    serial: Serial,
    deadline: Micros,
    answer: Rc<RefCell<Acknowledged>>,
}

/// Where a task finds out.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    result: Option<Result<(), Unpublished>>,
    waker: Option<Waker>,
}

/// Who has a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Somebody who is waited for does not have it.
    NotYet,
    /// All who are waited for have it, and somebody who is not, for it lags, does not.
    NotAll,
    /// All who serve have it.
    All,
}

impl Publications {
    /// Waits until all cores have `serial`, or for as long as a change of the configuration would.
    pub(crate) fn wait(&mut self, serial: Serial, now: Micros) -> Rc<RefCell<Acknowledged>> {
        let answer = Rc::new(RefCell::new(Acknowledged::default()));
        let deadline = now.after(APPLY_DEADLINE);
        self.waiting.push(Waiting { serial, deadline, answer: Rc::clone(&answer) });
        answer
    }

    /// Answers those whose wait is over.
    pub(crate) fn release(&mut self, reached: impl Fn(Serial) -> Reached, now: Micros) {
        self.waiting.retain(|waiting| {
            let result = match reached(waiting.serial) {
                Reached::All => Ok(()),
                Reached::NotAll => Err(Unpublished::SlowCores),
                Reached::NotYet if now >= waiting.deadline => Err(Unpublished::SlowCores),
                Reached::NotYet => return true,
            };
            let mut answer = waiting.answer.borrow_mut();
            answer.result = Some(result);
            if let Some(waker) = answer.waker.take() {
                waker.wake();
            }
            false
        });
    }

    /// When [`Publications::release`] is due whatever the cores do.
    pub(crate) fn next_deadline(&self) -> Micros {
        self.waiting.iter().map(|waiting| waiting.deadline).min().unwrap_or(Micros::NEVER)
    }
}

type Publishing = Result<Rc<RefCell<Acknowledged>>, Unpublished>;

impl Engine {
    fn handle_challenge(&mut self, token: &str, key_authorization: Option<Arc<str>>, now: Now) -> Publishing {
        self.refuse_at_the_end()?;
        match self.compiler().update_challenge(token, key_authorization.clone()) {
            Some(compiled) => self.publish_compiled(compiled, now),
            None if self.compiler().snapshot().challenge(token) != key_authorization.as_ref() => {
                return Err(Unpublished::Full);
            }
            None => {}
        }
        Ok(self.wait_for_cores(now))
    }

    fn handle_certificate(&mut self, host: &Hostname, version: Option<u64>, now: Now) -> Publishing {
        self.refuse_at_the_end()?;
        if version.is_some() && self.desired().domain(host.as_str()).is_none() {
            return Err(Unpublished::UnknownDomain);
        }
        let update = (host.clone(), version.map(CertificateVersion));
        if let Some(compiled) = self.compiler_mut().update_certificates(&[update]) {
            self.publish_compiled(compiled, now);
        }
        Ok(self.wait_for_cores(now))
    }

    fn handle_default_certificate(&mut self, version: Option<u64>, now: Now) -> Publishing {
        self.refuse_at_the_end()?;
        let version = version.map(CertificateVersion);
        if let Some(compiled) = self.compiler().update_default_certificate(version) {
            self.publish_compiled(compiled, now);
        }
        Ok(self.wait_for_cores(now))
    }

    fn refuse_at_the_end(&self) -> Result<(), Unpublished> {
        match self.is_running() {
            true => Ok(()),
            false => Err(Unpublished::Stopping),
        }
    }
}

/// The control plane as certificates see it.
#[derive(Clone)]
pub(crate) struct CertificateHost {
    control: Control,
}

impl CertificateHost {
    pub(crate) fn new(control: Control) -> Self {
        Self { control }
    }

    async fn publish(&self, event: impl FnOnce(&mut Engine, Now) -> Publishing) -> Result<(), Unpublished> {
        let answer = self.control.turn(event)?;
        poll_fn(|cx| {
            let mut answer = answer.borrow_mut();
            match answer.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    answer.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Host for CertificateHost {
    async fn publish_challenge(
        &self,
        token: &str,
        key_authorization: Option<&str>,
    ) -> Result<(), Unpublished> {
        let answer = key_authorization.map(Arc::from);
        self.publish(|engine, now| engine.handle_challenge(token, answer, now)).await
    }

    async fn publish_certificate(&self, host: &Hostname, version: Option<u64>) -> Result<(), Unpublished> {
        self.publish(|engine, now| engine.handle_certificate(host, version, now)).await
    }

    async fn publish_default(&self, version: Option<u64>) -> Result<(), Unpublished> {
        self.publish(|engine, now| engine.handle_default_certificate(version, now)).await
    }

    fn notify(&self, event: CertificateEvent) {
        log(&event);
        self.control.turn(|engine, now| engine.tell_of_certificate(&event, now));
    }
}

fn log(event: &CertificateEvent) {
    match event {
        CertificateEvent::Issued { host, facts } => {
            tracing::info!(%host, issuer = facts.issuer, expires = %facts.not_after.to_rfc3339(), "certificate issued");
        }
        CertificateEvent::Renewed { host, facts } => {
            tracing::info!(%host, issuer = facts.issuer, expires = %facts.not_after.to_rfc3339(), "certificate renewed");
        }
        CertificateEvent::Uploaded { host, facts } => {
            tracing::info!(%host, issuer = facts.issuer, expires = %facts.not_after.to_rfc3339(), "certificate uploaded");
        }
        CertificateEvent::Failed { host, reason, next_try } => {
            let next_try = next_try.map(|at| at.to_rfc3339());
            tracing::warn!(%host, reason, next_try, "no certificate could be had");
        }
        CertificateEvent::Parked { host, reason } => {
            tracing::warn!(%host, reason, "certificate attempts end until somebody asks for one");
        }
        CertificateEvent::ExpiringSoon { host, not_after } => {
            let host = host.as_ref().map(Hostname::as_str);
            tracing::error!(host, expires = %not_after.to_rfc3339(), "a certificate expires soon and was not renewed");
        }
        CertificateEvent::Removed { host } => tracing::info!(%host, "certificate removed with its domain"),
        CertificateEvent::Damaged { host, reason } => {
            tracing::error!(%host, reason, "a certificate on the disk cannot be served");
        }
        CertificateEvent::DefaultReplaced { facts } => {
            let (fingerprint, expires) = (&facts.fingerprint, facts.not_after.to_rfc3339());
            tracing::info!(fingerprint, expires, "the default certificate was replaced");
        }
        CertificateEvent::DefaultRefused { reason } => {
            tracing::error!(
                reason,
                "the default certificate's files have changed and cannot be served: the old one stays"
            );
        }
        CertificateEvent::DirectoryUnusable { reason } => {
            tracing::error!(reason, "the certificate directory cannot be used");
        }
        // Events are added without a new version of this crate; one that is unknown is still said.
        other => tracing::info!(event = ?other, "certificates"),
    }
}

#[cfg(test)]
#[path = "certificate_host_tests.rs"]
mod tests;
