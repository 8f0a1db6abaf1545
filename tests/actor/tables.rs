//! Descriptor tables: shared, large, taken from; and the namespaces that a process is in.

use std::{
    fs::{self, File},
    os::{fd::RawFd, unix::net::UnixStream},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    libc,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::resource::{Resource, getrlimit, setrlimit},
};

use crate::knock;

/// A copy of another process's descriptor.
pub(crate) fn take_from(pid: i32, fd: RawFd) -> Result<RawFd> {
    // SAFETY: no pointer is passed.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let process = Errno::result(process).context("pidfd_open")?;
    // SAFETY: no pointer is passed.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, fd, 0) };
    let copy = Errno::result(copy).context("pidfd_getfd");
    // SAFETY: the descriptor of the process, which is ours.
    unsafe { libc::close(RawFd::try_from(process)?) };
    Ok(RawFd::try_from(copy?)?)
}

/// Closes all from `first` to `last`; with `unshare`, in a table of its own.
pub(crate) fn close_range(first: u32, last: u32, alone: bool) -> Result<()> {
    let flags = if alone { libc::CLOSE_RANGE_UNSHARE } else { 0 };
    // SAFETY: no pointer is passed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(result).context("close_range")?;
    Ok(())
}

/// A child with the same descriptor table, not a copy of it. `None`: this is the parent of that one.
pub(crate) fn share(door: &str) -> Result<Result<UnixStream, i32>> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: as fork(2), while there is one thread only; memory is copied and the stack goes on.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match Errno::result(pid).context("clone")? {
        0 => Ok(Ok(knock(door)?)),
        pid => Ok(Err(i32::try_from(pid)?)),
    }
}

/// Has at least so many descriptors, copies of `fd`.
pub(crate) fn fill(count: RawFd, fd: RawFd) -> Result<()> {
    allow_many()?;
    loop {
        // SAFETY: no pointer is passed.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        if Errno::result(copy)? >= count {
            return Ok(());
        }
    }
}

/// A copy with this number or the next free one.
pub(crate) fn duplicate_at(fd: RawFd, at_least: RawFd) -> Result<RawFd> {
    allow_many()?;
    // SAFETY: no pointer is passed.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, at_least) };
    Ok(Errno::result(copy)?)
}

/// As many as this user may have.
fn allow_many() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("setrlimit")
}

/// Children from now on are in a PID namespace of their own; the first is its init.
pub(crate) fn new_pids() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWPID).context("unshare")
}

/// A /proc that shows the own PID namespace, seen from here only.
pub(crate) fn own_proc() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).context("make mounts private")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), safe, nothing).context("mount /proc")
}

/// The next process of the own PID namespace gets this id, or the next free one.
pub(crate) fn next_pid(pid: u32) -> Result<()> {
    let last = pid.saturating_sub(1).to_string();
    fs::write("/proc/sys/kernel/ns_last_pid", last).context("set ns_last_pid")
}

/// Moves to the network namespace of another process; what is open stays where it is.
pub(crate) fn join_net(pid: u32) -> Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).context("setns")
}
