//! What every rung tells of a timewait or request minisock.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::map,
    maps::PerCpuArray,
};
use aya_log_ebpf::debug;
use netstat_common::{
    event::{FLAG_EXPIRED, KIND_REQ_CANCEL, KIND_REQ_START, SockEvent},
    lost::Counter,
    offsets,
};

use crate::{
    globals::*,
    maps::{EVENTS, count, every_change, submit_event},
    read::{CopiedSock, Fields as _, Load as _, Probe, at, common},
};

/// Events of request sockets that a CPU has sent in a window of time.
#[derive(Clone, Copy)]
#[repr(C)]
struct Spent {
    window: u64,
    events: u64,
}

#[map]
static SPENT: PerCpuArray<Spent> = PerCpuArray::with_max_entries(1, 0);

/// A window of the budget lasts 2^27 ns.
const WINDOW_SHIFT: u32 = 27;

/// Whether an event must be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// In any case.
    Always,
    /// Only if the minisock is in its hash chain after its place in the ring is taken. Its end is
    /// told after it was taken out of the chain, on whatever CPU: so a begin that stands behind
    /// the end in the ring is never told.
    IfHashed,
}

/// Sends one event about the minisock at `sk`, whose timer fires at `expires` (jiffies).
#[inline(always)]
pub fn minisock(ctx: &impl EbpfContext, kind: u32, sk: *const u8, expires: u64, tell: Tell) {
    let request = kind == KIND_REQ_START || kind == KIND_REQ_CANCEL;
    if request && !within_budget() {
        return;
    }
    let Some(mut slot) = EVENTS.reserve::<SockEvent>(0) else {
        count(Counter::RingFull);
        return;
    };
    // SAFETY: probe reads check the address themselves.
    let event = unsafe {
        let fields = CopiedSock::read(sk);
        if tell == Tell::IfHashed && !hashed(sk, fields.get(SKC_PPREV.load())) {
            slot.discard(u64::from(BPF_RB_NO_WAKEUP));
            return;
        }
        let event = slot.write(common(kind, sk, &fields));
        if (expires as i64).wrapping_sub(bpf_jiffies64() as i64) <= 0 {
            event.flags = FLAG_EXPIRED;
        }
        if request {
            event.listener = fields.get(RSK_LISTENER.load());
        } else {
            event.newstate = Probe::load(at(sk, TW_SUBSTATE.load()));
        }
        event
    };
    debug!(
        ctx,
        "minisock kind {} flags {} port {}", kind, event.flags, event.sport
    );
    submit_event(slot);
}

/// When the timer that stands `timer_at` bytes inside an object fires, jiffies.
#[inline(always)]
pub fn expiry(sk: *const u8, timer_at: u64) -> u64 {
    // SAFETY: probe reads check the address.
    unsafe { Probe::load(at(sk, timer_at + TIMER_EXPIRES.load())) }
}

/// Whether the predecessor in the hash chain points back.
#[inline(always)]
unsafe fn hashed(sk: *const u8, pprev: u64) -> bool {
    let node = at(sk, SKC_NODE.load());
    // SAFETY: probe reads check the address.
    pprev != 0 && unsafe { Probe::load::<u64>(pprev as *const u8) } == node as u64
}

/// Whether an event of a request socket may be sent; counts it if not. Whoever sends SYNs decides
/// how many there are, so they may not drown the events of connections.
#[inline(always)]
fn within_budget() -> bool {
    let Some(spent) = SPENT.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: this CPU's slot; bottom halves are off, so no other request is handled on it.
    unsafe {
        let window = bpf_ktime_get_ns() >> WINDOW_SHIFT;
        if (*spent).window != window {
            (*spent).window = window;
            (*spent).events = 0;
        }
        (*spent).events += 1;
        let wanted = EVERY_CHANGE.load() == offsets::WHILE_WANTED && every_change();
        let shift = if wanted {
            offsets::WANTED_BUDGET_SHIFT
        } else {
            0
        };
        if (*spent).events <= HALF_OPEN_BUDGET.load() << shift {
            return true;
        }
    }
    count(Counter::OverBudget);
    false
}
