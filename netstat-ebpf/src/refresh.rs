//! The refresh pass: reads the live fields of the sockets that user space names.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_loop},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use netstat_common::row::{BATCH, ROW_FULL, ROW_GONE, ROW_REQUEST, ROW_TIMEWAIT, SockRow};

use crate::{
    globals::*,
    maps::{POINTERS, ROWS},
    read::{AF_INET6, CopiedSock, Fields as _, Load as _, Probe, at, mapped},
};

const TIME_WAIT: u8 = 6;
const SYN_RECV: u8 = 3;
const LISTEN: u8 = 10;
const NEW_SYN_RECV: u8 = 12;
const LAST_STATE: u8 = 11;
/// How often a socket is looked for in its hash chain.
const LOOKS: u32 = 4;

/// Pending kinds of `icsk_pending` (`include/net/inet_connection_sock.h`).
const RETRANS: u8 = 1;
const PROBE0: u8 = 3;
const LOSS_PROBE: u8 = 5;
const REO_TIMEOUT: u8 = 6;

/// Run on demand (`BPF_PROG_TEST_RUN`), never attached: argument 0 is the number of pointers.
///
/// Since: Linux 5.17 (`bpf_loop`).
/// Context: process, the reader's.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/bpf/test_run.c#L745>
#[raw_tracepoint]
pub fn refresh(ctx: RawTracePointContext) -> i32 {
    let wanted = (ctx.arg::<u64>(0) as u32).min(BATCH as u32);
    let mut unused = 0u64;
    // SAFETY: the callback has the signature that the helper wants.
    unsafe {
        bpf_loop(
            wanted,
            refresh_one as *mut c_void,
            (&raw mut unused).cast(),
            0,
        );
    }
    0
}

unsafe extern "C" fn refresh_one(index: u64, _: *mut c_void) -> i64 {
    let index = index as u32;
    let (Some(pointer), Some(row)) = (POINTERS.get_ptr(index), ROWS.get_ptr_mut(index)) else {
        return 1;
    };
    // SAFETY: both are elements of maps that outlive the program; user space waits meanwhile.
    unsafe { fill(&mut *row, *pointer as *const u8) };
    0
}

#[inline(always)]
unsafe fn fill(row: &mut SockRow, sk: *const u8) {
    row.kind = ROW_GONE;
    // SAFETY: probe reads check the address; see `CopiedSock`.
    unsafe {
        let common = CopiedSock::read(sk);
        let pprev: u64 = common.get(SKC_PPREV.load());
        // Unreadable memory is zeros. In its hash chain, the predecessor points back; anything else is a socket that is not
        // listed, or memory that belongs to somebody else by now.
        if !is_linked(sk, pprev) {
            return;
        }
        let state: u8 = common.get(SKC_STATE.load());
        row.family = common.get(SKC_FAMILY.load());
        if row.family == AF_INET6 {
            row.saddr = common.get(SKC_V6_RCV_SADDR.load());
            row.daddr = common.get(SKC_V6_DADDR.load());
        } else {
            row.saddr = mapped(common.get(SKC_RCV_SADDR.load()));
            row.daddr = mapped(common.get(SKC_DADDR.load()));
        }
        row.sport = common.get(SKC_NUM.load());
        row.dport = u16::from_be(common.get(SKC_DPORT.load()));
        row.cookie = common.get(SKC_COOKIE.load());
        row.netns = Probe::load(at(
            common.get::<u64>(SKC_NET.load()) as *const u8,
            NET_INUM.load(),
        ));
        row.handler = 0;
        row.inode = 0;
        row.uid = 0;
        row.rx_queue = 0;
        row.tx_queue = 0;
        row.retransmits = 0;
        row.probes = 0;
        row.pad = [0; 5];
        match state {
            TIME_WAIT => timewait(row, sk),
            NEW_SYN_RECV => request(row, sk, common.get::<u64>(RSK_LISTENER.load()) as *const u8),
            1..=LAST_STATE => full(row, sk, state),
            _ => {}
        }
    }
}

/// Whether the predecessor in the hash chain points back at the socket. A neighbour may come or go
/// between the two reads, so a socket that looks unlinked is looked at again.
#[inline(always)]
unsafe fn is_linked(sk: *const u8, mut pprev: u64) -> bool {
    let node = sk as u64 + SKC_NODE.load();
    // SAFETY: probe reads check the address.
    unsafe {
        for _ in 0..LOOKS {
            if pprev == 0 {
                return false;
            }
            if Probe::load::<u64>(pprev as *const u8) == node {
                return true;
            }
            pprev = Probe::load(at(sk, SKC_PPREV.load()));
        }
    }
    false
}

