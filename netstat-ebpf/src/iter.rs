//! Iterators: sockets older than us, and who has which file open.
//!
//! They write into the ring and never with `bpf_seq_write`, which loses rows in socket iterators.
//! Where the ring is full they return 1: the kernel hands the same object to the next read, so
//! nothing is lost.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_loop, bpf_probe_read_kernel_buf,
    },
};
use netstat_common::{
    event::{FDS, FdChunk, KIND_FDS, KIND_SEED, SeedRecord},
    lost::Counter,
    readers::MOST_READERS,
};

use crate::{
    globals::*,
    maps::{EVENTS, READERS, SOCKET_OPS, count, emit_quietly},
    read::{Cast, Load, Probe, Typed, at},
};

/// Go on with the next object.
const NEXT: i32 = 0;
/// Hand over the same object again: the ring was full.
const AGAIN: i32 = 1;

/// `SOCKFS_MAGIC` of `include/uapi/linux/magic.h`.
const SOCKFS_MAGIC: u64 = 0x534f_434b;

/// Argument of an iterator program: `{ meta, object }`, as the kernel's `struct bpf_iter__*`.
#[repr(C)]
pub struct IterCtx {
    meta: *const u8,
    object: *const u8,
}

/// `iter/tcp`: all TCP sockets of the reader's network namespace, minisocks too.
///
/// Since: Linux 5.9.
/// Context: process, the reader's; may sleep.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/tcp_ipv4.c#L3197>
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn iter_tcp(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel passes a `struct bpf_iter__tcp`.
    let skaddr = unsafe { (&raw const (*ctx).object).read_volatile() } as u64;
    if skaddr == 0 {
        return NEXT;
    }
    let record = SeedRecord {
        kind: KIND_SEED,
        pad: 0,
        skaddr,
    };
    if emit_quietly(&record, Counter::SeedWaits) {
        NEXT
    } else {
        AGAIN
    }
}

/// One walk over a descriptor table.
struct Walk {
    fds: u64,
    open: u64,
    pid: u32,
    full: u32,
    /// Of so many readers this is the `turn`th, from 1: each reads every so many chunks.
    readers: u32,
    turn: u32,
}

/// `iter/task`: the open files of each process's main thread, as netstat's rule wants them.
///
/// Since: Linux 5.17 (`iter/task` 5.8, `bpf_loop` 5.17).
/// Context: process, the reader's, under RCU.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/bpf/task_iter.c#L191>
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn iter_fds(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel passes a `struct bpf_iter__task`.
    unsafe { descriptors(ctx, send_chunk::<Probe> as *mut c_void) }
}

/// As `iter_fds`, in half the time.
///
/// Since: Linux 6.2 (`bpf_rdonly_cast`).
/// Context: as `iter_fds`.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/bpf/helpers.c#L2522>
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn iter_fds_cast(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel passes a `struct bpf_iter__task`.
    unsafe { descriptors(ctx, send_chunk::<Cast> as *mut c_void) }
}

#[inline(always)]
unsafe fn descriptors(ctx: *const IterCtx, send_chunk: *mut c_void) -> i32 {
    // SAFETY: the kernel passes a `struct bpf_iter__task`; typed loads are checked.
    unsafe {
        let task = (&raw const (*ctx).object).read_volatile();
        if task.is_null() {
            return NEXT;
        }
        let pid: u32 = Typed::load(at(task, TASK_PID.load()));
        if pid != Typed::load::<u32>(at(task, TASK_TGID.load())) {
            return NEXT;
        }
        let files = Typed::load::<u64>(at(task, TASK_FILES.load())) as *const u8;
        if files.is_null() {
            return NEXT;
        }
        let fdt = Probe::load::<u64>(at(files, FILES_FDT.load())) as *const u8;
        let max_fds: u32 = Probe::load(at(fdt, FDT_MAX_FDS.load()));
        let (pid, me) = ids_here(task, pid);
        let (readers, turn) = turn(me);
        let mut walk = Walk {
            fds: Probe::load(at(fdt, FDT_FD.load())),
            open: Probe::load(at(fdt, FDT_OPEN_FDS.load())),
            pid,
            full: 0,
            readers,
            turn,
        };
        bpf_loop(
            max_fds.div_ceil(FDS as u32),
            send_chunk,
            (&raw mut walk).cast(),
            0,
        );
        if walk.full == 0 { NEXT } else { AGAIN }
    }
}

/// How many readers there are, and which of them the thread `me` is.
///
/// The answer comes from the map: the verifier would walk what follows once for each constant.
#[inline(always)]
fn turn(me: u32) -> (u32, u32) {
    let word = |index: u32| {
        // SAFETY: an element of a map that outlives the program.
        READERS
            .get_ptr(index)
            .map_or(0, |word| unsafe { word.read_volatile() })
    };
    // What two readers send is only sent twice: one that is not in the list reads all.
    let mut found = 0;
    for index in 1..=MOST_READERS as u32 {
        let reader = word(index);
        if reader as u32 == me {
            found = reader;
        }
    }
    let turn = (found >> 32) as u32;
    (if turn == 0 { 0 } else { word(0) as u32 }, turn)
}

