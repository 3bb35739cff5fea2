//! Link to the threads of the forward proxy, and the thread that makes its rules.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, MailboxSender, ReplySender, TryRecvError, blocking_mailbox, reply};
use ringway_forward::messages::{NameMessage, Update};
use ringway_forward::{ListCounts, Policy, limits};
use ringway_model::ForwardSpec;

use crate::names::{self, Names};
use crate::rules::{LoadError, Loss, Rules};

/// Settings of the forward proxy that do not change.
pub struct ForwardSettings {
    /// The configuration to begin with.
    pub spec: Arc<ForwardSpec>,
    /// Name server; those of `/etc/resolv.conf` when absent.
    pub dns: Option<SocketAddr>,
    /// Ports of this process, which no tunnel may reach.
    pub own_ports: Vec<u16>,
}

/// Link to the threads, which end with the last clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    messages: MailboxSender<Message>,
    names: MailboxSender<NameMessage>,
    /// The policy in force.
    current: Arc<Mutex<Arc<Policy>>>,
}

/// The started threads.
pub struct Started {
    /// The link.
    pub link: Link,
    /// The first policy.
    pub policy: Arc<Policy>,
    /// Requests of the cores for names.
    pub names: MailboxSender<NameMessage>,
}

/// State of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Different domains with rules.
    pub domains: usize,
    /// Bytes in memory.
    pub bytes: usize,
    /// Lines of its text.
    pub counts: ListCounts,
}

/// Failure of a change.
#[derive(Debug)]
pub enum SetError {
    /// The rules cannot be made; the former ones stay.
    Load(LoadError),
    /// The thread is gone, or too busy to answer in time.
    Lost,
}

/// Message to the thread that makes the rules.
enum Message {
    Set(Arc<ForwardSpec>, ReplySender<Result<Arc<Policy>, LoadError>>),
    Reload { list: Arc<str>, loss: Loss, reply: ReplySender<Result<Arc<Policy>, LoadError>> },
    ReloadAll,
    End,
}

/// Loads the rules, and starts the threads. `cores` has the mailbox of each core, in their order. Blocks
/// while the lists are read: seconds for millions of rules.
///
/// # Errors
/// [`LoadError`], or a thread cannot be started.
pub fn start(settings: ForwardSettings, cores: Vec<MailboxSender<Update>>) -> Result<Started, StartError> {
    let mut rules = Rules::new(settings.own_ports);
    let policy = Arc::new(rules.make(&settings.spec, Loss::Refused).map_err(StartError::Load)?);
    // Room for the results of all lookups beside the requests.
    let (names, received) = blocking_mailbox(limits::MESSAGES_MAX + limits::LOOKUPS_IN_FLIGHT_MAX);
    let parts = Names { server: settings.dns, messages: names.clone(), cores: cores.clone() };
    names::start(parts, received).map_err(StartError::System)?;
    let (messages, received) = blocking_mailbox(MESSAGES_MAX);
    let current = Arc::new(Mutex::new(policy.clone()));
    let keeper = Keeper { rules, spec: settings.spec, cores, current: current.clone() };
    thread::Builder::new()
        .name("ringway-forward".to_owned())
        .spawn(move || keeper.run(&received))
        .map_err(StartError::System)?;
    let link = Link(Arc::new(Inner { messages, names: names.clone(), current }));
    Ok(Started { link, policy, names })
}

/// Failure to start.
#[derive(Debug)]
pub enum StartError {
    /// The rules cannot be made.
    Load(LoadError),
    /// A thread cannot be started.
    System(io::Error),
}

impl Link {
    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a configuration in force; its listeners are those of the start. Blocks while lists are read.
    ///
    /// # Errors
    /// [`SetError`]; the former rules stay.
    pub fn set(&self, spec: Arc<ForwardSpec>) -> Result<Arc<Policy>, SetError> {
        self.ask(|reply| Message::Set(spec, reply))
    }