#[inline(always)]
unsafe fn timewait(row: &mut SockRow, sk: *const u8) {
    // SAFETY: probe reads check the address.
    unsafe {
        row.state = Probe::load(at(sk, TW_SUBSTATE.load()));
        row.timer = 3;
        row.timer_jiffies = until(at(sk, TW_TIMER.load() + TIMER_EXPIRES.load()));
        row.handler = Probe::load(at(sk, TW_TIMER.load() + TIMER_FUNCTION.load()));
    }
    row.kind = ROW_TIMEWAIT;
}

#[inline(always)]
unsafe fn request(row: &mut SockRow, sk: *const u8, listener: *const u8) {
    // SAFETY: probe reads check the address.
    unsafe {
        row.state = SYN_RECV;
        row.timer = 1;
        row.timer_jiffies = until(at(sk, RSK_TIMER.load() + TIMER_EXPIRES.load()));
        row.handler = Probe::load(at(sk, RSK_TIMER.load() + TIMER_FUNCTION.load()));
        row.retransmits =
            Probe::load::<u8>(at(sk, REQ_TIMEOUT.load())) >> (REQ_TIMEOUT_SHIFT.load() & 7);
        row.uid = Probe::load(at(listener, SK_UID.load()));
    }
    row.kind = ROW_REQUEST;
}

#[inline(always)]
unsafe fn full(row: &mut SockRow, sk: *const u8, state: u8) {
    // SAFETY: probe reads check the address.
    unsafe {
        row.state = state;
        let socket = Probe::load::<u64>(at(sk, SK_SOCKET.load())) as *const u8;
        row.inode = inode(socket);
        if !socket.is_null() || UID_WITHOUT_FILE.load() != 0 {
            row.uid = Probe::load(at(sk, SK_UID.load()));
        }
        if state == LISTEN {
            row.rx_queue = Probe::load(at(sk, SK_ACK_BACKLOG.load()));
        } else {
            let received: u32 = Probe::load(at(sk, TCP_RCV_NXT.load()));
            let copied: u32 = Probe::load(at(sk, TCP_COPIED_SEQ.load()));
            let unread = received.wrapping_sub(copied);
            row.rx_queue = if (unread as i32) < 0 { 0 } else { unread };
        }
        let written: u32 = Probe::load(at(sk, TCP_WRITE_SEQ.load()));
        let acked: u32 = Probe::load(at(sk, TCP_SND_UNA.load()));
        row.tx_queue = written.wrapping_sub(acked);
        row.retransmits = Probe::load(at(sk, ICSK_RETRANSMITS.load()));
        row.probes = Probe::load(at(sk, ICSK_PROBES_OUT.load()));
        timers(row, sk);
    }
    row.kind = ROW_FULL;
}

/// Inode number of a `struct socket`; 0 for none.
///
/// # Safety
/// None beyond [`Probe`]'s: the helper checks the address.
#[inline(always)]
pub unsafe fn inode(socket: *const u8) -> u64 {
    if socket.is_null() {
        return 0;
    }
    let alloc = socket.wrapping_sub(SOCKET_ALLOC_SOCKET.load() as usize);
    // SAFETY: the caller's.
    unsafe { Probe::load(at(alloc, SOCKET_ALLOC_INO.load())) }
}

#[inline(always)]
unsafe fn timers(row: &mut SockRow, sk: *const u8) {
    // SAFETY: probe reads check the address.
    unsafe {
        let pending: u8 = Probe::load(at(sk, ICSK_PENDING.load()));
        let keepalive = KEEPALIVE_TIMER.load();
        row.timer = match pending {
            RETRANS | LOSS_PROBE | REO_TIMEOUT => 1,
            PROBE0 => 4,
            _ if Probe::load::<u64>(at(sk, keepalive + TIMER_PPREV.load())) != 0 => 2,
            _ => 0,
        };
        row.timer_jiffies = match row.timer {
            0 => 0,
            2 => until(at(sk, keepalive + TIMER_EXPIRES.load())),
            _ => until(at(sk, RTO_EXPIRES.load())),
        };
    }
}

/// Jiffies until the `expires` field at an address.
#[inline(always)]
unsafe fn until(expires: *const u8) -> i64 {
    // SAFETY: probe reads check the address; the helper has no precondition.
    unsafe { (Probe::load::<u64>(expires)).wrapping_sub(bpf_jiffies64()) as i64 }
}
