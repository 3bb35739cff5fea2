//! When to ask the resolver for which host, and who waits for the answer. Who asks is somebody else; time is an argument.
//!
//! ```text
//!  wanted ──► queued ── poll_question ──► asked ── answer ──► served: asked again when it is wanted and no longer fresh
//!               └──────── RESOLVER_TIMEOUT ┴──► whoever waits is told so
//!  served ── not wanted for RESOLVED_IDLE, or without an answer for RESOLVED_STALE_MAX ──► forgotten
//! ```

use std::collections::{BTreeSet, VecDeque};

use ahash::AHashMap;
use ringway_model::limits::{
    RESOLVED_FRESH, RESOLVED_HOSTS_MAX, RESOLVED_IDLE, RESOLVED_RETRY, RESOLVED_STALE_MAX, RESOLVER_TIMEOUT,
};
use ringway_model::{CoreId, Hostname, Tick};
use ringway_traffic::report::Absence;

/// The hosts that a resolver was asked for.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    hosts: AHashMap<Hostname, Host>,
    /// Those that wait for a thread.
    queue: VecDeque<Hostname>,
    /// When to look at each host again, at the latest.
    deadlines: BTreeSet<(Tick, Hostname)>,
}

#[derive(Debug)]
struct Host {
    question: Question,
    /// The cores whose requests wait for the answer.
    askers: Vec<CoreId>,
    /// When the resolver last said where it is served; never, while there is no route.
    answered: Option<Tick>,
    wanted: Tick,
    /// Its entry in the deadlines.
    deadline: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    None,
    Queued {
        since: Tick,
    },
    Asked {
        since: Tick,
    },
    /// It was asked so long ago that nobody waits any more; its thread still does.
    Overdue,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// These cores have to be told that there is no route.
    Tell(Vec<CoreId>, Hostname, Absence),
    /// The host's route is to be removed.
    Remove(Hostname),
}

/// What an answer says, without where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The host has a route from now on.
    Known,
    /// No app has it.
    Unknown,
    /// No answer.
    Failed,
}

impl Hosts {
    /// A core has a request for this host.
    pub(crate) fn handle_wanted(&mut self, host: &Hostname, core: CoreId, now: Tick) -> Option<Effect> {
        if !self.hosts.contains_key(host) {
            if self.hosts.len() >= RESOLVED_HOSTS_MAX {
                return Some(Effect::Tell(vec![core], host.clone(), Absence::Unresolved));
            }
            let new = Host {
                question: Question::None,
                askers: Vec::new(),
                answered: None,
                wanted: now,
                deadline: now,
            };
            self.hosts.insert(host.clone(), new);
            self.deadlines.insert((now, host.clone()));
        }
        let entry = self.hosts.get_mut(host)?;
        entry.wanted = now;
        match entry.question {
            // One call for one host: the next begins when this one has returned.
            Question::Overdue if entry.answered.is_none() => {
                return Some(Effect::Tell(vec![core], host.clone(), Absence::Unresolved));
            }
            Question::None if entry.answered.is_some_and(|at| now < at.after(RESOLVED_FRESH)) => return None,
            Question::None => {
                entry.question = Question::Queued { since: now };
                self.queue.push_back(host.clone());
            }
            Question::Queued { .. } | Question::Asked { .. } | Question::Overdue => {}
        }
        if !entry.askers.contains(&core) {
            entry.askers.push(core);
        }
        self.arm(host);
        None
    }

