//! The refresh pass: reads the live fields of the sockets that user space names.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_loop},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use netstat_common::{
    offsets::ABSENT,
    row::{
        BATCH, FEW, GROUP, ROW_FULL, ROW_GONE, ROW_REQUEST, ROW_TIMEWAIT, SockRow, WITH_TIMERS,
        WITH_USER,
    },
};

use crate::{
    globals::*,
    maps::{POINTERS, ROWS},
    read::{Cast, Fields as _, Load, Probe, Reader, address, at},
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

/// What one run reads.
struct Batch {
    /// Of the pointers and of the rows.
    first: u64,
    /// `WITH_*` bits.
    with: u64,
}

/// Run on demand (`BPF_PROG_TEST_RUN`), never attached. Arguments: the number of pointers, the place
/// of the first, `WITH_*` bits.
///
/// Since: Linux 5.17 (`bpf_loop`).
/// Context: process, the reader's.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/bpf/test_run.c#L745>
#[raw_tracepoint]
pub fn refresh(ctx: RawTracePointContext) -> i32 {
    read_batch(&ctx, refresh_one::<Probe> as *mut c_void);
    0
}

/// As `refresh` (`BPF_PROG_TEST_RUN`), in half the time.
///
/// Since: Linux 6.2 (`bpf_rdonly_cast`).
/// Context: process, the reader's.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/bpf/helpers.c#L2522>
#[raw_tracepoint]
pub fn refresh_cast(ctx: RawTracePointContext) -> i32 {
    read_batch(&ctx, refresh_one::<Cast> as *mut c_void);
    0
}

/// As `refresh` (`BPF_PROG_TEST_RUN`), for kernels without `bpf_loop`: a few sockets a run.
///
/// Since: Linux 5.10 (`BPF_PROG_TEST_RUN` of raw tracepoints).
/// Context: process, the reader's.
/// Source: <https://elixir.bootlin.com/linux/v5.10/source/net/bpf/test_run.c#L257>
#[raw_tracepoint]
pub fn refresh_few(ctx: RawTracePointContext) -> i32 {
    let (wanted, first, with) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg(2));
    for index in 0..FEW as u64 {
        if index >= wanted {
            break;
        }
        // SAFETY: user space waits until the program is done.
        unsafe { refresh_at::<Probe>((first + index) as u32, with) };
    }
    0
}

#[inline(always)]
fn read_batch(ctx: &RawTracePointContext, refresh_one: *mut c_void) {
    let wanted = (ctx.arg::<u64>(0) as u32).min(BATCH as u32);
    let mut batch = Batch {
        first: ctx.arg(1),
        with: ctx.arg(2),
    };
    // SAFETY: the callback has the signature that the helper wants.
    unsafe { bpf_loop(wanted, refresh_one, (&raw mut batch).cast(), 0) };
}

unsafe extern "C" fn refresh_one<R: Reader>(index: u64, batch: *mut c_void) -> i64 {
    // SAFETY: `batch` is the `Batch` of `read_batch`.
    let batch = unsafe { &*batch.cast::<Batch>() };
    // SAFETY: user space waits until the program is done.
    let read = unsafe { refresh_at::<R>((batch.first + index) as u32, batch.with) };
    if read { 0 } else { 1 }
}

/// Reads the socket whose pointer is at this place. Gives whether there is such a place.
///
/// # Safety
/// Nobody else uses the place meanwhile.
#[inline(always)]
unsafe fn refresh_at<R: Reader>(index: u32, with: u64) -> bool {
    let place = index as usize % GROUP;
    let (Some(group), Some(row)) = (
        POINTERS.get_ptr(index / GROUP as u32),
        ROWS.get_ptr_mut(index),
    ) else {
        return false;
    };
    // SAFETY: both are elements of maps that outlive the program; nobody else uses them meanwhile.
    unsafe {
        if !R::CALLS && place == 0 {
            touch::<R>(&*group);
        }
        fill::<R>(&mut *row, (*group)[place] as *const u8, with);
    }
    true
}

