//! Loader thread: keeps the wanted sources loaded. Files are read here, URLs by threads of their own: an
//! identity provider that is slow delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, MailboxSender, TryRecvError};
use ringway_middleware::{ApiKeyTable, Credentials, KeySet, KnownCredentials, Users};
use ringway_model::{CredentialSource, Tick, Timestamp};
use ringway_net::clock;
use ureq::Agent;

use crate::disk::Disk;
use crate::failure_kind::{FailureCounts, FailureKind};
use crate::fetch::{self, Answer, FetchError};
use crate::file::{self, Mark};
use crate::limits::FETCHES_MAX;
use crate::link::{Event, SourceStatus};
use crate::schedule::Schedule;

/// Message to the loader.
#[derive(Debug)]
pub(crate) enum Message {
    Want(BTreeSet<CredentialSource>),
    /// With the credentials of the core that asks.
    Refresh(CredentialSource, KnownCredentials),
    Fetched(CredentialSource, Result<Answer, FetchError>),
    End,
}

/// A wanted source.
#[derive(Debug)]
struct Known {
    schedule: Schedule,
    /// State of the file that was read last.
    mark: Option<Mark>,
    /// Content that is in use, and what it was parsed into.
    in_use: Option<(Vec<u8>, Arc<Credentials>)>,
    problem: Option<Arc<str>>,
    /// Kind of that problem.
    failure: Option<FailureKind>,
    failed: FailureCounts,
    loaded_at: Option<Timestamp>,
}

struct Loader {
    sources: BTreeMap<CredentialSource, Known>,
    agent: Agent,
    disk: Disk,
    fetches: usize,
    messages: MailboxSender<Message>,
    events: MailboxSender<Event>,
}

/// Starts the thread, which ends with [`Message::End`].
pub(crate) fn start(
    folder: Option<PathBuf>,
    (messages, received): (MailboxSender<Message>, MailboxReceiver<Message>),
    events: MailboxSender<Event>,
) -> io::Result<()> {
    thread::Builder::new().name("ringway-keys".to_owned()).spawn(move || {
        let disk = Disk::new(folder);
        let agent = fetch::new_agent();
        let mut loader = Loader { sources: BTreeMap::new(), agent, disk, fetches: 0, messages, events };
        loader.run(&received);
    })?;
    Ok(())
}

impl Loader {
    fn run(&mut self, received: &MailboxReceiver<Message>) {
        loop {
            let now = clock::now();
            let next = self.sources.values().filter_map(|known| known.schedule.due()).min();
            let wait = match next {
                Some(due) if self.fetches < FETCHES_MAX || due > now => due.since(now),
                // A fetch that ends is a message.
                Some(_) => IDLE,
                None => IDLE,
            };
            match received.recv_timeout(wait.min(IDLE)) {
                Ok(Message::Want(sources)) => self.want(sources),
                Ok(Message::Refresh(source, known)) => self.refresh(source, &known),
                Ok(Message::Fetched(source, result)) => {
                    self.fetches -= 1;
                    self.handle_fetched(source, result);
                }
                Ok(Message::End) | Err(TryRecvError::Closed) => return,
                Err(TryRecvError::Empty) => {}
            }
            self.load_due(clock::now());
        }
    }

    fn want(&mut self, wanted: BTreeSet<CredentialSource>) {
        let dropped: Vec<_> =
            self.sources.keys().filter(|source| !wanted.contains(source)).cloned().collect();
        for source in dropped {
            self.sources.remove(&source);
            // A chain that names it again later must not find what is old by then.
            self.send(Event::Loaded { source, credentials: None });
        }
        let now = clock::now();
        for source in wanted {
            if self.sources.contains_key(&source) {
                continue;
            }
            let mut known = Known {
                schedule: Schedule::new(is_file(&source), now),
                mark: None,
                in_use: None,
                problem: None,
                failure: None,
                failed: FailureCounts::default(),
                loaded_at: None,
            };
            // In use until the provider answers, and where it does not.
            if !is_file(&source)
                && let Some((content, age)) = self.disk.get(&source)
                && let Ok(credentials) = parse(&source, &content)
            {
                known.schedule.restore(age, now);
                let credentials = Arc::new(credentials);
                known.in_use = Some((content, credentials.clone()));
                self.send(Event::Loaded { source: source.clone(), credentials: Some(credentials) });
            }
            self.sources.insert(source, known);
        }
    }

