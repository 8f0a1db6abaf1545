//! Full TCP sockets: each change of state, and the end of the object.

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated},
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use netstat_common::{
    event::{
        DestroyEvent, FLAG_KTHREAD, FLAG_PROCESS, FLAG_SECOND_COPY, KIND_DESTROY, KIND_STATE,
        SockEvent,
    },
    lost::Counter,
};

use crate::{
    end::emit_end,
    globals::{INET_SPORT, SK_PROTOCOL},
    maps::{EVENTS, count, every_change, submit_event},
    read::{
        IPPROTO_TCP, Load as _, Probe, Typed, TypedSock, at, common, current_is_kthread,
        current_tgid,
    },
};

const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;
const FIN_WAIT1: u8 = 4;
const CLOSE: u8 = 7;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;

/// What the first copy saw last on this CPU: socket and states. The second copy emits what does
/// not match, since then the first was skipped.
#[derive(Clone, Copy)]
#[repr(C)]
struct Seen {
    skaddr: u64,
    states: u64,
}

#[map]
static SEEN: PerCpuArray<Seen> = PerCpuArray::with_max_entries(1, 0);

/// `sock:inet_sock_set_state`, first copy.
///
/// Since: Linux 4.16 (tp_btf 5.5).
/// Context: process with bottom halves on, or softirq; fires before the state is stored.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/af_inet.c#L1353>
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn tcp_state(ctx: BtfTracePointContext) -> i32 {
    try_tcp_state(&ctx, true);
    0
}

/// `sock:inet_sock_set_state`, second copy: a program that is active on a CPU is skipped there
/// (since 6.1, counted as a recursion miss), and a softirq can come while the first copy runs.
///
/// Since: Linux 4.16 (tp_btf 5.5).
/// Context: as `tcp_state`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/trace/bpf_trace.c#L2339>
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn tcp_state_2(ctx: BtfTracePointContext) -> i32 {
    try_tcp_state(&ctx, false);
    0
}

#[inline(always)]
fn try_tcp_state(ctx: &BtfTracePointContext, first: bool) {
    let sk: *const u8 = ctx.arg(0);
    let old: u8 = ctx.arg::<u32>(1) as u8;
    let new: u8 = ctx.arg::<u32>(2) as u8;
    let every = every_change();
    // What needs no memory of the socket comes first.
    if !(every || lists(old, new)) || (!first && first_copy_saw(sk, old, new)) {
        return;
    }
    // SAFETY: argument 0 is a `struct sock *`; the verifier knows its type.
    let protocol: u16 = unsafe { Typed::load(at(sk, SK_PROTOCOL.load())) };
    if protocol != IPPROTO_TCP {
        return;
    }
    if first {
        remember(sk, old, new);
    } else {
        count(Counter::SecondCopy);
    }
    if every && new == CLOSE && old != LISTEN {
        emit_end(sk);
    }
    let Some(mut slot) = EVENTS.reserve::<SockEvent>(0) else {
        count(Counter::RingFull);
        return;
    };
    // SAFETY: as above.
    let event = slot.write(unsafe { common(KIND_STATE, sk, &TypedSock(sk)) });
    event.oldstate = old;
    event.newstate = new;
    if !first {
        event.flags = FLAG_SECOND_COPY;
    }
    if event.sport == 0 {
        // At CLOSE the port is given back already, but the socket still tells which it was. The
        // verifier knows the argument as `struct sock`, which is only the head of `inet_sock`.
        // SAFETY: probe reads check the address.
        event.sport = u16::from_be(unsafe { Probe::load(at(sk, INET_SPORT.load())) });
    }
    // Only the log tells owners from events.
    if every && by_process(old, new) {
        event.tgid = current_tgid();
        event.flags |= FLAG_PROCESS;
        if current_is_kthread() {
            event.flags |= FLAG_KTHREAD;
        }
        // SAFETY: the helper writes 16 bytes.
        unsafe { generated::bpf_get_current_comm((&raw mut event.comm).cast(), 16) };
    }
    debug!(
        ctx,
        "state {} -> {} port {} first copy {}",
        old,
        new,
        event.sport,
        u8::from(first)
    );
    submit_event(slot);
}

/// What puts a socket into the table or takes it out.
#[inline(always)]
fn lists(old: u8, new: u8) -> bool {
    old == CLOSE || new == CLOSE || new == SYN_RECV || new == LISTEN
}

/// Transitions that only connect(), listen(), close() and shutdown() make: the kernel is then in
/// the context of the caller, never in a softirq that interrupted somebody else.
#[inline(always)]
fn by_process(old: u8, new: u8) -> bool {
    match new {
        SYN_SENT | LISTEN | FIN_WAIT1 | LAST_ACK => true,
        CLOSE => old == LISTEN,
        _ => false,
    }
}

#[inline(always)]
fn remember(sk: *const u8, old: u8, new: u8) {
    if let Some(seen) = SEEN.get_ptr_mut(0) {
        // SAFETY: this CPU's slot.
        unsafe {
            (*seen).skaddr = sk as u64;
            (*seen).states = u64::from(old) << 8 | u64::from(new);
        }
    }
}

/// Whether the first copy saw this very call. Forgets it, so that the same socket address and
/// states later on do not match an old call.
#[inline(always)]
fn first_copy_saw(sk: *const u8, old: u8, new: u8) -> bool {
    let Some(seen) = SEEN.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's slot.
    unsafe {
        let same =
            (*seen).skaddr == sk as u64 && (*seen).states == u64::from(old) << 8 | u64::from(new);
        if same {
            (*seen).skaddr = 0;
        }
        same
    }
}

/// `tcp:tcp_destroy_sock`: the socket's address may name another socket after this. Only the log
/// needs it: a socket has gone to CLOSE before, and a table that prints no log drops it then.
///
/// Since: Linux 4.16 (tp_btf 5.5).
/// Context: process or softirq, bottom halves off, so one copy is enough.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/tcp_ipv4.c#L2543>
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy(ctx: BtfTracePointContext) -> i32 {
    if !every_change() {
        return 0;
    }
    let sk: *const u8 = ctx.arg(0);
    let Some(mut slot) = EVENTS.reserve::<DestroyEvent>(0) else {
        count(Counter::RingFull);
        return 0;
    };
    slot.write(DestroyEvent {
        kind: KIND_DESTROY,
        pad: 0,
        // SAFETY: the helper has no precondition.
        ktime_ns: unsafe { bpf_ktime_get_ns() },
        skaddr: sk as u64,
    });
    submit_event(slot);
    0
}
