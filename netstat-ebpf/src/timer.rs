//! Minisocks. A timewait or request socket lives as long as its timer is pending, and the timer
//! tracepoints see every start and removal; the timer stands inside the object.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use netstat_common::{
    control::{REQSK_TIMER_HANDLER, TW_TIMER_HANDLER},
    event::{KIND_REQ_CANCEL, KIND_REQ_START, KIND_TW_CANCEL, KIND_TW_START},
};

use crate::{
    globals::*,
    maps::control_word,
    minisock::{Tell, minisock},
    read::{Load as _, Typed, at},
};

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
    if function == control_word(TW_TIMER_HANDLER) {
        tell(ctx, timer, tw_kind, TW_TIMER.load());
    } else if function == control_word(REQSK_TIMER_HANDLER) {
        tell(ctx, timer, req_kind, RSK_TIMER.load());
    }
}

#[inline(always)]
fn tell(ctx: &BtfTracePointContext, timer: *const u8, kind: u32, timer_at: u64) {
    let sk = (timer as u64 - timer_at) as *const u8;
    // SAFETY: the callers pass a `struct timer_list *`; the verifier knows its type.
    let expires = unsafe { Typed::load(at(timer, TIMER_EXPIRES.load())) };
    minisock(ctx, kind, sk, expires, Tell::Always);
}
