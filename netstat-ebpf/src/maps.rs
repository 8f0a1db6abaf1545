//! Every map, and how events reach the ring.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use netstat_common::{
    listed::{Pass, UdpSock, UnixSock},
    lost::{COUNTERS as COUNTER_COUNT, Counter},
    row::{BATCH, SockRow},
    walk::WalkState,
};

use crate::globals::WAKE_BYTES;

/// All records, in reservation order over all CPUs. User space sets the size before the load.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// See `netstat_common::lost::Counter`.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_COUNT, 0);

/// One batch of socket addresses for a refresh.
#[map]
pub static POINTERS: Array<u64> = Array::with_max_entries(BATCH as u32, BPF_F_MMAPABLE);

/// The rows of that batch.
#[map]
pub static ROWS: Array<SockRow> = Array::with_max_entries(BATCH as u32, BPF_F_MMAPABLE);

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

/// Whether user space sleeps.
#[map]
static CONTROL: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

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
/// Wakes user space only if it sleeps, or each time another `WAKE_BYTES` have gathered.
#[inline(always)]
pub fn emit<T: 'static>(record: &T, full: Counter) -> bool {
    let Some(mut slot) = EVENTS.reserve::<T>(0) else {
        count(full);
        return false;
    };
    // SAFETY: the slot has the size of `T` and is ours until it is submitted.
    unsafe { core::ptr::copy_nonoverlapping(record, slot.as_mut_ptr(), 1) };
    slot.submit(wake_flags((size_of::<T>() as u64 + 15) & !7));
    true
}

#[inline(always)]
fn wake_flags(record: u64) -> u64 {
    if let Some(sleeps) = CONTROL.get_ptr_mut(0) {
        // SAFETY: a plain word shared with user space; a stale read costs one poll interval.
        unsafe {
            if sleeps.read_volatile() != 0 {
                sleeps.write_volatile(0);
                return u64::from(BPF_RB_FORCE_WAKEUP);
            }
        }
    }
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let step = WAKE_BYTES.load();
    if waiting >= step && waiting - step < record {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
