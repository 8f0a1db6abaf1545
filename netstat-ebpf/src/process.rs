//! Processes: what may change who owns a socket, or the owner's name.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use netstat_common::{
    event::{KIND_EXEC, KIND_EXIT, KIND_FORK, ProcEvent},
    lost::Counter,
};

use crate::{
    globals::{TASK_PID, TASK_TGID},
    maps::emit,
    read::{Load as _, Typed, at, current_tgid, tgid_here},
};

/// `CLONE_THREAD` of `include/uapi/linux/sched.h`.
const CLONE_THREAD: u64 = 0x0001_0000;

/// `task:task_newtask`: a new process (threads share their leader's descriptors or do not count).
///
/// Since: Linux 3.4 (tp_btf 5.5).
/// Context: process, the parent's.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/fork.c#L2588>
#[btf_tracepoint(function = "task_newtask")]
pub fn proc_fork(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<u64>(1) & CLONE_THREAD == 0 {
        send(KIND_FORK, tgid_of(ctx.arg(0)), current_tgid());
    }
    0
}

/// `sched:sched_process_exec`: descriptors with close-on-exec are gone, the name is another.
///
/// Since: Linux 3.4 (tp_btf 5.5).
/// Context: process.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/fs/exec.c#L1819>
#[btf_tracepoint(function = "sched_process_exec")]
pub fn proc_exec(ctx: BtfTracePointContext) -> i32 {
    send(KIND_EXEC, tgid_of(ctx.arg(0)), 0);
    0
}

/// `sched:sched_process_exit` of a main thread: it holds no descriptor after it.
///
/// Since: Linux 3.4 (tp_btf 5.5).
/// Context: process; its descriptors are closed after this.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/kernel/exit.c#L938>
#[btf_tracepoint(function = "sched_process_exit")]
pub fn proc_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    // SAFETY: argument 0 is a `struct task_struct *`.
    let pid: u32 = unsafe { Typed::load(at(task, TASK_PID.load())) };
    // SAFETY: as above.
    if pid == unsafe { Typed::load(at(task, TASK_TGID.load())) } {
        send(KIND_EXIT, tgid_here(task, pid), 0);
    }
    0
}

#[inline(always)]
fn tgid_of(task: *const u8) -> u32 {
    // SAFETY: the callers pass argument 0 of their hooks, a `struct task_struct *`.
    tgid_here(task, unsafe { Typed::load(at(task, TASK_TGID.load())) })
}

#[inline(always)]
fn send(kind: u32, tgid: u32, parent: u32) {
    // Not in our PID namespace.
    if tgid == 0 {
        return;
    }
    let event = ProcEvent {
        kind,
        tgid,
        // SAFETY: the helper has no precondition.
        ktime_ns: unsafe { bpf_ktime_get_ns() },
        parent,
        pad: 0,
    };
    emit(&event, Counter::ProcRingFull);
}
