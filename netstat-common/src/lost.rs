//! Counters that the BPF programs keep, per CPU.

/// Index into the `COUNTERS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Socket events handed to the ring.
    Emitted = 0,
    /// Socket events dropped because the ring was full: the table is in doubt.
    RingFull = 1,
    /// Process events dropped because the ring was full: names and owners in the log are in doubt.
    ProcRingFull = 2,
    /// Events that only the second copy of the state hook saw: what a single copy loses.
    SecondCopy = 3,
    /// Socket events whose fields could not be read.
    BadRead = 4,
    /// Times that an iterator found the ring full and was asked to go on later. No loss.
    SeedWaits = 5,
    /// Events of request sockets that were not sent, because there were more than
    /// `HALF_OPEN_BUDGET`: the rows of half-open connections are in doubt.
    OverBudget = 6,
}

/// How many counters there are.
pub const COUNTERS: u32 = 7;