    fn refresh(&mut self, source: CredentialSource, of_core: &KnownCredentials) {
        let is_awaited = self.sources.get_mut(&source).is_some_and(|known| {
            let newest = known.in_use.as_ref().map(|(_, credentials)| credentials.clone());
            let is_behind = newest.is_some() && KnownCredentials(newest) != *of_core;
            !is_behind && known.schedule.hurry(clock::now())
        });
        if !is_awaited {
            self.settle(source);
        }
    }

    /// Begins the loads that are due, the longest due first: providers that never answer keep no other from
    /// its turn.
    fn load_due(&mut self, now: Tick) {
        let due =
            |(source, known): (&CredentialSource, &Known)| Some((known.schedule.due()?, source.clone()));
        let mut due: Vec<_> = self.sources.iter().filter_map(due).filter(|(due, _)| *due <= now).collect();
        due.sort();
        for (_, source) in due {
            match is_file(&source) {
                true => self.load_file(source, now),
                false if self.fetches < FETCHES_MAX => self.fetch(source),
                false => {}
            }
        }
    }

    fn load_file(&mut self, source: CredentialSource, now: Tick) {
        let Some(known) = self.sources.get_mut(&source) else { return };
        known.schedule.begin();
        let mark = file::mark(path(&source));
        if let Ok(mark) = &mark
            && known.mark == Some(*mark)
        {
            // Good or bad, it is as it was.
            match &known.problem {
                None => known.schedule.succeed(None, now),
                Some(_) => _ = known.schedule.fail(now),
            }
            return self.settle(source);
        }
        let content = mark.and_then(|mark| Ok((mark, file::read(path(&source))?)));
        match content {
            Ok((mark, content)) => {
                known.mark = Some(mark);
                self.take(source, content, None);
            }
            Err(error) => {
                known.mark = None;
                let text = format!("{}: {error}", path(&source));
                self.fail(source, FailureKind::File, &text);
            }
        }
    }

    fn fetch(&mut self, source: CredentialSource) {
        let Some(known) = self.sources.get_mut(&source) else { return };
        known.schedule.begin();
        let (agent, messages, of) = (self.agent.clone(), self.messages.clone(), source.clone());
        let started = thread::Builder::new().name("ringway-keys-get".to_owned()).spawn(move || {
            let result = match &of {
                CredentialSource::Discovery(issuer) => fetch::discover(&agent, issuer),
                CredentialSource::Jwks(url) => fetch::get(&agent, url),
                // Files are read by the loader.
                _ => return,
            };
            if messages.send(Message::Fetched(of, result)).is_err() {
                tracing::warn!("the answer of an identity provider is lost: the loader does not take it");
            }
        });
        match started {
            Ok(_) => self.fetches += 1,
            Err(error) => {
                let text = format!("no thread for a request: {error}");
                self.fail(source, FailureKind::Unreachable, &text);
            }
        }
    }

    fn handle_fetched(&mut self, source: CredentialSource, result: Result<Answer, FetchError>) {
        if !self.sources.contains_key(&source) {
            return;
        }
        match result {
            Ok(answer) => self.take(source, answer.body, answer.max_age),
            Err(error) => self.fail(source, error.kind, &error.to_string()),
        }
    }

