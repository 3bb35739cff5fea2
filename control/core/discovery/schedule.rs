//! When to ask the resolver for which host, and who waits for the answer. Who asks is somebody else; time is an argument.
//!
//! ```text
//!  wanted ──► queued ── poll_question ──► asked ── answer ──► served: asked again when it is wanted and no longer fresh
//!               └──────── RESOLVER_TIMEOUT ┴──► whoever waits is told so
//!  served ── not wanted for RESOLVED_IDLE ──► remembered: the next request waits for a fresh answer
//!    └─────────────────────────────────────────┴── without an answer for RESOLVED_STALE_MAX ──► forgotten
//! ```

use std::collections::{BTreeSet, VecDeque};

use crate::limits::{RESOLVED_HOSTS_MAX, RESOLVED_IDLE, RESOLVED_RETRY, RESOLVED_STALE_MAX};
use ahash::AHashMap;
use ringway_model::limits::{RESOLVED_FRESH, RESOLVER_TIMEOUT};
use ringway_model::{CoreId, Hostname, Target, Tick};
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
    /// The last answer that said where it is served, and when that was.
    answer: Option<(Tick, Vec<Target>)>,
    /// Whether there is a route by that answer.
    is_routed: bool,
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
    /// The host is to be routed to these targets.
    Put(Hostname, Vec<Target>),
    /// The host's route is to be removed.
    Remove(Hostname),
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The host is served by these.
    Known(Vec<Target>),
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
            self.hosts.insert(host.clone(), Host::new(now));
            self.deadlines.insert((now, host.clone()));
        }
        let entry = self.hosts.get_mut(host)?;
        entry.wanted = now;
        match entry.question {
            // One call for one host: the next begins when this one has returned.
            Question::Overdue if !entry.is_routed => {
                let effect = entry.fall_back(now, host);
                self.arm(host);
                return Some(effect.unwrap_or(Effect::Tell(vec![core], host.clone(), Absence::Unresolved)));
            }
            Question::None if entry.is_fresh(now) => return None,
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
        let is_old = entry.answer.as_ref().is_none_or(|(at, _)| now >= at.after(RESOLVED_RETRY));
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

    /// The resolver answered, or failed.
    pub(crate) fn handle_answer(&mut self, host: &Hostname, verdict: Verdict, now: Tick) -> Vec<Effect> {
        let Some(entry) = self.hosts.get_mut(host) else { return Vec::new() };
        entry.question = Question::None;
        let askers = std::mem::take(&mut entry.askers);
        let absence = match verdict {
            Verdict::Known(targets) => {
                entry.answer = Some((now, targets.clone()));
                entry.is_routed = true;
                self.arm(host);
                return vec![Effect::Put(host.clone(), targets)];
            }
            // What is known is served on for a while.
            Verdict::Failed if entry.is_usable(now) => {
                let effect = if askers.is_empty() { None } else { entry.fall_back(now, host) };
                self.arm(host);
                return effect.into_iter().collect();
            }
            Verdict::Failed => Absence::Unresolved,
            Verdict::Unknown => Absence::Unknown,
        };
        let was_routed = entry.is_routed;
        self.forget(host);
        let removal = was_routed.then(|| Effect::Remove(host.clone()));
        let word = (!askers.is_empty()).then(|| Effect::Tell(askers, host.clone(), absence));
        removal.into_iter().chain(word).collect()
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
            let is_asked = matches!(entry.question, Question::Asked { .. });
            entry.question = if is_asked { Question::Overdue } else { Question::None };
            let askers = std::mem::take(&mut entry.askers);
            if !askers.is_empty() && !entry.is_routed {
                let told = || Effect::Tell(askers, host.clone(), Absence::Unresolved);
                effects.push(entry.fall_back(now, host).unwrap_or_else(told));
            }
            if !is_asked {
                self.queue.retain(|queued| queued != host);
            }
        }
        let Some(entry) = self.hosts.get_mut(host) else { return };
        if !entry.is_awaited() {
            let is_over = !entry.is_usable(now);
            if entry.is_routed && (is_over || entry.wanted.after(RESOLVED_IDLE) <= now) {
                entry.is_routed = false;
                effects.push(Effect::Remove(host.clone()));
            }
            // One whose thread is not back is kept, so that it is not asked for on another.
            if is_over && entry.question == Question::None {
                return self.forget(host);
            }
            if is_over {
                entry.answer = None;
            }
        }
        self.arm(host);
    }

    /// When [`Hosts::handle_time`] is worth a call.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.deadlines.first().map_or(Tick::NEVER, |(due, _)| *due)
    }

    fn arm(&mut self, host: &Hostname) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let deadline = entry.next_deadline();
        self.deadlines.remove(&(entry.deadline, host.clone()));
        entry.deadline = deadline;
        if deadline != Tick::NEVER {
            self.deadlines.insert((deadline, host.clone()));
        }
    }
}

impl Host {
    fn new(now: Tick) -> Self {
        Self {
            question: Question::None,
            askers: Vec::new(),
            answer: None,
            is_routed: false,
            wanted: now,
            deadline: now,
        }
    }

