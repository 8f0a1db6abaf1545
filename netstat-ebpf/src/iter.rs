//! Iterators: sockets older than us, and who has which file open.
//!
//! They write into the ring and never with `bpf_seq_write`, which loses rows in socket iterators.
//! Where the ring is full they return 1: the kernel hands the same object to the next read, so
//! nothing is lost.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_task, bpf_loop, bpf_probe_read_kernel_buf},
    macros::map,
    maps::Array,
};
use netstat_common::{
    event::{FDS, FdChunk, KIND_FDS, KIND_SEED, SeedRecord},
    lost::Counter,
};

use crate::{
    globals::*,
    maps::{EVENTS, SOCKET_OPS, count, emit_quietly},
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
    task: u64,
    files: u64,
    fdt: u64,
    fds: u64,
    open: u64,
    /// The chunk that the walk began at, and how many it has done since.
    begin: u64,
    done: u64,
    pid: u32,
    stop: u32,
}

/// Why a walk stopped early: the ring was full, or the table was replaced meanwhile.
const FULL: u32 = 1;
const REPLACED: u32 = 2;

/// Where the walk over a large table goes on: else one that is larger than the ring would be begun
/// anew for ever.
#[derive(Clone, Copy)]
#[repr(C)]
struct Rest {
    session: u64,
    next: u64,
    tgid: u32,
    replaced: u32,
}

#[map]
static REST: Array<Rest> = Array::with_max_entries(1, 0);

/// So often a table may be replaced while it is read. A process that does nothing else would keep
/// us for ever.
const PATIENCE: u32 = 32;

/// Offset of `session_id` in `struct bpf_iter_meta`, behind a pointer.
const META_SESSION: u64 = 8;

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
    // SAFETY: the kernel passes a `struct bpf_iter__task`; typed loads are checked. The map's only
    // slot belongs to the one reader that a tracer has.
    unsafe {
        let task = (&raw const (*ctx).object).read_volatile();
        if task.is_null() {
            return NEXT;
        }
        let tgid: u32 = Typed::load(at(task, TASK_TGID.load()));
        if Typed::load::<u32>(at(task, TASK_PID.load())) != tgid {
            return NEXT;
        }
        let files = Typed::load::<u64>(at(task, TASK_FILES.load()));
        if files == 0 {
            return NEXT;
        }
        let meta = (&raw const (*ctx).meta).read_volatile();
        let session: u64 = Typed::load(at(meta, META_SESSION));
        let Some(rest) = REST.get_ptr_mut(0) else {
            return NEXT;
        };
        if (*rest).session != session || (*rest).tgid != tgid {
            *rest = Rest {
                session,
                next: 0,
                tgid,
                replaced: 0,
            };
        }
        let fdt = Probe::load::<u64>(at(files as *const u8, FILES_FDT.load()));
        let max_fds: u32 = Probe::load(at(fdt as *const u8, FDT_MAX_FDS.load()));
        let mut walk = Walk {
            task: task as u64,
            files,
            fdt,
            fds: Probe::load(at(fdt as *const u8, FDT_FD.load())),
            open: Probe::load(at(fdt as *const u8, FDT_OPEN_FDS.load())),
            begin: (*rest).next,
            done: 0,
            pid: pid_here(task, tgid),
            stop: 0,
        };
        let chunks = u64::from(max_fds.div_ceil(FDS as u32)).saturating_sub(walk.begin);
        bpf_loop(chunks as u32, send_chunk, (&raw mut walk).cast(), 0);
        if walk.stop == 0 {
            return NEXT;
        }
        (*rest).next = walk.begin + walk.done;
        if walk.stop == REPLACED {
            (*rest).replaced += 1;
            if (*rest).replaced > PATIENCE {
                return NEXT;
            }
        }
        AGAIN
    }
}

