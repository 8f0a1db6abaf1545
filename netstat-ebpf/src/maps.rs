//! Every map, and how events reach the ring.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use netstat_common::{
    control,
    listed::{Pass, UdpSock, UnixSock},
    lost::{COUNTERS as COUNTER_COUNT, Counter},
    offsets,
    row::{BATCH, GROUP, SockRow},
    walk::WalkState,
};

use crate::globals::{EVERY_CHANGE, WAKE_BYTES};

/// All records, in reservation order over all CPUs. User space sets the size before the load.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// See `netstat_common::lost::Counter`.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_COUNT, 0);

/// Batches of socket addresses for a refresh. User space makes room for one for each of its threads.
#[map]
pub static POINTERS: Array<[u64; GROUP]> =
    Array::with_max_entries((BATCH / GROUP) as u32, BPF_F_MMAPABLE);

/// The rows of those batches.
#[map]
pub static ROWS: Array<SockRow> = Array::with_max_entries(BATCH as u32, BPF_F_MMAPABLE);

/// What `f_op` of a socket's file is, once one was met.
#[map]
pub static SOCKET_OPS: Array<u64> = Array::with_max_entries(1, 0);

/// See `netstat_common::names::PASS`.
#[map]
pub static PASS: Array<Pass> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// User space makes room before the load, where it wants this list.
#[map]
pub static UDP_SOCKS: Array<UdpSock> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// As `UDP_SOCKS`.
#[map]
pub static UNIX_SOCKS: Array<UnixSock> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What the walk is to do, and how far it is.
#[map]
pub static WALK: Array<WalkState> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What user space says while we run.
#[map]
static CONTROL: Array<u64> = Array::with_max_entries(control::WORDS, BPF_F_MMAPABLE);

/// A word of `CONTROL`.
#[inline(always)]
pub fn control_word(word: u32) -> u64 {
    // SAFETY: a plain word that user space writes as a whole.
    CONTROL
        .get_ptr(word)
        .map_or(0, |word| unsafe { word.read_volatile() })
}

/// Whether each change of state is wanted now. Read once for an event: it may change meanwhile.
#[inline(always)]
pub fn every_change() -> bool {
    match EVERY_CHANGE.load() {
        offsets::ONLY_LISTED => false,
        offsets::ALWAYS => true,
        // A stale read is as if the event had come before the write.
        _ => control_word(control::WANTS_ALL) != 0,
    }
}

/// Adds one to a counter.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot belongs to this CPU. A nested program may lose an increment of
        // the outer one between load and store; the counters that matter are read as "not zero".
        unsafe { *slot += 1 };
    }
}

/// Hands a record to user space, or counts it as `full`.
///
/// Wakes user space only if it sleeps, or once `WAKE_BYTES` have gathered.
#[inline(always)]
pub fn emit<T: 'static>(record: &T, full: Counter) -> bool {
    let Some(slot) = written(record, full) else {
        return false;
    };
    submit(slot, LOOK_EACH);
    true
}

/// As [`emit`], and wakes nobody: for what a reader who is awake has asked for, and what another
/// record follows. A wake-up for each record of a walk cost ten times the walk.
#[inline(always)]
pub fn emit_quietly<T: 'static>(record: &T, full: Counter) -> bool {
    let Some(slot) = written(record, full) else {
        return false;
    };
    slot.submit(u64::from(BPF_RB_NO_WAKEUP));
    true
}

#[inline(always)]
fn written<T: 'static>(record: &T, full: Counter) -> Option<RingBufEntry<T>> {
    let Some(mut slot) = EVENTS.reserve::<T>(0) else {
        count(full);
        return None;
    };
    // SAFETY: the slot has the size of `T` and is ours until it is submitted.
    unsafe { core::ptr::copy_nonoverlapping(record, slot.as_mut_ptr(), 1) };
    Some(slot)
}

/// Hands over the record of a socket's event that stands in its place in the ring, and counts it.
#[inline(always)]
pub fn submit_event<T>(slot: RingBufEntry<T>) {
    let mut emitted = LOOK_EACH;
    if let Some(slot) = COUNTERS.get_ptr_mut(Counter::Emitted as u32) {
        // SAFETY: as in `count`.
        unsafe {
            *slot += 1;
            emitted = *slot;
        }
    }
    submit(slot, emitted);
}

/// How many events of a CPU pass between two looks at how full the ring is: looking costs a miss in
/// the cache of the reader's CPU.
const LOOK_EACH: u64 = 64;

#[inline(always)]
fn submit<T>(slot: RingBufEntry<T>, emitted: u64) {
    let mut wake = u64::from(BPF_RB_NO_WAKEUP);
    if let Some(sleeps) = CONTROL.get_ptr_mut(control::SLEEPS) {
        // SAFETY: a plain word shared with user space; a stale read costs one poll interval.
        unsafe {
            if sleeps.read_volatile() != 0 {
                sleeps.write_volatile(0);
                wake = u64::from(BPF_RB_FORCE_WAKEUP);
            }
        }
    }
    if emitted.is_multiple_of(LOOK_EACH)
        && EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= WAKE_BYTES.load()
    {
        wake = u64::from(BPF_RB_FORCE_WAKEUP);
    }
    slot.submit(wake);
}