    /// Somebody waits for the answer to a question that is not too old.
    fn is_awaited(&self) -> bool {
        matches!(self.question, Question::Queued { .. } | Question::Asked { .. })
    }

    /// Its route is as good as a question would make it.
    fn is_fresh(&self, now: Tick) -> bool {
        self.is_routed && self.answer.as_ref().is_some_and(|(at, _)| now < at.after(RESOLVED_FRESH))
    }

    /// Its last answer may be used while there is no newer one.
    fn is_usable(&self, now: Tick) -> bool {
        self.answer.as_ref().is_some_and(|(at, _)| now < at.after(RESOLVED_STALE_MAX))
    }

    /// Goes back to the last answer, if there is no route.
    fn fall_back(&mut self, now: Tick, host: &Hostname) -> Option<Effect> {
        if self.is_routed || !self.is_usable(now) {
            return None;
        }
        self.is_routed = true;
        self.answer.as_ref().map(|(_, targets)| Effect::Put(host.clone(), targets.clone()))
    }

    fn next_deadline(&self) -> Tick {
        if let Question::Queued { since } | Question::Asked { since } = self.question {
            return since.after(RESOLVER_TIMEOUT);
        }
        let Some((at, _)) = &self.answer else { return Tick::NEVER };
        let idle = if self.is_routed { self.wanted.after(RESOLVED_IDLE) } else { Tick::NEVER };
        at.after(RESOLVED_STALE_MAX).min(idle)
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

    fn known() -> Verdict {
        Verdict::Known(vec![Target::parse("http://127.0.0.1:3001").unwrap()])
    }

    fn put(name: &Hostname) -> Effect {
        Effect::Put(name.clone(), vec![Target::parse("http://127.0.0.1:3001").unwrap()])
    }

    /// A host that has had its route since tick 0.
    fn served(name: &Hostname) -> Hosts {
        let mut hosts = Hosts::default();
        assert_eq!(hosts.handle_wanted(name, A, Tick(0)), None);
        assert_eq!(hosts.poll_question().as_ref(), Some(name));
        assert_eq!(hosts.handle_answer(name, known(), Tick(0)), [put(name)]);
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
    fn a_host_that_nobody_wants_any_more_is_remembered_for_a_while() {
        let a = host("a.test");
        let mut hosts = served(&a);
        assert_eq!(hosts.next_deadline(), after(RESOLVED_IDLE));
        hosts.handle_wanted(&a, A, Tick(500));
        assert!(hosts.handle_time(after(RESOLVED_IDLE)).is_empty(), "it was wanted meanwhile");
        assert_eq!(hosts.next_deadline(), Tick(500).after(RESOLVED_IDLE));
        let idle = Tick(500).after(RESOLVED_IDLE);
        // The question of tick 500 was not due: the host was fresh.
        assert_eq!(hosts.handle_time(idle), [Effect::Remove(a.clone())]);
        assert_eq!(hosts.handle_wanted(&a, B, idle), None);
        assert_eq!(hosts.poll_question(), Some(a.clone()), "a fresh answer first");
        assert_eq!(hosts.handle_answer(&a, Verdict::Failed, idle), [put(&a)], "then the one before");
        assert_eq!(hosts.handle_time(idle.after(RESOLVED_IDLE)), [Effect::Remove(a)]);
        assert!(hosts.handle_time(after(RESOLVED_STALE_MAX)).is_empty());
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
        assert_eq!(hosts.handle_answer(&a, known(), now), [put(&a)], "late, and good all the same");
        assert_eq!(hosts.handle_wanted(&a, B, now), None);
        assert_eq!(hosts.poll_question(), None, "fresh");
    }

    #[test]
    fn a_call_that_does_not_return_leaves_what_is_known() {
        let a = host("a.test");
        let mut hosts = served(&a);
        assert_eq!(hosts.handle_time(after(RESOLVED_IDLE)), [Effect::Remove(a.clone())]);
        let now = after(RESOLVED_IDLE);
        hosts.handle_wanted(&a, A, now);
        hosts.poll_question().unwrap();
        assert_eq!(hosts.handle_time(now.after(RESOLVER_TIMEOUT)), [put(&a)]);
        let idle = now.after(RESOLVED_IDLE);
        assert_eq!(hosts.handle_time(idle), [Effect::Remove(a.clone())]);
        assert_eq!(
            hosts.handle_wanted(&a, A, idle),
            Some(put(&a)),
            "nothing is asked, its thread is not back"
        );
        assert_eq!(hosts.handle_time(after(RESOLVED_STALE_MAX)), [Effect::Remove(a.clone())]);
        let late = after(RESOLVED_STALE_MAX);
        assert_eq!(hosts.handle_wanted(&a, A, late), Some(tell(&[A], &a, Absence::Unresolved)));
        assert_eq!(hosts.next_deadline(), Tick::NEVER);
        assert!(hosts.handle_answer(&a, Verdict::Unknown, late).is_empty());
        assert!(hosts.hosts.is_empty());
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
