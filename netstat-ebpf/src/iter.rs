//! Iterators: sockets older than us, and who has which file open.
//!
//! They write into the ring and never with `bpf_seq_write`, which loses rows in socket iterators.
//! Where the ring is full they return 1: the kernel hands the same object to the next read, so
//! nothing is lost.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_task, bpf_loop, bpf_probe_read_kernel_buf},
};
use netstat_common::{
    event::{FDS, FdChunk, KIND_FDS, KIND_SEED, SeedRecord},
    lost::Counter,
};

use crate::{
    globals::*,
    maps::{EVENTS, count, emit},
    read::{Load as _, Probe, Typed, at},
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
    if emit(&record, Counter::SeedWaits) {
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
}

/// `iter/task`: the open files of each process's main thread, as netstat's rule wants them.
///
/// Since: Linux 5.17 (`iter/task` 5.8, `bpf_loop` 5.17).
/// Context: process, the reader's, under RCU.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/bpf/task_iter.c#L191>
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn iter_fds(ctx: *const IterCtx) -> i32 {
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
        let mut walk = Walk {
            fds: Probe::load(at(fdt, FDT_FD.load())),
            open: Probe::load(at(fdt, FDT_OPEN_FDS.load())),
            pid: pid_here(task, pid),
            full: 0,
        };
        bpf_loop(
            max_fds.div_ceil(FDS as u32),
            send_chunk as *mut c_void,
            (&raw mut walk).cast(),
            0,
        );
        if walk.full == 0 { NEXT } else { AGAIN }
    }
}

/// Sends descriptors `64 * index ..`; returns 1 to stop.
unsafe extern "C" fn send_chunk(index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: `walk` is the `Walk` of `iter_fds`.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
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
    let sockets = unsafe {
        let chunk = &mut *slot.as_mut_ptr();
        chunk.kind = KIND_FDS;
        chunk.pid = walk.pid;
        let bytes = core::slice::from_raw_parts_mut((&raw mut chunk.inodes).cast::<u8>(), 8 * FDS);
        match bpf_probe_read_kernel_buf((walk.fds + 8 * FDS as u64 * index) as *const u8, bytes) {
            Ok(()) => files_to_inodes(&mut chunk.inodes),
            Err(_) => 0,
        }
    };
    // The reader empties the ring itself after each read of the iterator: no wake-up is wanted.
    if sockets == 0 {
        slot.discard(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        slot.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

/// Replaces addresses of `struct file` by socket inode numbers; returns 0 if there was none.
#[inline(always)]
unsafe fn files_to_inodes(files: &mut [u64; FDS]) -> u64 {
    let mut any = 0;
    for file in files {
        // SAFETY: probe reads check the address.
        *file = if *file == 0 {
            0
        } else {
            unsafe { socket_inode(*file as *const u8) }
        };
        any |= *file;
    }
    any
}

/// Inode number of a socket's file; 0 for any other file.
#[inline(always)]
unsafe fn socket_inode(file: *const u8) -> u64 {
    // SAFETY: probe reads check the address.
    unsafe {
        let inode = Probe::load::<u64>(at(file, FILE_INODE.load())) as *const u8;
        let sb = Probe::load::<u64>(at(inode, INODE_SB.load())) as *const u8;
        if Probe::load::<u64>(at(sb, SB_MAGIC.load())) != SOCKFS_MAGIC {
            return 0;
        }
        Probe::load(at(inode, INODE_INO.load()))
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
