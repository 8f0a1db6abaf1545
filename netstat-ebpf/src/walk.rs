//! The walk: every TCP socket of every network namespace, from the kernel's hash tables.
//!
//! `iter/tcp` sees one namespace, that of the task that made the iterator, and takes each socket's
//! lock. The walk takes no lock. Each run is one RCU section, and a chain that ends in another
//! bucket's marker is walked again, as the kernel's own lockless look-up does: an object can be
//! freed and put into another chain while we stand on it, but it cannot vanish under us.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_get_current_task, bpf_loop},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use netstat_common::{
    event::{KIND_SEED, KIND_TABLES, SeedRecord, TablesRecord},
    lost::Counter,
    walk::{BROKEN, DONE, FULL, MORE, ONLY_HALF_OPEN, ONLY_OWN_NET, STEPS, WalkState},
};

use crate::{
    globals::*,
    maps::{WALK, emit_quietly},
    read::{Cast, Load, Probe, at},
};

const NEW_SYN_RECV: u8 = 12;
/// How many namespaces are looked through.
const MOST_NETS: u32 = 1 << 20;
/// Heads of chains that are looked at together.
const HEADS: usize = 16;

/// Where the list of namespaces has been followed to.
struct Nets {
    first: u64,
    node: u64,
    ops: u64,
    tables: u64,
    found: u64,
    status: u64,
}

/// Run on demand: tells of the hash tables of all network namespaces. Those of namespaces without
/// tables of their own (`net.ipv4.tcp_child_ehash_entries`) are the same, and told once.
///
/// Hook: none, a test run.
/// Since: Linux 6.1 (`net.ipv4.tcp_death_row.hashinfo`).
/// Context: process, the reader's, under RCU.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/core/net_namespace.c#L345>
#[raw_tracepoint]
pub fn walk_nets(_ctx: RawTracePointContext) -> i32 {
    let Some(state) = WALK.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: probe reads check addresses; the callback has the signature that the helper wants,
    // and user space waits while we write the state.
    unsafe {
        let net = own_net();
        let node = net + NET_LIST.load();
        let mut nets = Nets {
            first: node,
            node,
            ops: Probe::load((net + NET_OPS.load()) as *const u8),
            tables: 0,
            found: 0,
            status: u64::from(MORE),
        };
        bpf_loop(
            MOST_NETS,
            next_net as *mut c_void,
            (&raw mut nets).cast(),
            0,
        );
        (*state).status = nets.status as u32;
        (*state).found = nets.found as u32;
    }
    0
}

/// The network namespace of the current task.
#[inline(always)]
unsafe fn own_net() -> u64 {
    // SAFETY: probe reads check the address.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        let proxy = Probe::load::<u64>(at(task, TASK_NSPROXY.load())) as *const u8;
        Probe::load(at(proxy, NSPROXY_NET.load()))
    }
}

unsafe extern "C" fn next_net(_: u64, nets: *mut c_void) -> i64 {
    // SAFETY: `nets` is the `Nets` of `walk_nets`; probe reads check addresses.
    unsafe {
        let nets = &mut *nets.cast::<Nets>();
        let net = nets.node - NET_LIST.load();
        // The head of the list stands in no namespace; what is read of one there is not the
        // table of operations that all namespaces share.
        if Probe::load::<u64>((net + NET_OPS.load()) as *const u8) == nets.ops {
            nets.found += 1;
            let tables: u64 = Probe::load((net + NET_HASHINFO.load()) as *const u8);
            if tables != nets.tables {
                nets.tables = tables;
                if !send_tables(tables as *const u8) {
                    nets.status = u64::from(FULL);
                    return 1;
                }
            }
        }
        nets.node = Probe::load(nets.node as *const u8);
        nets.status = if nets.node == nets.first {
            u64::from(DONE)
        } else if nets.node == 0 {
            u64::from(BROKEN)
        } else {
            return 0;
        };
    }
    1
}

#[inline(always)]
unsafe fn send_tables(tables: *const u8) -> bool {
    // SAFETY: probe reads check the address.
    let record = unsafe {
        TablesRecord {
            kind: KIND_TABLES,
            pad: 0,
            connections: Probe::load(at(tables, EHASH.load())),
            listeners: Probe::load(at(tables, LHASH2.load())),
            connections_mask: Probe::load(at(tables, EHASH_MASK.load())),
            listeners_mask: Probe::load(at(tables, LHASH2_MASK.load())),
        }
    };
    emit_quietly(&record, Counter::SeedWaits)
}

/// A `WalkState` on the stack, and the caller's network namespace.
struct Cursor {
    state: WalkState,
    net: u64,
}

