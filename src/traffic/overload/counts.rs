//! Counts of an overload protection: one 64-bit word, so that each step is atomic.

/// Requests with a permit, waiters, and granted permits that no waiter has taken yet.
///
/// `granted <= waiting`, and granted permits are among those in flight. Every step keeps both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) in_flight: u32,
    pub(super) waiting: u32,
    pub(super) granted: u32,
}

impl Counts {
    pub(super) fn from_word(word: u64) -> Self {
        Self {
            in_flight: (word & IN_FLIGHT_MAX as u64) as u32,
            waiting: (word >> IN_FLIGHT_BITS & WAITING_MAX as u64) as u32,
            granted: (word >> (IN_FLIGHT_BITS + WAITING_BITS)) as u32,
        }
    }

    pub(super) fn word(self) -> u64 {
        let Self { in_flight, waiting, granted } = self;
        u64::from(in_flight)
            | u64::from(waiting) << IN_FLIGHT_BITS
            | u64::from(granted) << (IN_FLIGHT_BITS + WAITING_BITS)
    }

    /// Waiters without a granted permit.
    pub(super) fn queued(self) -> u32 {
        self.waiting - self.granted
    }

    /// Whether granted permits wait to be taken.
    pub(super) fn has_grants(self) -> bool {
        self.granted > 0
    }

    /// A request takes a free permit; `None` where none is free, or waiters come first.
    pub(super) fn admit(self, limit: u32) -> Option<Self> {
        let is_free = self.queued() == 0 && self.in_flight < limit;
        if is_free { self.count() } else { None }
    }

    /// A request takes a permit without regard to the limit; `None` where the word cannot count it.
    pub(super) fn count(self) -> Option<Self> {
        (self.in_flight < IN_FLIGHT_MAX).then(|| Self { in_flight: self.in_flight + 1, ..self })
    }

    /// A request becomes a waiter; `None` where the queue is full.
    pub(super) fn enqueue(self, queue_size: u32) -> Option<Self> {
        let has_room = self.queued() < queue_size && self.waiting < WAITING_MAX;
        has_room.then(|| Self { waiting: self.waiting + 1, ..self })
    }

    /// A permit is given back, and free ones are granted.
    pub(super) fn release(self, limit: u32) -> Self {
        Self { in_flight: self.in_flight.saturating_sub(1), ..self }.grant(limit)
    }

    /// Grants free permits to waiters.
    pub(super) fn grant(self, limit: u32) -> Self {
        let free = limit.min(IN_FLIGHT_MAX).saturating_sub(self.in_flight);
        let more = free.min(self.queued());
        Self { in_flight: self.in_flight + more, granted: self.granted + more, ..self }
    }

    /// A waiter takes a granted permit; `None` where there is none.
    pub(super) fn take(self) -> Option<Self> {
        let granted = self.granted.checked_sub(1)?;
        Some(Self { granted, waiting: self.waiting - 1, ..self })
    }

    /// A waiter gives up. Where a permit is granted for each waiter, one of them becomes free.
    pub(super) fn leave(self) -> Self {
        let waiting = self.waiting.saturating_sub(1);
        let surplus = self.granted.saturating_sub(waiting);
        Self { in_flight: self.in_flight - surplus, waiting, granted: self.granted - surplus }
    }
}

const IN_FLIGHT_BITS: u32 = 24;
const WAITING_BITS: u32 = 20;
/// Permits that the word can count: more than a process has requests.
const IN_FLIGHT_MAX: u32 = (1 << IN_FLIGHT_BITS) - 1;
/// Waiters that the word can count.
const WAITING_MAX: u32 = (1 << WAITING_BITS) - 1;
