//! Minisocks by kprobes, for kernels without trampolines. The programs of `fentry` at the same
//! functions, all at their entry, since a return probe does not know the arguments.
//!
//! The kernel skips kprobe programs while another runs on the CPU, and before Linux 6.6 it does not
//! count that: this rung cannot know what it missed.

use aya_ebpf::{EbpfContext, macros::kprobe, programs::ProbeContext};
use netstat_common::event::{KIND_REQ_CANCEL, KIND_REQ_START, KIND_TW_CANCEL, KIND_TW_START};

use crate::{
    globals::*,
    minisock::{Tell, expiry, minisock},
    read::{Load as _, Probe, at},
};

/// As `fentry::tw_begin`.
///
/// Hook: `__inet_twsk_schedule(tw, timeo, rearm)`.
/// Since: Linux 4.6.
/// Context: softirq, or process with bottom halves off.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_timewait_sock.c#L253>
#[kprobe]
pub fn kp_tw_begin(ctx: ProbeContext) -> u32 {
    let rearm = ctx.arg::<u64>(2).unwrap_or(0) as u8;
    let when = if rearm == 0 {
        Tell::Always
    } else {
        Tell::IfHashed
    };
    tell(
        &ctx,
        KIND_TW_START,
        argument(&ctx, 0),
        TW_TIMER.load(),
        when,
    );
    0
}

/// As `fentry::tw_hashed`, but at the function's entry: the socket is not hashed yet.
///
/// Hook: `inet_twsk_hashdance_schedule(tw, ..)`.
/// Since: Linux 6.10.
/// Context: as `kp_tw_begin`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_timewait_sock.c#L113>
#[kprobe]
pub fn kp_tw_hashed(ctx: ProbeContext) -> u32 {
    tell(
        &ctx,
        KIND_TW_START,
        argument(&ctx, 0),
        TW_TIMER.load(),
        Tell::Always,
    );
    0
}

/// As `fentry::tw_end`.
///
/// Hook: `inet_twsk_bind_unhash(tw, ..)`.
/// Since: Linux 4.6.
/// Context: as `kp_tw_begin`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_timewait_sock.c#L26>
#[kprobe]
pub fn kp_tw_end(ctx: ProbeContext) -> u32 {
    let tw = argument(&ctx, 0);
    // SAFETY: probe reads check the address.
    if unsafe { Probe::load::<u64>(at(tw, TW_TB.load())) } != 0 {
        tell(&ctx, KIND_TW_CANCEL, tw, TW_TIMER.load(), Tell::Always);
    }
    0
}

/// As `fentry::req_begin`, but before the request is hashed.
///
/// Hook: `inet_csk_reqsk_queue_hash_add(sk, req, ..)`.
/// Since: Linux 4.6.
/// Context: as `kp_tw_begin`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_connection_sock.c#L1142>
#[kprobe]
pub fn kp_req_begin(ctx: ProbeContext) -> u32 {
    tell(
        &ctx,
        KIND_REQ_START,
        argument(&ctx, 1),
        RSK_TIMER.load(),
        Tell::Always,
    );
    0
}

/// As `fentry::req_end`, but before the request leaves the hash.
///
/// Hook: `__inet_csk_reqsk_queue_drop(sk, req, ..)`.
/// Since: Linux 4.6.
/// Context: as `kp_tw_begin`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_connection_sock.c#L985>
#[kprobe]
pub fn kp_req_end(ctx: ProbeContext) -> u32 {
    tell(
        &ctx,
        KIND_REQ_CANCEL,
        argument(&ctx, 1),
        RSK_TIMER.load(),
        Tell::Always,
    );
    0
}

#[inline(always)]
fn argument(ctx: &ProbeContext, index: usize) -> *const u8 {
    ctx.arg(index).unwrap_or(core::ptr::null())
}

#[inline(always)]
fn tell(ctx: &impl EbpfContext, kind: u32, sk: *const u8, timer_at: u64, when: Tell) {
    minisock(ctx, kind, sk, expiry(sk, timer_at), when);
}
