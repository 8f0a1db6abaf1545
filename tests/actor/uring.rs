//! Sockets of io_uring: no system call answers with them, and some have no descriptor at all.

use std::{
    mem,
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::Mutex,
};

use anyhow::{Context, Result};
use io_uring::{
    IoUring, opcode, squeue,
    types::{DestinationSlot, Fd, Fixed},
};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        self, AddressFamily, Backlog, SockaddrLike, SockaddrStorage, setsockopt, sockopt,
    },
};

use crate::sockets::{answer, family, without_blocking};

/// Places for sockets without a descriptor.
const SLOTS: u32 = 64;

/// This process's ring, once it has one.
static RING: Mutex<Option<IoUring>> = Mutex::new(None);

/// Does one operation; its result is a descriptor, or the number of a slot.
fn run(entry: &squeue::Entry) -> Result<i32> {
    let mut ring = RING.lock().expect("no thread of ours panics");
    let ring = match &mut *ring {
        Some(ring) => ring,
        none => {
            let ring = IoUring::new(8).context("io_uring_setup")?;
            let submitter = ring.submitter();
            submitter
                .register_files_sparse(SLOTS)
                .context("make room for direct descriptors")?;
            none.insert(ring)
        }
    };
    // SAFETY: what the entry points to lives until its completion, for which this waits.
    unsafe { ring.submission().push(entry) }.context("a full submission queue")?;
    ring.submit_and_wait(1).context("io_uring_enter")?;
    let done = ring.completion().next().context("no completion")?;
    match done.result() {
        error @ ..0 => Err(Errno::from_raw(-error).into()),
        result => Ok(result),
    }
}

fn socket_of(family: AddressFamily) -> opcode::Socket {
    opcode::Socket::new(family as i32, libc::SOCK_STREAM, 0)
}

/// A listener that io_uring has made.
pub(crate) fn listen(address: SocketAddr) -> Result<String> {
    let entry = socket_of(family(address)).flags(libc::SOCK_CLOEXEC).build();
    // SAFETY: new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(run(&entry)?) };
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    socket::listen(&fd, Backlog::new(16)?)?;
    answer(fd)
}

fn accepting(listener: RawFd) -> opcode::Accept {
    opcode::Accept::new(Fd(listener), std::ptr::null_mut(), std::ptr::null_mut())
}

/// Accepts what is already there, into a descriptor.
pub(crate) fn accept(listener: RawFd) -> Result<i32> {
    let entry = accepting(listener).flags(libc::SOCK_CLOEXEC).build();
    without_blocking(listener, || run(&entry))
}

/// Accepts what is already there, into a slot.
pub(crate) fn accept_direct(listener: RawFd) -> Result<i32> {
    let slot = Some(DestinationSlot::auto_target());
    let entry = accepting(listener).file_index(slot).build();
    without_blocking(listener, || run(&entry))
}

/// Begins to connect a socket in a slot, and does not wait for it.
pub(crate) fn connect_direct(address: SocketAddr) -> Result<i32> {
    let socket = socket_of(family(address)).flags(libc::SOCK_NONBLOCK);
    let slot = Some(DestinationSlot::auto_target());
    let slot = run(&socket.file_index(slot).build())?;
    let name = SockaddrStorage::from(address);
    let entry = opcode::Connect::new(
        Fixed(slot.cast_unsigned()),
        name.as_ptr().cast(),
        name.len(),
    );
    match run(&entry.build()) {
        Err(error) if !goes_on(&error) => Err(error),
        _ => Ok(slot),
    }
}

fn goes_on(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref::<Errno>();
    matches!(errno, Some(Errno::EAGAIN | Errno::EINPROGRESS))
}

/// A descriptor of the socket in a slot, which stays there too.
pub(crate) fn install(slot: u32) -> Result<i32> {
    run(&opcode::FixedFdInstall::new(Fixed(slot), 0).build())
}

/// Empties a slot.
pub(crate) fn close_direct(slot: u32) -> Result<()> {
    run(&opcode::Close::new(Fixed(slot)).build()).map(drop)
}

/// Gives the ring up, and what is in its slots.
pub(crate) fn end() {
    drop(RING.lock().expect("no thread of ours panics").take());
}

/// In a forked child, which has the ring's descriptor but not its memory.
pub(crate) fn disown() {
    mem::forget(RING.lock().expect("no thread of ours panics").take());
}
