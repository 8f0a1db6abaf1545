//! How far the table can be believed: what was lost, what was healed, and since when it is exact.

use netstat_common::lost::Counter;

use crate::conn::{gaps::Gaps, types::Ktime};

use super::object::Counters;

/// One moment on two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
    /// Nanoseconds since boot, without suspend: the clock of the events.
    pub ktime: Ktime,
}

/// Events that are missing, by cause. Each field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Socket events that found the ring full.
    pub ring_full: u64,
    /// Socket events whose fields could not be read.
    pub unreadable: u64,
    /// Records of the ring that could not be decoded: a defect of ours.
    pub undecoded: u64,
    /// Events of hooks with a single copy that the kernel skipped, because the hook was active on
    /// that CPU (`recursion_misses`).
    pub skipped: u64,
    /// Process events that found the ring full: program names and owners in the log are in doubt,
    /// the table is not.
    pub process_events: u64,
}

impl Lost {
    /// Events whose loss makes the table doubtful.
    #[must_use]
    pub fn of_sockets(&self) -> u64 {
        self.ring_full + self.unreadable + self.undecoded + self.skipped
    }

    /// Takes over what the BPF programs count themselves.
    pub(super) fn count(&mut self, counters: &Counters) {
        self.ring_full = counters.get(Counter::RingFull);
        self.unreadable = counters.get(Counter::BadRead);
        self.process_events = counters.get(Counter::ProcRingFull);
    }
}

/// What cannot be believed at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Half-open connections: there are more of them than the budget lets through. Rows of them
    /// are read from the kernel's hash tables when they are printed.
    HalfOpen,
    /// What changed just before the last healing, for some 40 ms after it: an event comes before its
    /// effect, so that not all could be judged. Rows are looked for in the kernel's hash tables when
    /// they are printed.
    Newest,
    /// Sockets of other network namespaces: events were lost, and this kernel lists our own only.
    OtherNamespaces,
    /// Events were lost, and the table could not be compared with the kernel (completely).
    Everything,
}

impl Doubt {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OtherNamespaces => "other network namespaces",
            Self::HalfOpen => "half-open connections",
            Self::Newest => "what changed just before the last healing",
            Self::Everything => "everything",
        }
    }
}

/// The state of a tracer, for whoever shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Since when the table has missed nothing: the end of the seed, or of the last healing.
    pub exact_since: Moment,
    /// What is in doubt now; `None` nearly always.
    pub in_doubt: Option<Doubt>,
    /// What was lost since the start.
    pub lost: Lost,
    /// Times that the table was compared with the kernel because something had been lost.
    pub healings: u64,
    /// Times that it was compared without a reason to doubt it.
    pub audits: u64,
    /// Rows that a comparison found wrong though nothing was known to be lost.
    pub mismatches: u64,
    /// Events of half-open connections that were counted and not sent: a SYN flood's.
    pub over_budget: u64,
    /// Changes that nobody told and that were inferred, from later events or while healing.
    pub gaps: Gaps,
    /// Events that the second copy of the state hook caught for the first.
    pub second_copy: u64,
}