/// Loads a word of each line of memory that [`fill`] is going to read of these sockets, and nothing
/// else: so the misses of many are under way at once. Where `fill` meets them, no more than one
/// socket's fit into the processor's window, and each socket is waited for.
///
/// Whatever stands behind a minisock, which is shorter, is loaded in vain.
#[inline(always)]
unsafe fn touch<R: Reader>(group: &[u64; GROUP]) {
    // SAFETY: as in `fill`.
    unsafe {
        for address in group {
            let sk = R::cast(*address as *const u8, TYPE_TCP_SOCK.load());
            R::load::<u32>(at(sk, SKC_DADDR.load()));
            R::load::<u64>(at(sk, SKC_PPREV.load()));
            let at_sock = SK_INO.load();
            if at_sock == ABSENT {
                R::load::<u64>(at(sk, SK_SOCKET.load()));
            } else {
                R::load::<u64>(at(sk, at_sock));
            }
            R::load::<u32>(at(sk, TCP_RCV_NXT.load()));
            R::load::<u32>(at(sk, TCP_COPIED_SEQ.load()));
            R::load::<u32>(at(sk, TCP_WRITE_SEQ.load()));
            R::load::<u32>(at(sk, TCP_SND_UNA.load()));
        }
        for address in group {
            let sk = R::cast(*address as *const u8, TYPE_TCP_SOCK.load());
            let pprev: u64 = R::load(at(sk, SKC_PPREV.load()));
            let before = R::cast(pprev as *const u8, TYPE_WORD.load());
            R::load::<u64>(before);
        }
    }
}

#[inline(always)]
unsafe fn fill<R: Reader>(row: &mut SockRow, address_of_sk: *const u8, with: u64) {
    row.kind = ROW_GONE;
    // SAFETY: addresses that cannot be read are zeros, and the casts say what the offsets are of.
    unsafe {
        let sk = R::cast(address_of_sk, TYPE_TCP_SOCK.load());
        let common = R::common(sk);
        let pprev: u64 = common.get(SKC_PPREV.load());
        // Unreadable memory is zeros. In its hash chain, the predecessor points back; anything else is a socket that is not
        // listed, or memory that belongs to somebody else by now.
        if !is_linked::<R>(address_of_sk, sk, pprev) {
            return;
        }
        let state: u8 = common.get(SKC_STATE.load());
        row.family = common.get(SKC_FAMILY.load());
        (row.saddr, row.daddr) = address(row.family, &common);
        row.sport = common.get(SKC_NUM.load());
        row.dport = u16::from_be(common.get(SKC_DPORT.load()));
        row.cookie = common.get(SKC_COOKIE.load());
        row.netns = common.netns();
        row.handler = 0;
        row.inode = 0;
        row.uid = 0;
        row.rx_queue = 0;
        row.tx_queue = 0;
        row.timer = 0;
        row.timer_jiffies = 0;
        row.retransmits = 0;
        row.probes = 0;
        // The padding stays the zeros that the map begins with.
        match state {
            TIME_WAIT => timewait::<R>(row, address_of_sk),
            NEW_SYN_RECV => {
                request::<R>(row, address_of_sk, common.get::<u64>(RSK_LISTENER.load()))
            }
            1..=LAST_STATE => full::<R>(row, sk, state, with),
            _ => {}
        }
    }
}

/// Whether the predecessor in the hash chain points back at the socket. A neighbour may come or go
/// between the two reads, so a socket that looks unlinked is looked at again.
#[inline(always)]
unsafe fn is_linked<R: Reader>(address_of_sk: *const u8, sk: *const u8, mut pprev: u64) -> bool {
    let node = address_of_sk as u64 + SKC_NODE.load();
    // SAFETY: as in `fill`.
    unsafe {
        for _ in 0..LOOKS {
            if pprev == 0 {
                return false;
            }
            let before = R::cast(pprev as *const u8, TYPE_WORD.load());
            if R::load::<u64>(before) == node {
                return true;
            }
            pprev = R::load(at(sk, SKC_PPREV.load()));
        }
    }
    false
}

#[inline(always)]
unsafe fn timewait<R: Reader>(row: &mut SockRow, sk: *const u8) {
    // SAFETY: as in `fill`.
    unsafe {
        let tw = R::cast(sk, TYPE_TIMEWAIT_SOCK.load());
        row.state = R::load(at(tw, TW_SUBSTATE.load()));
        row.timer = 3;
        row.timer_jiffies = until::<R>(at(tw, TW_TIMER.load() + TIMER_EXPIRES.load()));
        row.handler = R::load(at(tw, TW_TIMER.load() + TIMER_FUNCTION.load()));
    }
    row.kind = ROW_TIMEWAIT;
}

