//! TCP by hand: every call is the system call of that name with nothing added.

use std::{
    io::IoSlice,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{
            self, AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrStorage,
            setsockopt, sockopt,
        },
        time::{TimeVal, TimeValLike},
    },
};

/// No call may block for longer: the test at the other end has a deadline too.
const PATIENCE_S: i64 = 20;

/// A descriptor whose number the test sent, which it got from us.
pub(crate) fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    assert!(fd >= 0, "descriptor {fd}");
    // SAFETY: the number is not -1, and no owner here closes it while one command runs.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn open(family: AddressFamily) -> Result<OwnedFd> {
    let fd = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let patience = TimeVal::seconds(PATIENCE_S);
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience)?;
    setsockopt(&fd, sockopt::SendTimeout, &patience)?;
    Ok(fd)
}

pub(crate) fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn name(fd: &OwnedFd) -> Result<SocketAddr> {
    let name: SockaddrStorage = socket::getsockname(fd.as_raw_fd())?;
    let v4 = name.as_sockaddr_in().map(|v4| (*v4).into());
    let v6 = name.as_sockaddr_in6().map(|v6| (*v6).into());
    v4.map(SocketAddr::V4)
        .or(v6.map(SocketAddr::V6))
        .context("a socket without an internet address")
}

pub(crate) fn answer(fd: OwnedFd) -> Result<String> {
    let name = name(&fd)?;
    Ok(format!("{} {name}", fd.into_raw_fd()))
}

pub(crate) fn listen(address: SocketAddr, backlog: i32, reuse_port: bool) -> Result<String> {
    let fd = open(family(address))?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    // nix takes no backlog above the C library's constant; the kernel has its own limit.
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    answer(fd)
}

/// A socket with a name that neither listens nor is connected.
pub(crate) fn bound(address: SocketAddr) -> Result<String> {
    let fd = open(family(address))?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    answer(fd)
}

pub(crate) fn connect(address: SocketAddr, from: Option<SocketAddr>) -> Result<String> {
    let fd = open(family(address))?;
    if let Some(from) = from {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(from))?;
    }
    socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    answer(fd)
}

/// Connects an IPv6 socket, to the mapped form of an IPv4 address.
pub(crate) fn connect_mapped(address: SocketAddr) -> Result<String> {
    connect(mapped(address)?, None)
}

fn mapped(address: SocketAddr) -> Result<SocketAddr> {
    let IpAddr::V4(v4) = address.ip() else {
        bail!("{address} has no mapped form");
    };
    Ok(SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()))
}

/// Begins a connection and does not wait for it.
pub(crate) fn call(address: SocketAddr) -> Result<String> {
    let fd = open(family(address))?;
    do_not_block(&fd)?;
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => answer(fd),
        Err(errno) => Err(errno.into()),
    }
}

fn do_not_block(fd: &OwnedFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

pub(crate) fn accept(listener: RawFd) -> Result<String> {
    Ok(socket::accept4(listener, SockFlag::SOCK_CLOEXEC)?.to_string())
}

/// Accepts a connection that is already there.
pub(crate) fn take(listener: RawFd) -> Result<String> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let set = |flags| fcntl(borrow(listener), FcntlArg::F_SETFL(flags));
    set(OFlag::O_NONBLOCK)?;
    let outcome = accept(listener);
    set(OFlag::empty())?;
    outcome
}

/// As much of `count` bytes as fits.
pub(crate) fn write(fd: RawFd, count: usize) -> Result<usize> {
    let bytes = vec![b'x'; count];
    match socket::sendmsg::<()>(
        fd,
        &[IoSlice::new(&bytes)],
        &[],
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    ) {
        Err(Errno::EAGAIN) => Ok(0),
        outcome => Ok(outcome?),
    }
}

/// As much of `count` bytes as is there.
pub(crate) fn read(fd: RawFd, count: usize) -> Result<usize> {
    match socket::recv(fd, &mut vec![0; count], MsgFlags::MSG_DONTWAIT) {
        Err(Errno::EAGAIN) => Ok(0),
        outcome => Ok(outcome?),
    }
}

/// Sends a FIN and keeps the socket.
pub(crate) fn shut_down(fd: RawFd) -> Result<()> {
    Ok(socket::shutdown(fd, Shutdown::Write)?)
}

/// Closes with a RST.
pub(crate) fn abort(fd: RawFd) -> Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&borrow(fd), sockopt::Linger, &at_once)?;
    Ok(nix::unistd::close(fd)?)
}

pub(crate) fn keep_alive(fd: RawFd) -> Result<()> {
    Ok(setsockopt(&borrow(fd), sockopt::KeepAlive, &true)?)
}
