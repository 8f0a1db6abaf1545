//! The ways a descriptor gets to more than one process, and a process to another name.

use std::{
    ffi::CString,
    fs,
    io::{IoSlice, IoSliceMut, Write},
    os::{
        fd::{IntoRawFd, RawFd},
        unix::net::UnixStream,
    },
    ptr,
    sync::mpsc,
    thread,
};

use anyhow::{Context, Result};
use nix::{
    cmsg_space,
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc,
    sched::{CloneFlags, unshare},
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
        sendmsg, socketpair,
    },
    unistd::{self, ForkResult},
};

use crate::{ADOPT, knock, sockets::borrow, uring};

/// Which of two processes this is.
pub(crate) enum Side {
    Parent(i32),
    Child(UnixStream),
}

/// Forks; the child gives the parent's connection up and makes its own.
pub(crate) fn fork(control: RawFd, door: &str) -> Result<Side> {
    // SAFETY: actors fork while they have one thread only.
    match unsafe { unistd::fork()? } {
        ForkResult::Parent { child } => Ok(Side::Parent(child.as_raw())),
        ForkResult::Child => {
            uring::disown();
            // `serve` drops its owner of the parent's connection when it takes the new one over;
            // until then its place is held by a copy of the new one.
            let mine = knock(door)?;
            let held = mine.try_clone()?.into_raw_fd();
            // SAFETY: both are open; `control` stays a connection of whoever owns it.
            unsafe { libc::dup3(held, control, libc::O_CLOEXEC) };
            unistd::close(held)?;
            Ok(Side::Child(mine))
        }
    }
}

/// The same program again, as `argv0`, in this process.
pub(crate) fn exec(argv0: &str, door: &str, control: RawFd) -> Result<()> {
    close_on_exec(control, false)?;
    // The reply has to come from the old image: the new one does not know that it was asked.
    let mut stream = UnixStream::from(borrow(control).try_clone_to_owned()?);
    writeln!(stream, "ok")?;
    drop(stream);
    let path = {
        // Not that of the leader, which may be gone.
        let program = fs::read_link("/proc/thread-self/exe")?;
        CString::new(program.into_os_string().into_encoded_bytes())?
    };
    let arguments = [argv0, door, ADOPT, &control.to_string()]
        .map(|text| CString::new(text).expect("no NUL in a line"));
    unistd::execv(&path, &arguments).context("exec")?;
    Ok(())
}

pub(crate) fn close_on_exec(fd: RawFd, on: bool) -> Result<()> {
    let flags = if on {
        FdFlag::FD_CLOEXEC
    } else {
        FdFlag::empty()
    };
    fcntl(borrow(fd), FcntlArg::F_SETFD(flags))?;
    Ok(())
}

pub(crate) fn duplicate(fd: RawFd) -> Result<RawFd> {
    Ok(fcntl(borrow(fd), FcntlArg::F_DUPFD_CLOEXEC(0))?)
}

/// Two ends of a unix socket.
pub(crate) fn pair() -> Result<String> {
    let (one, other) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    Ok(format!("{} {}", one.into_raw_fd(), other.into_raw_fd()))
}

pub(crate) fn send(through: RawFd, fd: RawFd) -> Result<()> {
    let fds = [fd];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        through,
        &[IoSlice::new(b"!")],
        &rights,
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

pub(crate) fn receive(through: RawFd) -> Result<RawFd> {
    let mut byte = [0];
    let mut space = cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        through,
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let fds = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    fds.context("a message without a descriptor")
}

/// A second thread with a descriptor table of its own keeps `fd`; this one closes it.
pub(crate) fn thread_keeps(fd: RawFd) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let outcome = unshare(CloneFlags::CLONE_FILES);
        let _ = sender.send(outcome);
        loop {
            thread::park();
        }
    });
    receiver.recv()??;
    Ok(unistd::close(fd)?)
}

/// Ends the leader thread alone; the process lives on in the others.
pub(crate) fn end_leader() -> ! {
    // SAFETY: the raw call ends this thread only; what it owns was moved to the thread that goes on.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("exit came back")
}

/// Overwrites the memory that /proc/PID/cmdline shows, as setproctitle does.
pub(crate) fn retitle(title: &str) -> Result<()> {
    // Not by our own id, which need not be that of /proc, nor of a leader that may be gone.
    let stat = fs::read_to_string("/proc/thread-self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/thread-self/stat")?;
    let field = |number: usize| -> Result<usize> {
        // The first field behind the name is number 3 in proc(5).
        let text = fields.split(' ').nth(number - 3).context("short stat")?;
        Ok(text.trim().parse()?)
    };
    let (start, end) = (field(48)?, field(49)?);
    let mut bytes = title.as_bytes().to_vec();
    bytes.resize(end - start, 0);
    // SAFETY: the kernel says that argv's strings are at [start, end), which stay mapped and
    // writable for the life of the process; std copied them before.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start as *mut u8, bytes.len()) };
    Ok(())
}
