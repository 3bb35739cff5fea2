//! Cores that take part in a fill, and the wake-ups of their tasks.

/// Number of a fill, of which wake-ups name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FillId(pub u64);

/// Wake-ups of tasks on other cores.
pub trait Wakeups: Send + Sync {
    /// Makes the tasks of a core that wait for a fill look again. Must not block; several wake-ups may become
    /// one. Called without any lock, by the thread of another core or of the same.
    fn wake(&self, core: usize, fill: FillId);
}

/// Cores with the number of their tasks in a fill: few, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Cores(Vec<(usize, u32)>);

impl Cores {
    pub(super) fn add(&mut self, core: usize) {
        match self.0.iter_mut().find(|(known, _)| *known == core) {
            Some((_, tasks)) => *tasks += 1,
            None => self.0.push((core, 1)),
        }
    }

    pub(super) fn remove(&mut self, core: usize) {
        let Some(at) = self.0.iter().position(|(known, _)| *known == core) else { return };
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.swap_remove(at);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|(core, _)| *core)
    }
}
