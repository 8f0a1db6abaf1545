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
    types::{DestinationSlot, Fd, Fixed, Timespec},
};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        self, AddressFamily, Backlog, SockaddrLike, SockaddrStorage, setsockopt, sockopt,
    },
};

use crate::sockets::{answer, borrow, family};

/// Places for sockets without a descriptor.
const SLOTS: u32 = 64;

/// This process's ring, once it has one.
static RING: Mutex<Option<IoUring>> = Mutex::new(None);

/// Which completion is that of the operation, and which that of its time limit.
const OPERATION: u64 = 1;
/// Nothing that is asked for here takes longer, but what would take for ever: io_uring waits even
/// where the descriptor is not to block.
static AT_MOST: Timespec = Timespec::new().nsec(200_000_000);

/// Does one operation; its result is a descriptor, or the number of a slot.
fn run(entry: squeue::Entry) -> Result<i32> {
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
    let limited = entry.flags(squeue::Flags::IO_LINK).user_data(OPERATION);
    let limit = opcode::LinkTimeout::new(&raw const AT_MOST).build();
    // SAFETY: what the entries point to lives until their completions, for which this waits.
    unsafe { ring.submission().push_multiple(&[limited, limit]) }
        .context("a full submission queue")?;
    ring.submit_and_wait(2).context("io_uring_enter")?;
    let done: Vec<_> = ring.completion().collect();
    let done = done.iter().find(|done| done.user_data() == OPERATION);
    match done.context("no completion")?.result() {
        error @ ..0 => Err(Errno::from_raw(-error).into()),
        result => Ok(result),
    }
}

/// The kernel takes flags with the type, as socket(2) does, and not where the crate puts them.
fn socket_of(family: AddressFamily, flags: i32) -> opcode::Socket {
    opcode::Socket::new(family as i32, libc::SOCK_STREAM | flags, 0)
}

/// A listener that io_uring has made.
pub(crate) fn listen(address: SocketAddr) -> Result<String> {
    let entry = socket_of(family(address), libc::SOCK_CLOEXEC).build();
    // SAFETY: new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(run(entry)?) };
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    socket::listen(&fd, Backlog::new(16)?)?;
    answer(fd)
}

/// Fails at once if there is nothing to accept.
fn expect_caller(listener: RawFd) -> Result<()> {
    let mut ready = [PollFd::new(borrow(listener), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::ZERO)? {
        0 => Err(Errno::EAGAIN.into()),
        _ => Ok(()),
    }
}

fn accepting(listener: RawFd) -> opcode::Accept {
    opcode::Accept::new(Fd(listener), std::ptr::null_mut(), std::ptr::null_mut())
}

/// Accepts what is already there, into a descriptor.
pub(crate) fn accept(listener: RawFd) -> Result<i32> {
    let entry = accepting(listener).flags(libc::SOCK_CLOEXEC).build();
    expect_caller(listener)?;
    run(entry)
}

/// Accepts what is already there, into a slot.
pub(crate) fn accept_direct(listener: RawFd) -> Result<i32> {
    let slot = Some(DestinationSlot::auto_target());
    let entry = accepting(listener).file_index(slot).build();
    expect_caller(listener)?;
    run(entry)
}

/// Begins to connect a socket in a slot, and does not wait for it.
pub(crate) fn connect_direct(address: SocketAddr) -> Result<i32> {
    let socket = socket_of(family(address), libc::SOCK_NONBLOCK);
    let slot = Some(DestinationSlot::auto_target());
    let slot = run(socket.file_index(slot).build())?;
    let name = SockaddrStorage::from(address);
    let entry = opcode::Connect::new(
        Fixed(slot.cast_unsigned()),
        name.as_ptr().cast(),
        name.len(),
    );
    match run(entry.build()) {
        Err(error) if !goes_on(&error) => Err(error),
        _ => Ok(slot),
    }
}

fn goes_on(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref::<Errno>();
    matches!(
        errno,
        Some(Errno::EAGAIN | Errno::EINPROGRESS | Errno::ECANCELED)
    )
}

/// A descriptor of the socket in a slot, which stays there too.
pub(crate) fn install(slot: u32) -> Result<i32> {
    run(opcode::FixedFdInstall::new(Fixed(slot), 0).build())
}

/// Empties a slot.
pub(crate) fn close_direct(slot: u32) -> Result<()> {
    run(opcode::Close::new(Fixed(slot)).build()).map(drop)
}

/// Gives the ring up, and what is in its slots.
pub(crate) fn end() {
    drop(RING.lock().expect("no thread of ours panics").take());
}

/// In a forked child, which has the ring's descriptor but not its memory.
pub(crate) fn disown() {
    mem::forget(RING.lock().expect("no thread of ours panics").take());
}