    /// A target of this host could not be connected to: the answer may be too old.
    pub(crate) fn handle_unreachable(&mut self, host: &Hostname, now: Tick) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let is_old = entry.answered.is_none_or(|at| now >= at.after(RESOLVED_RETRY));
        if entry.question == Question::None && is_old {
            entry.question = Question::Queued { since: now };
            self.queue.push_back(host.clone());
            self.arm(host);
        }
    }

    /// Somebody registered the host: the resolver's word on it does not count any more.
    pub(crate) fn forget(&mut self, host: &Hostname) {
        if let Some(entry) = self.hosts.remove(host) {
            self.deadlines.remove(&(entry.deadline, host.clone()));
            self.queue.retain(|queued| queued != host);
        }
    }

    /// The next host to ask for. Call it when somebody is free to.
    pub(crate) fn poll_question(&mut self) -> Option<Hostname> {
        while let Some(host) = self.queue.pop_front() {
            if let Some(entry) = self.hosts.get_mut(&host)
                && let Question::Queued { since } = entry.question
            {
                entry.question = Question::Asked { since };
                return Some(host);
            }
        }
        None
    }

    /// The resolver answered, or failed. Effects follow; that the host has a route is the caller's to see to.
    pub(crate) fn handle_answer(&mut self, host: &Hostname, verdict: Verdict, now: Tick) -> Vec<Effect> {
        let Some(entry) = self.hosts.get_mut(host) else { return Vec::new() };
        entry.question = Question::None;
        let askers = std::mem::take(&mut entry.askers);
        let had_route = entry.answered.is_some();
        let absence = match verdict {
            Verdict::Known => {
                entry.answered = Some(now);
                self.arm(host);
                return Vec::new();
            }
            // What is known is served on for a while.
            Verdict::Failed if had_route => {
                self.arm(host);
                return Vec::new();
            }
            Verdict::Failed => Absence::Unresolved,
            Verdict::Unknown => Absence::Unknown,
        };
        self.forget(host);
        let mut effects = Vec::new();
        if had_route {
            effects.push(Effect::Remove(host.clone()));
        }
        if !askers.is_empty() {
            effects.push(Effect::Tell(askers, host.clone(), absence));
        }
        effects
    }

    /// What has become due.
    pub(crate) fn handle_time(&mut self, now: Tick) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((due, host)) = self.deadlines.first().cloned() {
            if due > now {
                break;
            }
            self.look_at(&host, now, &mut effects);
        }
        effects
    }

    fn look_at(&mut self, host: &Hostname, now: Tick, effects: &mut Vec<Effect>) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        if let Question::Queued { since } | Question::Asked { since } = entry.question
            && since.after(RESOLVER_TIMEOUT) <= now
        {
            if matches!(entry.question, Question::Asked { .. }) {
                entry.question = Question::Overdue;
            } else {
                entry.question = Question::None;
                self.queue.retain(|queued| queued != host);
            }
            let askers = std::mem::take(&mut entry.askers);
            if entry.answered.is_none() && !askers.is_empty() {
                effects.push(Effect::Tell(askers, host.clone(), Absence::Unresolved));
            }
        }
        let is_over = match (entry.answered, entry.question) {
            (_, Question::Queued { .. } | Question::Asked { .. }) => false,
            (Some(at), Question::None | Question::Overdue) => {
                entry.wanted.after(RESOLVED_IDLE) <= now || at.after(RESOLVED_STALE_MAX) <= now
            }
            (None, Question::None) => true,
            // Kept until its thread is back, so that it is not asked for on another.
            (None, Question::Overdue) => false,
        };
        if !is_over {
            return self.arm(host);
        }
        if entry.answered.is_some() {
            effects.push(Effect::Remove(host.clone()));
        }
        entry.answered = None;
        match entry.question {
            Question::Overdue => self.arm(host),
            Question::None | Question::Queued { .. } | Question::Asked { .. } => self.forget(host),
        }
    }

    /// When [`Hosts::handle_time`] is worth a call.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.deadlines.first().map_or(Tick::NEVER, |(due, _)| *due)
    }

    fn arm(&mut self, host: &Hostname) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let question = match entry.question {
            Question::Queued { since } | Question::Asked { since } => since.after(RESOLVER_TIMEOUT),
            Question::None | Question::Overdue => Tick::NEVER,
        };
        let route = entry
            .answered
            .map_or(Tick::NEVER, |at| entry.wanted.after(RESOLVED_IDLE).min(at.after(RESOLVED_STALE_MAX)));
        let route = if question == Tick::NEVER { route } else { Tick::NEVER };
        let deadline = question.min(route);
        self.deadlines.remove(&(entry.deadline, host.clone()));
        entry.deadline = deadline;
        if deadline != Tick::NEVER {
            self.deadlines.insert((deadline, host.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    const A: CoreId = CoreId(0);
    const B: CoreId = CoreId(1);

    fn host(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    fn after(duration: Duration) -> Tick {
        Tick(0).after(duration)
    }

    fn tell(cores: &[CoreId], name: &Hostname, why: Absence) -> Effect {
        Effect::Tell(cores.to_vec(), name.clone(), why)
    }

    /// A host that has had its route since tick 0.
    fn served(name: &Hostname) -> Hosts {
        let mut hosts = Hosts::default();
        assert_eq!(hosts.handle_wanted(name, A, Tick(0)), None);
        assert_eq!(hosts.poll_question().as_ref(), Some(name));
        assert!(hosts.handle_answer(name, Verdict::Known, Tick(0)).is_empty());
        hosts
    }

    #[test]
    fn all_who_want_a_host_share_one_question() {
        let (mut hosts, a) = (Hosts::default(), host("a.test"));
        for core in [A, B, A] {
            assert_eq!(hosts.handle_wanted(&a, core, Tick(5)), None);
        }
        assert_eq!(hosts.poll_question(), Some(a.clone()));
        assert_eq!(hosts.handle_wanted(&a, B, Tick(6)), None);
        assert_eq!(hosts.poll_question(), None);
        let effects = hosts.handle_answer(&a, Verdict::Unknown, Tick(7));
        assert_eq!(effects, [tell(&[A, B], &a, Absence::Unknown)]);
        assert_eq!(hosts.next_deadline(), Tick::NEVER, "forgotten");
        assert!(hosts.hosts.is_empty());
    }

    #[test]
    fn a_host_in_use_is_asked_for_again_once_it_is_not_fresh() {
        let a = host("a.test");
        let mut hosts = served(&a);
        let before = Tick(after(RESOLVED_FRESH).0 - 1);
        hosts.handle_wanted(&a, A, before);
        assert_eq!(hosts.poll_question(), None);
        hosts.handle_wanted(&a, A, after(RESOLVED_FRESH));
        assert_eq!(hosts.poll_question(), Some(a.clone()));
        let effects = hosts.handle_answer(&a, Verdict::Unknown, after(RESOLVED_FRESH));
        assert_eq!(effects, [Effect::Remove(a.clone()), tell(&[A], &a, Absence::Unknown)]);
    }

    #[test]
    fn a_host_that_nobody_wants_any_more_is_forgotten() {
        let a = host("a.test");
        let mut hosts = served(&a);
        assert_eq!(hosts.next_deadline(), after(RESOLVED_IDLE));
        hosts.handle_wanted(&a, A, Tick(500));
        assert!(hosts.handle_time(after(RESOLVED_IDLE)).is_empty(), "it was wanted meanwhile");
        assert_eq!(hosts.next_deadline(), Tick(500).after(RESOLVED_IDLE));
        assert_eq!(hosts.handle_time(Tick(500).after(RESOLVED_IDLE)), [Effect::Remove(a)]);
        assert!(hosts.hosts.is_empty() && hosts.deadlines.is_empty());
    }

    #[test]
    fn an_answer_serves_on_for_a_while_when_the_resolver_fails() {
        let a = host("a.test");
        let mut hosts = served(&a);
        let mut now = Tick(0);
        loop {
            now = now.after(RESOLVED_FRESH);
            let effects = hosts.handle_time(now);
            if !effects.is_empty() {
                assert_eq!(effects, [Effect::Remove(a.clone())]);
                break;
            }
            assert_eq!(hosts.handle_wanted(&a, A, now), None);
            assert_eq!(hosts.poll_question(), Some(a.clone()));
            assert!(hosts.handle_answer(&a, Verdict::Failed, now).is_empty());
        }
        assert_eq!(now, after(RESOLVED_STALE_MAX));
        hosts.handle_wanted(&a, A, now);
        hosts.poll_question().unwrap();
        let effects = hosts.handle_answer(&a, Verdict::Failed, now);
        assert_eq!(effects, [tell(&[A], &a, Absence::Unresolved)], "nothing is known any more");
    }

    #[test]
    fn a_call_that_does_not_return_holds_up_nobody_for_long() {
        let (mut hosts, a, b) = (Hosts::default(), host("a.test"), host("b.test"));
        hosts.handle_wanted(&a, A, Tick(0));
        hosts.poll_question().unwrap();
        hosts.handle_wanted(&b, A, Tick(1));
        assert_eq!(hosts.next_deadline(), after(RESOLVER_TIMEOUT));
        let effects = hosts.handle_time(after(RESOLVER_TIMEOUT).after(Duration::from_millis(1)));
        assert_eq!(
            effects,
            [tell(&[A], &a, Absence::Unresolved), tell(&[A], &b, Absence::Unresolved)],
            "the one under way, and the one that never got a thread"
        );
        assert_eq!(hosts.poll_question(), None, "nobody waits for the second");
        let now = after(RESOLVER_TIMEOUT * 2);
        assert_eq!(hosts.handle_wanted(&a, B, now), Some(tell(&[B], &a, Absence::Unresolved)));
        assert_eq!(hosts.poll_question(), None, "never twice at once for one host");
        assert!(hosts.handle_answer(&a, Verdict::Known, now).is_empty(), "late, and good all the same");
        assert_eq!(hosts.handle_wanted(&a, B, now), None);
        assert_eq!(hosts.poll_question(), None, "fresh");
    }

    #[test]
    fn a_target_that_is_gone_is_a_reason_to_ask() {
        let a = host("a.test");
        let mut hosts = served(&a);
        hosts.handle_unreachable(&a, Tick(1));
        assert_eq!(hosts.poll_question(), None, "asked a moment ago");
        hosts.handle_unreachable(&a, after(RESOLVED_RETRY));
        assert_eq!(hosts.poll_question(), Some(a.clone()));
        hosts.handle_unreachable(&a, after(RESOLVED_RETRY));
        assert_eq!(hosts.poll_question(), None, "asked already");
        hosts.handle_unreachable(&host("b.test"), Tick(9));
        assert_eq!(hosts.poll_question(), None, "not ours");
    }

    #[test]
    fn a_registered_host_is_forgotten_wherever_it_stands() {
        let a = host("a.test");
        let mut hosts = served(&a);
        hosts.forget(&a);
        assert_eq!(hosts.next_deadline(), Tick::NEVER);
        hosts.handle_wanted(&a, A, Tick(0));
        hosts.forget(&a);
        assert_eq!(hosts.poll_question(), None);
        hosts.handle_wanted(&a, A, Tick(0));
        hosts.poll_question().unwrap();
        hosts.forget(&a);
        assert!(hosts.handle_answer(&a, Verdict::Unknown, Tick(1)).is_empty());
    }

    #[test]
    fn there_are_so_many_hosts_and_no_more() {
        let mut hosts = Hosts::default();
        for number in 0..RESOLVED_HOSTS_MAX {
            assert_eq!(hosts.handle_wanted(&host(&format!("n{number}.test")), A, Tick(0)), None);
        }
        let more = host("more.test");
        assert_eq!(hosts.handle_wanted(&more, A, Tick(0)), Some(tell(&[A], &more, Absence::Unresolved)));
        assert_eq!(hosts.handle_wanted(&host("n1.test"), B, Tick(0)), None, "known ones are no more");
        let effects = hosts.handle_time(after(RESOLVER_TIMEOUT));
        assert_eq!(effects.len(), RESOLVED_HOSTS_MAX);
        assert!(hosts.hosts.is_empty() && hosts.queue.is_empty(), "a flood leaves nothing behind");
    }
}