/// Sends descriptors `64 * index ..`; returns 1 to stop.
unsafe extern "C" fn send_chunk<L: Load>(index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: `walk` is the `Walk` of `descriptors`.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // Masked, so that what the comparisons tell is not told of the stack: the verifier would walk this
    // function once for each of it.
    let (readers, turn) = (walk.readers & 0xff, walk.turn & 0xff);
    if readers > 1 && turn != 0 && (walk.pid + index as u32) % readers + 1 != turn {
        return 0;
    }
    // SAFETY: probe reads check the address. A word of the bitmap stands for one chunk.
    if unsafe { Probe::load::<u64>((walk.open + 8 * index) as *const u8) } == 0 {
        return 0;
    }
    let Some(mut slot) = EVENTS.reserve::<FdChunk>(0) else {
        count(Counter::SeedWaits);
        walk.full = 1;
        return 1;
    };
    // SAFETY: the slot is ours until it is submitted, and all of it is written.
    let read = unsafe {
        let chunk = &mut *slot.as_mut_ptr();
        chunk.kind = KIND_FDS;
        chunk.pid = walk.pid;
        let bytes = core::slice::from_raw_parts_mut((&raw mut chunk.inodes).cast::<u8>(), 8 * FDS);
        match bpf_probe_read_kernel_buf((walk.fds + 8 * FDS as u64 * index) as *const u8, bytes) {
            Ok(()) => files_to_inodes::<L>(&mut chunk.inodes),
            Err(_) => false,
        }
    };
    // The reader empties the ring itself after each read of the iterator: no wake-up is wanted.
    if read {
        slot.submit(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        slot.discard(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

/// Replaces addresses of `struct file` by socket inode numbers.
///
/// Nothing is carried from one to the next but the place: the verifier would follow each value
/// through all that come after.
#[inline(always)]
unsafe fn files_to_inodes<L: Load>(files: &mut [u64; FDS]) -> bool {
    let Some(ops) = SOCKET_OPS.get_ptr_mut(0) else {
        return false;
    };
    for file in files {
        // A probe read of nothing is slow; a load is not, and each branch here is walked 64 times.
        if !L::CALLS || *file != 0 {
            // SAFETY: a plain word, which is 0 or what all sockets' files have.
            *file = unsafe { socket_inode::<L>(*file as *const u8, ops) };
        }
    }
    true
}

/// Inode number of a socket's file; 0 for any other file.
///
/// `ops` is the table of operations of sockets' files, once one was met: only they have it. It
/// stands beside the address of the inode, whose file system would be one more miss of the cache.
#[inline(always)]
unsafe fn socket_inode<L: Load>(file: *const u8, ops: *mut u64) -> u64 {
    // SAFETY: addresses that cannot be read are zeros, and the casts say what the offsets are of.
    unsafe {
        let file = L::cast(file, TYPE_FILE.load());
        let its_ops: u64 = L::load(at(file, FILE_OP.load()));
        let inode = L::load::<u64>(at(file, FILE_INODE.load())) as *const u8;
        let inode = L::cast(inode, TYPE_INODE.load());
        if its_ops != ops.read_volatile() {
            let sb = L::load::<u64>(at(inode, INODE_SB.load())) as *const u8;
            let sb = L::cast(sb, TYPE_SUPER_BLOCK.load());
            if L::load::<u64>(at(sb, SB_MAGIC.load())) != SOCKFS_MAGIC {
                return 0;
            }
            ops.write_volatile(its_ops);
        }
        L::load(at(inode, INODE_INO.load()))
    }
}

/// The ids of a task, and of the current one, who is the reader, in the reader's PID namespace.
#[inline(always)]
unsafe fn ids_here(task: *const u8, pid: u32) -> (u32, u32) {
    // SAFETY: probe reads check the address.
    unsafe {
        let me = bpf_get_current_task() as *const u8;
        let my_pid = Probe::load::<u64>(at(me, TASK_THREAD_PID.load())) as *const u8;
        let level: u32 = Probe::load(at(my_pid, PID_LEVEL.load()));
        if level == 0 {
            return (pid, bpf_get_current_pid_tgid() as u32);
        }
        // Not a typed load: 6.1 refuses to add what was read at run time to a typed pointer.
        let its_pid = Probe::load::<u64>(at(task, TASK_THREAD_PID.load())) as *const u8;
        let number = PID_NUMBERS.load() + u64::from(level) * UPID_SIZE.load() + UPID_NR.load();
        (
            Probe::load(at(its_pid, number)),
            Probe::load(at(my_pid, number)),
        )
    }
}
