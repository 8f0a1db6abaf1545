//! Minisocks. A timewait or request socket lives as long as its timer is pending, and the timer
//! tracepoints see every start and removal; the timer stands inside the object.

use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use netstat_common::{
    event::{
        FLAG_EXPIRED, KIND_REQ_CANCEL, KIND_REQ_START, KIND_TW_CANCEL, KIND_TW_START, SockEvent,
    },
    lost::Counter,
};

use crate::{
    globals::*,
    maps::{EVENTS, count, submit_event},
    read::{CopiedSock, Fields as _, Load as _, Probe, Typed, at, common},
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

/// `timer:timer_start`, filtered by the two minisock timer functions.
///
/// Since: Linux 2.6.31 (tp_btf 5.5).
/// Context: any, interrupts off, so one copy is enough.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/time/timer.c#L1076>
#[btf_tracepoint(function = "timer_start")]
pub fn timer_start(ctx: BtfTracePointContext) -> i32 {
    on_timer(&ctx, KIND_TW_START, KIND_REQ_START);
    0
}

/// `timer:timer_cancel`: the timer leaves its wheel by expiry, deletion or re-arming.
///
/// Since: Linux 2.6.31 (tp_btf 5.5).
/// Context: as `timer_start`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/time/timer.c#L903>
#[btf_tracepoint(function = "timer_cancel")]
pub fn timer_cancel(ctx: BtfTracePointContext) -> i32 {
    on_timer(&ctx, KIND_TW_CANCEL, KIND_REQ_CANCEL);
    0
}

#[inline(always)]
fn on_timer(ctx: &BtfTracePointContext, tw_kind: u32, req_kind: u32) {
    let timer: *const u8 = ctx.arg(0);
    // SAFETY: argument 0 is a `struct timer_list *`; the verifier knows its type.
    let function: u64 = unsafe { Typed::load(at(timer, TIMER_FUNCTION.load())) };
    if function == 0 {
        return;
    }
    if function == TW_TIMER_HANDLER.load() {
        minisock(ctx, timer, tw_kind, TW_TIMER.load());
    } else if function == REQSK_TIMER_HANDLER.load() && within_budget() {
        minisock(ctx, timer, req_kind, RSK_TIMER.load());
    }
}

/// Whether an event of a request socket may be sent; counts it if not. Whoever sends SYNs decides
/// how many there are, so they may not drown the events of connections.
#[inline(always)]
fn within_budget() -> bool {
    let Some(spent) = SPENT.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: this CPU's slot, and interrupts are off.
    unsafe {
        let window = bpf_ktime_get_ns() >> WINDOW_SHIFT;
        if (*spent).window != window {
            (*spent).window = window;
            (*spent).events = 0;
        }
        (*spent).events += 1;
        if (*spent).events <= HALF_OPEN_BUDGET.load() {
            return true;
        }
    }
    count(Counter::OverBudget);
    false
}

#[inline(always)]
fn minisock(ctx: &BtfTracePointContext, timer: *const u8, kind: u32, timer_at: u64) {
    let sk = (timer as u64 - timer_at) as *const u8;
    let Some(mut slot) = EVENTS.reserve::<SockEvent>(0) else {
        count(Counter::RingFull);
        return;
    };
    // SAFETY: probe reads check the address themselves; the verifier knows the timer's type.
    let event = unsafe {
        let fields = CopiedSock::read(sk);
        let event = slot.write(common(kind, sk, &fields));
        let expires: u64 = Typed::load(at(timer, TIMER_EXPIRES.load()));
        if (expires as i64).wrapping_sub(bpf_jiffies64() as i64) <= 0 {
            event.flags = FLAG_EXPIRED;
        }
        if kind == KIND_TW_START || kind == KIND_TW_CANCEL {
            event.newstate = Probe::load(at(sk, TW_SUBSTATE.load()));
        } else {
            event.listener = fields.get(RSK_LISTENER.load());
        }
        event
    };
    debug!(
        ctx,
        "minisock kind {} flags {} port {}", kind, event.flags, event.sport
    );
    submit_event(slot);
}
