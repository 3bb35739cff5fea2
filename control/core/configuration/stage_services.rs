//! Services of stages that judge described requests beside the data plane: the credentials in force, and no
//! calls. Nothing here counts, waits or is kept.

use std::sync::Arc;

use ringway_middleware::{
    Call, CallFailure, CallResponse, CoreState, Credentials, DecisionResult, Services, Waiting,
};
use ringway_model::{AppId, CredentialSource};
use ringway_net::clock;
use ringway_traffic::snapshot::Snapshot;

/// Treatment of passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passwords {
    /// Verified here, which takes as long as their hashes are slow.
    Verified,
    /// Left undecided: whoever may read a configuration may not try passwords.
    Undecided,
}

/// Services of one question.
pub(super) struct QuestionServices<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) passwords: Passwords,
    core: CoreState,
}

impl<'a> QuestionServices<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, passwords: Passwords) -> Self {
        Self { snapshot, passwords, core: CoreState::default() }
    }
}

impl Services for QuestionServices<'_> {
    fn now(&self) -> u64 {
        clock::timestamp().0 / 1000
    }

    fn now_micros(&self) -> u64 {
        clock::now().0.saturating_mul(1000)
    }

    fn revision(&self) -> u64 {
        self.snapshot.revision.0
    }

    fn core(&self) -> &CoreState {
        &self.core
    }

    fn credentials(&self, source: &CredentialSource) -> Option<&Arc<Credentials>> {
        self.snapshot.credentials(source)
    }

    fn refresh<'s>(&'s self, source: &'s CredentialSource) -> Waiting<'s, Option<Arc<Credentials>>> {
        // The identity provider is asked for no question.
        Box::pin(std::future::ready(self.snapshot.credentials(source).cloned()))
    }

    fn verify_password(&self, hash: Arc<str>, password: Box<[u8]>) -> Waiting<'_, Option<bool>> {
        match self.passwords {
            Passwords::Verified => {
                Box::pin(std::future::ready(Some(ringway_auth::verify_password(&hash, &password))))
            }
            Passwords::Undecided => Box::pin(std::future::pending()),
        }
    }

    fn call<'s>(&'s self, _: Call<'s>) -> Waiting<'s, Result<CallResponse, CallFailure>> {
        Box::pin(std::future::pending())
    }

    fn note_decision(&self, _: &AppId, _: DecisionResult, _: u64) {}
}