    /// Reads a list again. With `force` it may lose most of its rules. Blocks meanwhile.
    ///
    /// # Errors
    /// [`SetError`]; the former rules stay.
    pub fn reload(&self, list: &str, force: bool) -> Result<Arc<Policy>, SetError> {
        let loss = if force { Loss::Allowed } else { Loss::Refused };
        self.ask(|reply| Message::Reload { list: list.into(), loss, reply })
    }

    /// Reads the files that have changed, soon: lists, users, and the hosts file.
    pub fn reload_all(&self) {
        // Full: a reload comes already.
        let _ = self.0.messages.send(Message::ReloadAll);
        let _ = self.0.names.send(NameMessage::Reload);
    }

    /// State of the lists.
    pub fn lists(&self) -> Vec<ListStatus> {
        let policy = self.policy();
        let status = |list: &Arc<ringway_forward::DomainList>| ListStatus {
            name: list.name.clone(),
            domains: list.set.len(),
            bytes: list.set.bytes(),
            counts: list.counts,
        };
        policy.lists.iter().map(status).collect()
    }

    fn ask(
        &self,
        message: impl FnOnce(ReplySender<Result<Arc<Policy>, LoadError>>) -> Message,
    ) -> Result<Arc<Policy>, SetError> {
        let (sender, receiver) = reply();
        self.0.messages.send(message(sender)).map_err(|_| SetError::Lost)?;
        receiver.wait(CHANGE_TIMEOUT).map_err(|_| SetError::Lost)?.map_err(SetError::Load)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.policy()).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::End);
        let _ = self.names.send(NameMessage::End);
    }
}

/// The thread that makes the rules.
struct Keeper {
    rules: Rules,
    spec: Arc<ForwardSpec>,
    cores: Vec<MailboxSender<Update>>,
    current: Arc<Mutex<Arc<Policy>>>,
}

impl Keeper {
    fn run(mut self, received: &MailboxReceiver<Message>) {
        loop {
            match received.recv_timeout(WATCH_INTERVAL) {
                Ok(Message::Set(spec, reply)) => {
                    let made = self.make(&spec, Loss::Refused);
                    if made.is_ok() {
                        self.spec = spec;
                    }
                    // The caller may have timed out.
                    let _ = reply.send(made);
                }
                Ok(Message::Reload { list, loss, reply }) => {
                    let spec = self.spec.clone();
                    let made = self.rules.forget(&list).and_then(|()| self.make(&spec, loss));
                    let _ = reply.send(made);
                }
                Ok(Message::ReloadAll) | Err(TryRecvError::Empty) => self.watch(),
                Ok(Message::End) | Err(TryRecvError::Closed) => return,
            }
        }
    }

    /// Reads files that have changed.
    fn watch(&mut self) {
        if !self.rules.is_outdated() {
            return;
        }
        let spec = self.spec.clone();
        if let Err(error) = self.make(&spec, Loss::Refused) {
            tracing::error!(%error, "rules of the forward proxy cannot be reloaded; the former ones stay");
        }
    }

    fn make(&mut self, spec: &Arc<ForwardSpec>, loss: Loss) -> Result<Arc<Policy>, LoadError> {
        let policy = Arc::new(self.rules.make(spec, loss)?);
        for core in &self.cores {
            if core.send(Update::Policy(policy.clone())).is_err() {
                tracing::error!("a core takes no rules of the forward proxy; it keeps the former ones");
            }
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = policy.clone();
        tracing::info!(revision = policy.revision, "rules of the forward proxy in force");
        Ok(policy)
    }
}

/// 2 s: between two looks at the files of lists and users.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// 16: changes that wait; they come from people.
const MESSAGES_MAX: usize = 16;
/// 30 s: a change, with lists of millions of rules.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::Lost => f.write_str("the rules were not made in time; the change may follow"),
        }
    }
}

impl std::error::Error for SetError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "forward proxy: {error}"),
            Self::System(_) => f.write_str("forward proxy: no thread"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Load(_) => None,
            Self::System(error) => Some(error),
        }
    }
}