    /// Takes a loaded content: it is in use if it is good.
    fn take(&mut self, source: CredentialSource, content: Vec<u8>, max_age: Option<Duration>) {
        let credentials = match parse(&source, &content) {
            Ok(credentials) => credentials,
            Err(error) => return self.fail(source, FailureKind::Invalid, &error),
        };
        let Some(known) = self.sources.get_mut(&source) else { return };
        known.schedule.succeed(max_age, clock::now());
        known.loaded_at = Some(clock::timestamp());
        known.failure = None;
        if known.problem.take().is_some() {
            tracing::info!(%source, "credentials can be loaded again");
        }
        // Written even if it is the same: the age of the file is that of the last good answer.
        if !is_file(&source)
            && let Err(error) = self.disk.put(&source, &content)
        {
            tracing::warn!(%source, %error, "keys cannot be kept on disk for a restart");
        }
        if known.in_use.as_ref().is_none_or(|(in_use, _)| *in_use != content) {
            tracing::info!(%source, "credentials loaded");
            let credentials = Arc::new(credentials);
            known.in_use = Some((content, credentials.clone()));
            self.send(Event::Loaded { source: source.clone(), credentials: Some(credentials) });
        }
        self.settle(source);
    }

    fn fail(&mut self, source: CredentialSource, kind: FailureKind, error: &str) {
        let Some(known) = self.sources.get_mut(&source) else { return };
        known.failed.add(kind);
        known.failure = Some(kind);
        let is_over = known.schedule.fail(clock::now());
        if known.problem.as_deref() != Some(error) {
            let in_use = known.in_use.is_some();
            tracing::warn!(%source, %error, in_use, "credentials cannot be loaded");
            known.problem = Some(error.into());
        }
        if is_over {
            known.in_use = None;
            tracing::error!(%source, "the last good keys are a day old and no longer used");
            self.send(Event::Loaded { source: source.clone(), credentials: None });
        }
        self.settle(source);
    }

    fn settle(&self, source: CredentialSource) {
        let status = self.sources.get(&source).map_or_else(SourceStatus::default, |known| SourceStatus {
            failures: known.schedule.failures(),
            problem: known.problem.clone(),
            failure: known.failure,
            failed: known.failed,
            loaded_at: known.loaded_at,
            entries: known.in_use.as_ref().map_or(0, |(_, credentials)| credentials.len()),
        });
        self.send(Event::Settled { source, status });
    }

    fn send(&self, event: Event) {
        if self.events.send(event).is_err() {
            tracing::warn!(
                "an event of the loader of credentials is lost: the control thread does not take it"
            );
        }
    }
}

/// Longest pause of the thread.
const IDLE: Duration = Duration::from_secs(3600);

/// The reason why a file of credentials cannot be used now; `None` for one that can, and for a URL. Reads it;
/// blocks.
pub fn file_problem_blocking(source: &CredentialSource) -> Option<String> {
    if !is_file(source) {
        return None;
    }
    match file::read(path(source)) {
        Ok(content) => parse(source, &content).err(),
        Err(error) => Some(format!("{source}: {error}")),
    }
}

fn is_file(source: &CredentialSource) -> bool {
    match source {
        CredentialSource::Discovery(_) | CredentialSource::Jwks(_) => false,
        CredentialSource::JwkFile(_) | CredentialSource::Users(_) | CredentialSource::ApiKeys(_) => true,
    }
}

fn path(source: &CredentialSource) -> &str {
    match source {
        CredentialSource::Discovery(text)
        | CredentialSource::Jwks(text)
        | CredentialSource::JwkFile(text)
        | CredentialSource::Users(text)
        | CredentialSource::ApiKeys(text) => text,
    }
}

fn parse(source: &CredentialSource, content: &[u8]) -> Result<Credentials, String> {
    let text = || std::str::from_utf8(content).map_err(|_| format!("{} is not UTF-8", source));
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", source);
    match source {
        CredentialSource::Discovery(_) | CredentialSource::Jwks(_) => {
            KeySet::parse(content, false).map(Credentials::Keys).map_err(|error| failed(&error))
        }
        CredentialSource::JwkFile(_) => {
            KeySet::parse(content, true).map(Credentials::Keys).map_err(|error| failed(&error))
        }
        CredentialSource::Users(_) => {
            Users::parse(text()?).map(Credentials::Users).map_err(|error| failed(&error))
        }
        CredentialSource::ApiKeys(_) => {
            ApiKeyTable::parse(text()?).map(Credentials::ApiKeys).map_err(|error| failed(&error))
        }
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