/// Sends descriptors `64 * (begin + index) ..`; returns 1 to stop.
unsafe extern "C" fn send_chunk<L: Load>(index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: `walk` is the `Walk` of `iter_fds`.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let chunk_number = walk.begin + index;
    walk.done = index;
    // SAFETY: probe reads check the address. A word of the bitmap stands for one chunk.
    if unsafe { Probe::load::<u64>((walk.open + 8 * chunk_number) as *const u8) } == 0 {
        return 0;
    }
    let Some(mut slot) = EVENTS.reserve::<FdChunk>(0) else {
        count(Counter::SeedWaits);
        walk.stop = FULL;
        return 1;
    };
    // SAFETY: the slot is ours until it is submitted, and all of it is written.
    let read = unsafe {
        let chunk = &mut *slot.as_mut_ptr();
        chunk.kind = KIND_FDS;
        chunk.pid = walk.pid;
        let first = walk.fds + 8 * FDS as u64 * chunk_number;
        let bytes = core::slice::from_raw_parts_mut((&raw mut chunk.inodes).cast::<u8>(), 8 * FDS);
        match bpf_probe_read_kernel_buf(first as *const u8, bytes) {
            Ok(()) => files_to_inodes::<L>(&mut chunk.inodes, first),
            Err(_) => false,
        }
    };
    // The reader empties the ring itself after each read of the iterator: no wake-up is wanted.
    if read && still_its_table(walk) {
        slot.submit(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        slot.discard(u64::from(BPF_RB_NO_WAKEUP));
    }
    if walk.stop == 0 { 0 } else { 1 }
}

/// Whether the array that was read is the one that the process has. A process that grew its table,
/// left a shared one or ended since may have closed what the array shows.
#[inline(always)]
fn still_its_table(walk: &mut Walk) -> bool {
    // SAFETY: probe reads check the address.
    let (files, fdt) = unsafe {
        (
            Probe::load::<u64>(at(walk.task as *const u8, TASK_FILES.load())),
            Probe::load::<u64>(at(walk.files as *const u8, FILES_FDT.load())),
        )
    };
    let same = files == walk.files && fdt == walk.fdt;
    if !same {
        walk.stop = REPLACED;
    }
    same
}

/// Where a loop over the descriptors of a chunk stands.
struct Files {
    /// Addresses of `struct file`, which are replaced one by one; memory of the ring.
    files: *mut [u64; FDS],
    /// The place of the first of them in the table.
    first: u64,
    ops: *mut u64,
}

/// Replaces addresses of `struct file`, which stand from `first` on in the table, by inode numbers of
/// sockets.
#[inline(always)]
unsafe fn files_to_inodes<L: Load>(files: &mut [u64; FDS], first: u64) -> bool {
    let Some(ops) = SOCKET_OPS.get_ptr_mut(0) else {
        return false;
    };
    if !L::CALLS {
        // SAFETY: loads of what cannot be read are zeros.
        unsafe { touch::<L>(files) };
        let mut files = Files { files, first, ops };
        // SAFETY: the callback has the signature that the helper wants.
        unsafe {
            bpf_loop(
                FDS as u32,
                one_file::<L> as *mut c_void,
                (&raw mut files).cast(),
                0,
            )
        };
        return true;
    }
    // Nothing is carried from one to the next but the place: the verifier would follow each value
    // through all that come after.
    let mut place = first;
    for file in files {
        // A probe read of nothing is slow.
        if *file != 0 {
            // SAFETY: a plain word, which is 0 or what all sockets' files have.
            *file = unsafe { socket_inode::<L>(*file as *const u8, place as *const u8, ops) };
        }
        place += 8;
    }
    true
}

/// Loads what [`socket_inode`] is going to read of these files and their inodes, and nothing else: so
/// the misses of the cache of many are under way at once, as in the refresh pass.
#[inline(always)]
unsafe fn touch<L: Load>(files: &[u64; FDS]) {
    // SAFETY: the caller's; the casts say what the offsets are of.
    unsafe {
        for file in files {
            let file = L::cast(*file as *const u8, TYPE_FILE.load());
            L::load::<u64>(at(file, FILE_INODE.load()));
        }
        for file in files {
            let file = L::cast(*file as *const u8, TYPE_FILE.load());
            let inode = L::load::<u64>(at(file, FILE_INODE.load())) as *const u8;
            let inode = L::cast(inode, TYPE_INODE.load());
            L::load::<u64>(at(inode, INODE_INO.load()));
        }
    }
}

/// One descriptor of a chunk. The verifier walks this once, where it would walk each turn of a loop.
unsafe extern "C" fn one_file<L: Load>(index: u64, files: *mut c_void) -> i64 {
    // SAFETY: `files` is the `Files` of `files_to_inodes`, and the index less than `FDS`.
    unsafe {
        let files = &mut *files.cast::<Files>();
        let index = index as usize % FDS;
        let file = &mut (*files.files)[index];
        let place = files.first + 8 * index as u64;
        if *file != 0 {
            *file = socket_inode::<L>(*file as *const u8, place as *const u8, files.ops);
        }
    }
    0
}

/// Inode number of a socket's file; 0 for any other file, and for one that is not at its place in the
/// table any more: its memory may be another file by now, of another process.
///
/// `ops` is the table of operations of sockets' files, once one was met: only they have it. It
/// stands beside the address of the inode, whose file system would be one more miss of the cache.
#[inline(always)]
unsafe fn socket_inode<L: Load>(address: *const u8, place: *const u8, ops: *mut u64) -> u64 {
    // SAFETY: addresses that cannot be read are zeros, and the casts say what the offsets are of.
    unsafe {
        let file = L::cast(address, TYPE_FILE.load());
        let its_ops: u64 = L::load(at(file, FILE_OP.load()));
        let inode = L::load::<u64>(at(file, FILE_INODE.load())) as *const u8;
        let inode = L::cast(inode, TYPE_INODE.load());
        let mut new = false;
        if its_ops != ops.read_volatile() {
            let sb = L::load::<u64>(at(inode, INODE_SB.load())) as *const u8;
            let sb = L::cast(sb, TYPE_SUPER_BLOCK.load());
            if L::load::<u64>(at(sb, SB_MAGIC.load())) != SOCKFS_MAGIC {
                return 0;
            }
            new = true;
        }
        let number: u64 = L::load(at(inode, INODE_INO.load()));
        if L::load::<u64>(L::cast(place, TYPE_WORD.load())) != address as u64 {
            return 0;
        }
        if new {
            // What was read is a file's.
            ops.write_volatile(its_ops);
        }
        number
    }
}

/// The process id in the PID namespace of the reader, who is the current task.
#[inline(always)]
unsafe fn pid_here(task: *const u8, pid: u32) -> u32 {
    // SAFETY: probe reads check the address.
    unsafe {
        let me = bpf_get_current_task() as *const u8;
        let my_pid = Probe::load::<u64>(at(me, TASK_THREAD_PID.load())) as *const u8;
        let level: u32 = Probe::load(at(my_pid, PID_LEVEL.load()));
        if level == 0 {
            return pid;
        }
        // Not a typed load: 6.1 refuses to add what was read at run time to a typed pointer.
        let its_pid = Probe::load::<u64>(at(task, TASK_THREAD_PID.load())) as *const u8;
        let upid = at(
            its_pid,
            PID_NUMBERS.load() + u64::from(level) * UPID_SIZE.load(),
        );
        Probe::load(at(upid, UPID_NR.load()))
    }
}