/// Run on demand: sends a seed for each socket from bucket `next` of a table on. It stops when the
/// ring is full and after `STEPS`; a chain that was not finished is walked again by the next run.
///
/// Hook: none, a test run.
/// Since: Linux 5.19 (listeners in nulls lists).
/// Context: process, the reader's, under RCU.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/inet_hashtables.c#L505>
#[raw_tracepoint]
pub fn walk(_ctx: RawTracePointContext) -> i32 {
    walk_on(step::<Probe> as *mut c_void);
    0
}

/// As `walk`, in half the time.
///
/// Hook: none, a test run.
/// Since: Linux 6.2 (`bpf_rdonly_cast`).
/// Context: process, the reader's, under RCU.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/bpf/helpers.c#L2522>
#[raw_tracepoint]
pub fn walk_cast(_ctx: RawTracePointContext) -> i32 {
    walk_on(step::<Cast> as *mut c_void);
    0
}

#[inline(always)]
fn walk_on(step: *mut c_void) {
    let Some(state) = WALK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as in `walk_nets`.
    unsafe {
        // The node is 0, and that it comes from the map matters: verifiers before 6.8 follow a
        // callback once, from the stack as it is before the first call. A constant there is one
        // for them in every call, and they cut out the branches for all other values.
        let mut cursor = Cursor {
            state: *state,
            net: own_net(),
        };
        cursor.state.status = MORE;
        bpf_loop(STEPS, step, (&raw mut cursor).cast(), 0);
        *state = cursor.state;
    }
}

unsafe extern "C" fn step<L: Load>(_: u64, cursor: *mut c_void) -> i64 {
    // SAFETY: `cursor` is the `Cursor` of `walk`; probe reads check addresses.
    unsafe {
        let cursor = &mut *cursor.cast::<Cursor>();
        if cursor.state.node == 0 {
            return next_bucket(cursor);
        }
        if !send_socket::<L>(cursor) {
            cursor.state.status = FULL;
            return 1;
        }
        let node = L::cast(cursor.state.node as *const u8, TYPE_WORD.load());
        let next: u64 = L::load(node);
        if next & 1 == 0 {
            // 0, which no chain has, is memory that cannot be read: walk the chain again.
            cursor.state.node = next;
            return 0;
        }
        cursor.state.node = 0;
        if next == marker(&cursor.state) {
            cursor.state.next += 1;
        } else {
            cursor.state.again += 1;
        }
    }
    0
}

/// What the last node of the bucket's chain has instead of a successor.
#[inline(always)]
fn marker(state: &WalkState) -> u64 {
    1 | (u64::from(state.marker_base) + u64::from(state.next)) << 1
}

#[inline(always)]
unsafe fn next_bucket(cursor: &mut Cursor) -> i64 {
    let state = &mut cursor.state;
    if state.next >= state.count {
        state.status = DONE;
        return 1;
    }
    let head = (state.buckets + u64::from(state.next) * u64::from(state.stride)) as *const u8;
    // SAFETY: probe reads check the address.
    unsafe {
        if state.stride == 8 && state.next + HEADS as u32 <= state.count {
            // Most chains of a big table are empty: their heads are markers.
            let heads: [u64; HEADS] = Probe::load(head);
            if heads.iter().fold(1, |all, head| all & head) == 1 {
                state.next += HEADS as u32;
                return 0;
            }
        }
        let first: u64 = Probe::load(head);
        if first == 0 {
            state.status = BROKEN;
            return 1;
        }
        if first & 1 == 0 {
            state.node = first;
        } else {
            state.next += 1;
        }
    }
    0
}

/// Sends the socket that the walk stands on, if it is wanted. `false`: the ring is full.
#[inline(always)]
unsafe fn send_socket<L: Load>(cursor: &mut Cursor) -> bool {
    let sk = cursor.state.node - SKC_NODE.load();
    // SAFETY: addresses that cannot be read are zeros, and the cast says what the offsets are of.
    unsafe {
        let sock = L::cast(sk as *const u8, TYPE_TCP_SOCK.load());
        if cursor.state.only & ONLY_HALF_OPEN != 0
            && L::load::<u8>(at(sock, SKC_STATE.load())) != NEW_SYN_RECV
        {
            return true;
        }
        if cursor.state.only & ONLY_OWN_NET != 0
            && L::load::<u64>(at(sock, SKC_NET.load())) != cursor.net
        {
            return true;
        }
    }
    cursor.state.found += 1;
    let record = SeedRecord {
        kind: KIND_SEED,
        pad: 0,
        skaddr: sk,
    };
    emit_quietly(&record, Counter::SeedWaits)
}
