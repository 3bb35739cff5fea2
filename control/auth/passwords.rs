//! Threads that verify passwords: their hashes are slow by design, and no core may wait for one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use ringway_bridge::{MailboxReceiver, MailboxSender, TryRecvError, blocking_mailbox};
use ringway_model::CoreId;

use crate::limits::{PASSWORD_THREADS, PASSWORDS_WAITING_MAX};
use crate::link::Event;

/// A password to verify.
pub(crate) struct Job {
    pub(crate) core: CoreId,
    pub(crate) ticket: u64,
    pub(crate) hash: Arc<str>,
    pub(crate) password: Box<[u8]>,
}

impl std::fmt::Debug for Job {
    /// Omits hash and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("core", &self.core).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// Starts the threads, one queue each; they end with their queues.
pub(crate) fn start(events: &MailboxSender<Event>) -> io::Result<Vec<MailboxSender<Job>>> {
    let mut queues = Vec::with_capacity(PASSWORD_THREADS);
    for number in 0..PASSWORD_THREADS {
        let (queue, jobs) = blocking_mailbox(PASSWORDS_WAITING_MAX / PASSWORD_THREADS);
        let events = events.clone();
        thread::Builder::new().name(format!("passwords-{number}")).spawn(move || run(&jobs, &events))?;
        queues.push(queue);
    }
    Ok(queues)
}

fn run(jobs: &MailboxReceiver<Job>, events: &MailboxSender<Event>) {
    loop {
        let job = match jobs.recv_timeout(Duration::MAX) {
            Ok(job) => job,
            Err(TryRecvError::Empty) => continue,
            Err(TryRecvError::Closed) => return,
        };
        let Job { core, ticket, hash, password } = job;
        // A hash that makes a library panic admits no one.
        let is_right = catch_unwind(AssertUnwindSafe(|| verify(&hash, &password))).unwrap_or(false);
        if events.send(Event::Verified { core, ticket, is_right: Some(is_right) }).is_err() {
            tracing::warn!("the result of a password is lost: the control thread does not take it");
        }
    }
}

/// Whether a password has this hash of bcrypt or argon2. Takes up to seconds, as the hash has it.
pub fn verify(hash: &str, password: &[u8]) -> bool {
    if hash.starts_with("$argon2") {
        let parsed = PasswordHash::new(hash);
        return parsed.is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::verify;

    #[test]
    fn hashes_of_htpasswd_and_of_argon2_are_verified() {
        // htpasswd -nbB -C 4 alice secret
        let bcrypt = "$2y$04$5KcLxqUAJ/a2hfCZoMbW7uD7oZDD2Ywh.gDp8N6t8nUfUq7z3Yf2e";
        assert!(!verify(bcrypt, b"wrong"));
        let made = bcrypt::hash("secret", 4).expect("a cost that bcrypt has");
        assert!(verify(&made, b"secret") && !verify(&made, b"secre"));
        assert!(verify(&made.replacen("$2b$", "$2y$", 1), b"secret"), "as htpasswd writes it");
        for broken in ["", "$2b$", "$2b$04$x", "$argon2id$", "$argon2id$v=19$m=1,t=1,p=1$x$y", "secret"] {
            assert!(!verify(broken, b"secret"), "{broken}");
        }
    }
}
