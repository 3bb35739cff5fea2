//! What a core has of certificates, keys and CAs. It reads no file: it asks the loader, and whoever needs the answer
//! waits for it, all of them for one question.
//!
//! ```text
//! get ─► held in this version ───────────────────────────────► it
//!   └──► asked for once ─► loaded ──────────────────────────► it
//!                       ├─► unloadable, or no answer in time ─► the older version, if there is one
//! ```
//! A certificate that is new comes unasked, before the snapshot with its version: a core that has an older one never serves that
//! one again once it has acknowledged the snapshot, however long the loader takes.
//!
//! What has no version of its own (CAs, version 0) is asked for again when it is older than a while, and waited for as a newer
//! version is: a CA that was taken away vouches for nobody any more.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits;
use ringway_bridge::{MailboxReceiver, MailboxSender};
use ringway_model::{CoreId, Tick};
use ringway_net::Waits;
use ringway_telemetry::MaterialLoaded;
use ringway_tls::{Loaded, Material, Unloadable, Want, Wanted};

use crate::lru_cache::LruCache;

/// Where a core asks, and where it is answered.
pub struct Lookup {
    /// Takes the questions.
    pub wanted: MailboxSender<Wanted>,
    /// Gives the answers; wakes the core.
    pub loaded: MailboxReceiver<Loaded>,
}

/// Something that was loaded, and which load it is: another number for every one.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) material: Material,
    pub(crate) load: u64,
}

/// Why something is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The loader says why.
    Unloadable(Unloadable),
    /// The loader has not answered in time, or takes no question.
    NoAnswer,
}

/// The secrets of one core.
pub(crate) struct Secrets {
    core: CoreId,
    lookup: Option<Lookup>,
    entries: RefCell<LruCache<Want, Entry>>,
    loads: Cell<u64>,
}

#[derive(Default)]
struct Entry {
    held: Option<(Rc<Held>, u64)>,
    /// When that was loaded, or found to be still the best there is.
    since: Tick,
    /// The version that was asked for and has not come, and when to ask again.
    asked: Option<(u64, Tick)>,
    /// The version that could not be loaded, why, and when to try again.
    refused: Option<(u64, Unloadable, Tick)>,
    waiters: Vec<Waker>,
}

impl Secrets {
    pub(crate) fn new(core: CoreId, lookup: Option<Lookup>) -> Self {
        let entries = RefCell::new(LruCache::new(ringway_model::limits::MATERIALS_PER_CORE_MAX));
        Self { core, lookup, entries, loads: Cell::new(0) }
    }

    /// The material, in this version if it can be had, else in the one before. Waits until `deadline` at most, and not
    /// long for a newer version of something that is there.
    pub(crate) async fn get(
        &self,
        want: &Want,
        version: u64,
        now: Tick,
        deadline: Tick,
    ) -> Result<Rc<Held>, Missing> {
        if let Poll::Ready(answer) = self.look(want, version, now, None) {
            return answer;
        }
        let patience = match self.held(want) {
            Some(_) => deadline.min(now.after(limits::MATERIAL_PATIENCE)),
            None => deadline,
        };
        match self.wait(want, version, now, patience).await {
            Ok(answer) => answer,
            Err(_) => self.held(want).ok_or(Missing::NoAnswer),
        }
    }

    /// Asks for something that will be needed, if it is not there.
    pub(crate) fn prepare(&self, want: &Want, version: u64, now: Tick) {
        let _ = self.look(want, version, now, None);
    }

    /// What is there now, in whatever version.
    pub(crate) fn held(&self, want: &Want) -> Option<Rc<Held>> {
        self.entries.borrow().peek(want)?.held.as_ref().map(|(held, _)| held.clone())
    }

    /// Takes the loader's answers, tells what became of them, and wakes who waits for them.
    pub(crate) fn take_loaded(&self, now: Tick, tell: impl Fn(&MaterialLoaded)) {
        let Some(lookup) = &self.lookup else { return };
        for loaded in lookup.loaded.drain(ringway_model::limits::CERTIFICATES_LOADED_MAX) {
            tell(&MaterialLoaded { kind: kind(&loaded.want), is_good: loaded.result.is_ok() });
            self.take(loaded, now);
        }
    }