#[inline(always)]
unsafe fn request<R: Reader>(row: &mut SockRow, sk: *const u8, listener: u64) {
    // SAFETY: as in `fill`.
    unsafe {
        let request = R::cast(sk, TYPE_REQUEST_SOCK.load());
        row.state = SYN_RECV;
        row.timer = 1;
        row.timer_jiffies = until::<R>(at(request, RSK_TIMER.load() + TIMER_EXPIRES.load()));
        row.handler = R::load(at(request, RSK_TIMER.load() + TIMER_FUNCTION.load()));
        // A bit field, whose byte is not a field to the verifier.
        row.retransmits =
            Probe::load::<u8>(at(sk, REQ_TIMEOUT.load())) >> (REQ_TIMEOUT_SHIFT.load() & 7);
        let listener = R::cast(listener as *const u8, TYPE_TCP_SOCK.load());
        row.uid = R::load(at(listener, SK_UID.load()));
    }
    row.kind = ROW_REQUEST;
}

/// Each field that is read may be a miss of the cache: what nobody asked for is left out.
#[inline(always)]
unsafe fn full<R: Reader>(row: &mut SockRow, sk: *const u8, state: u8, with: u64) {
    // SAFETY: as in `fill`.
    unsafe {
        row.state = state;
        row.inode = inode_of::<R>(sk);
        if with & WITH_USER != 0
            && (UID_WITHOUT_FILE.load() != 0 || R::load::<u64>(at(sk, SK_SOCKET.load())) != 0)
        {
            row.uid = R::load(at(sk, SK_UID.load()));
        }
        if state == LISTEN {
            row.rx_queue = R::load(at(sk, SK_ACK_BACKLOG.load()));
        } else {
            let received: u32 = R::load(at(sk, TCP_RCV_NXT.load()));
            let copied: u32 = R::load(at(sk, TCP_COPIED_SEQ.load()));
            let unread = received.wrapping_sub(copied);
            row.rx_queue = if (unread as i32) < 0 { 0 } else { unread };
        }
        let written: u32 = R::load(at(sk, TCP_WRITE_SEQ.load()));
        let acked: u32 = R::load(at(sk, TCP_SND_UNA.load()));
        row.tx_queue = written.wrapping_sub(acked);
        if with & WITH_TIMERS != 0 {
            row.retransmits = R::load(at(sk, ICSK_RETRANSMITS.load()));
            row.probes = R::load(at(sk, ICSK_PROBES_OUT.load()));
            timers::<R>(row, sk);
        }
    }
    row.kind = ROW_FULL;
}

/// Inode number of a full socket; 0 for none.
///
/// # Safety
/// `sk` was given the type of a socket by [`Load::cast`].
#[inline(always)]
unsafe fn inode_of<R: Reader>(sk: *const u8) -> u64 {
    // SAFETY: the caller's.
    unsafe {
        // Since 6.18 the socket has it too, which is what /proc lists.
        let at_sock = SK_INO.load();
        if at_sock != ABSENT {
            return R::load(at(sk, at_sock));
        }
        inode::<R>(R::load::<u64>(at(sk, SK_SOCKET.load())) as *const u8)
    }
}

/// Inode number of a `struct socket`; 0 for none.
///
/// # Safety
/// None beyond [`Load`]'s: addresses that cannot be read are zeros.
#[inline(always)]
pub unsafe fn inode<L: Load>(socket: *const u8) -> u64 {
    if socket.is_null() {
        return 0;
    }
    let alloc = socket.wrapping_sub(SOCKET_ALLOC_SOCKET.load() as usize);
    // SAFETY: the caller's.
    unsafe {
        let alloc = L::cast(alloc, TYPE_SOCKET_ALLOC.load());
        L::load(at(alloc, SOCKET_ALLOC_INO.load()))
    }
}

#[inline(always)]
unsafe fn timers<R: Reader>(row: &mut SockRow, sk: *const u8) {
    // SAFETY: as in `fill`.
    unsafe {
        let pending: u8 = R::load(at(sk, ICSK_PENDING.load()));
        let keepalive = KEEPALIVE_TIMER.load();
        row.timer = match pending {
            RETRANS | LOSS_PROBE | REO_TIMEOUT => 1,
            PROBE0 => 4,
            _ if R::load::<u64>(at(sk, keepalive + TIMER_PPREV.load())) != 0 => 2,
            _ => 0,
        };
        row.timer_jiffies = match row.timer {
            0 => 0,
            2 => until::<R>(at(sk, keepalive + TIMER_EXPIRES.load())),
            _ => until::<R>(at(sk, RTO_EXPIRES.load())),
        };
    }
}

/// Jiffies until the `expires` field at an address.
#[inline(always)]
unsafe fn until<L: Load>(expires: *const u8) -> i64 {
    // SAFETY: as in `fill`; the helper has no precondition.
    unsafe { (L::load::<u64>(expires)).wrapping_sub(bpf_jiffies64()) as i64 }
}
