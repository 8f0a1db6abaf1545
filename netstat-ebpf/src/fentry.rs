//! Minisocks by trampolines on the functions that make and end them: no program on the timers' hot
//! path. All run with bottom halves off, so one copy of each is enough.

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use netstat_common::event::{KIND_REQ_CANCEL, KIND_REQ_START, KIND_TW_CANCEL, KIND_TW_START};

use crate::{
    globals::*,
    minisock::{Tell, expiry, minisock},
    read::{Load as _, Probe, at},
};

/// `__inet_twsk_schedule(tw, timeo, rearm)`: begins, before the socket is hashed on some kernels;
/// later the way from FIN_WAIT2 to TIME_WAIT, perhaps after the end on another CPU.
///
/// Since: Linux 5.5 (the function 4.6).
/// Context: softirq, or process with bottom halves off.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_timewait_sock.c#L253>
#[fentry(function = "__inet_twsk_schedule")]
pub fn tw_begin(ctx: FEntryContext) -> i32 {
    let tw: *const u8 = ctx.arg(0);
    let when = if ctx.arg::<u64>(2) as u8 == 0 {
        Tell::Always
    } else {
        Tell::IfHashed
    };
    tell(&ctx, KIND_TW_START, tw, TW_TIMER.load(), when);
    0
}

/// `inet_twsk_hashdance_schedule(tw, ..)`, at its end: where it has the function above inlined.
/// A begin that is told twice changes nothing.
///
/// Since: Linux 6.10.
/// Context: as `tw_begin`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_timewait_sock.c#L113>
#[fexit(function = "inet_twsk_hashdance_schedule")]
pub fn tw_hashed(ctx: FExitContext) -> i32 {
    tell(
        &ctx,
        KIND_TW_START,
        ctx.arg(0),
        TW_TIMER.load(),
        Tell::IfHashed,
    );
    0
}

/// `inet_twsk_bind_unhash(tw, ..)`: called when the socket has left the hash. connect(), which
/// takes over a timewait socket's port, calls it a second time, without a bind bucket.
///
/// Since: Linux 5.5.
/// Context: as `tw_begin`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_timewait_sock.c#L26>
#[fentry(function = "inet_twsk_bind_unhash")]
pub fn tw_end(ctx: FEntryContext) -> i32 {
    let tw: *const u8 = ctx.arg(0);
    // SAFETY: probe reads check the address.
    if unsafe { Probe::load::<u64>(at(tw, TW_TB.load())) } != 0 {
        tell(&ctx, KIND_TW_CANCEL, tw, TW_TIMER.load(), Tell::Always);
    }
    0
}

/// `inet_csk_reqsk_queue_hash_add(sk, req, ..)`, at its end: the request is hashed, if no other
/// with its addresses was.
///
/// Since: Linux 5.5.
/// Context: softirq, or process with bottom halves off.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_connection_sock.c#L1142>
#[fexit(function = "inet_csk_reqsk_queue_hash_add")]
pub fn req_begin(ctx: FExitContext) -> i32 {
    tell(
        &ctx,
        KIND_REQ_START,
        ctx.arg(1),
        RSK_TIMER.load(),
        Tell::IfHashed,
    );
    0
}

/// `__inet_csk_reqsk_queue_drop(sk, req, ..)`, at its end: the request has left the hash. Its
/// caller still holds a reference, so the address is not another's yet.
///
/// Since: Linux 5.5 (before 6.0 as `inet_csk_reqsk_queue_drop`).
/// Context: as `req_begin`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_connection_sock.c#L985>
#[fexit(function = "__inet_csk_reqsk_queue_drop")]
pub fn req_end(ctx: FExitContext) -> i32 {
    tell(
        &ctx,
        KIND_REQ_CANCEL,
        ctx.arg(1),
        RSK_TIMER.load(),
        Tell::Always,
    );
    0
}

#[inline(always)]
fn tell(ctx: &impl EbpfContext, kind: u32, sk: *const u8, timer_at: u64, when: Tell) {
    minisock(ctx, kind, sk, expiry(sk, timer_at), when);
}