    fn take(&self, loaded: Loaded, now: Tick) {
        let mut entries = self.entries.borrow_mut();
        // It made way meanwhile: whoever waited was woken then, and has asked again.
        let Some(entry) = entries.get(&loaded.want) else { return };
        if entry.asked.is_some_and(|(version, _)| version == loaded.version) {
            entry.asked = None;
        }
        match loaded.result {
            // Asked for by the snapshot before; the newer one has come unasked meanwhile.
            Ok(_) if entry.held.as_ref().is_some_and(|(_, held)| *held > loaded.version) => {}
            Ok(material) => {
                self.loads.update(|loads| loads + 1);
                entry.held = Some((Rc::new(Held { material, load: self.loads.get() }), loaded.version));
                entry.since = now;
                entry.refused = None;
            }
            Err(why) => {
                let is_news = entry
                    .refused
                    .as_ref()
                    .is_none_or(|(version, known, _)| (*version, known) != (loaded.version, &why));
                if is_news {
                    let serving = if entry.held.is_some() { "the one before" } else { "none" };
                    let (core, want) = (self.core.0, &loaded.want);
                    tracing::warn!(core, ?want, %why, serving, "this could not be loaded");
                }
                entry.since = now;
                entry.refused = Some((loaded.version, why, now.after(limits::MATERIAL_RETRY)));
            }
        }
        let waiters = std::mem::take(&mut entry.waiters);
        drop(entries);
        waiters.into_iter().for_each(Waker::wake);
    }

    async fn wait(
        &self,
        want: &Want,
        version: u64,
        now: Tick,
        deadline: Tick,
    ) -> io::Result<Result<Rc<Held>, Missing>> {
        let poll = |cx: &mut std::task::Context<'_>| self.look(want, version, now, Some(cx.waker())).map(Ok);
        Waits::new()?.read(deadline, poll).await
    }

    /// What there is to say now. Asks the loader when nobody has.
    fn look(
        &self,
        want: &Want,
        version: u64,
        now: Tick,
        waker: Option<&Waker>,
    ) -> Poll<Result<Rc<Held>, Missing>> {
        let Some(lookup) = &self.lookup else { return Poll::Ready(Err(Missing::NoAnswer)) };
        let mut entries = self.entries.borrow_mut();
        if entries.peek(want).is_none()
            && let Some(out) = entries.insert(want.clone(), Entry::default())
        {
            out.waiters.into_iter().for_each(Waker::wake);
        }
        let Some(entry) = entries.get(want) else { return Poll::Ready(Err(Missing::NoAnswer)) };
        let has_versions = version != 0;
        if let Some((held, held_version)) = &entry.held
            && *held_version >= version
            && (has_versions || now < entry.since.after(ringway_model::limits::MATERIAL_AGE_MAX))
        {
            return Poll::Ready(Ok(held.clone()));
        }
        if let Some((refused, why, until)) = &entry.refused
            && *refused == version
            && now < *until
        {
            let held = entry.held.as_ref().map(|(held, _)| held.clone());
            return Poll::Ready(held.ok_or_else(|| Missing::Unloadable(why.clone())));
        }
        let is_asked = entry.asked.is_some_and(|(asked, again)| asked == version && now < again);
        if !is_asked {
            let wanted = Wanted { core: self.core, want: want.clone(), version };
            if lookup.wanted.send(wanted).is_err() {
                let held = entry.held.as_ref().map(|(held, _)| held.clone());
                return Poll::Ready(held.ok_or(Missing::NoAnswer));
            }
            entry.asked = Some((version, now.after(limits::MATERIAL_RETRY)));
        }
        if let Some(waker) = waker
            && !entry.waiters.iter().any(|waiter| waiter.will_wake(waker))
        {
            entry.waiters.push(waker.clone());
        }
        Poll::Pending
    }
}

/// The word in metrics.
fn kind(want: &Want) -> &'static str {
    match want {
        Want::Identity(_) => "certificate",
        Want::ClientCa(_) => "client_ca",
        Want::Upstream(..) => "upstream",
    }
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
