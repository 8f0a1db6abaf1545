//! UDP, raw and Unix sockets, and a network namespace of one's own.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sched::{CloneFlags, unshare},
    sys::socket::{
        self, AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage, UnixAddr,
        setsockopt, sockopt,
    },
};

use crate::sockets::{answer, borrow, family};

pub(crate) fn udp(address: SocketAddr, reuse_port: bool) -> Result<String> {
    let fd = datagram(address)?;
    if reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    answer(fd)
}

pub(crate) fn udp_call(address: SocketAddr) -> Result<String> {
    let fd = datagram(address)?;
    socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    answer(fd)
}

pub(crate) fn udp_send(fd: RawFd, to: SocketAddr, count: usize) -> Result<usize> {
    let to = SockaddrStorage::from(to);
    Ok(socket::sendto(
        fd,
        &vec![b'u'; count],
        &to,
        MsgFlags::MSG_DONTWAIT,
    )?)
}

/// Gives the peer up; a port that was not asked for goes too.
pub(crate) fn disconnect(fd: RawFd) -> Result<()> {
    // SAFETY: all zeroes is AF_UNSPEC.
    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    // SAFETY: a whole `sockaddr` that lives for the call.
    let result = unsafe {
        libc::connect(
            fd,
            &raw const nobody,
            size_of::<libc::sockaddr>() as libc::socklen_t,
        )
    };
    Ok(Errno::result(result).map(drop)?)
}

pub(crate) fn connect(fd: RawFd, address: SocketAddr) -> Result<()> {
    Ok(socket::connect(fd, &SockaddrStorage::from(address))?)
}

/// A raw socket of any protocol, which nix has no words for.
pub(crate) fn raw(v6: bool, protocol: i32) -> Result<String> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    Ok(Errno::result(fd)?.to_string())
}

/// `stream`, `datagram` or `seqpacket`.
pub(crate) fn unix(kind: &str) -> Result<String> {
    let fd = socket::socket(
        AddressFamily::Unix,
        unix_kind(kind)?,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(fd.into_raw_fd().to_string())
}

fn unix_kind(kind: &str) -> Result<SockType> {
    Ok(match kind {
        "stream" => SockType::Stream,
        "datagram" => SockType::Datagram,
        "seqpacket" => SockType::SeqPacket,
        other => bail!("unknown type {other:?}"),
    })
}

/// A path, or an abstract name behind `@`. `\n`, `\0` and `\s` stand for those bytes.
fn unix_name(name: &str) -> Result<UnixAddr> {
    let name = name
        .replace("\\n", "\n")
        .replace("\\0", "\0")
        .replace("\\s", " ");
    Ok(match name.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes())?,
        None => UnixAddr::new(name.as_str())?,
    })
}

const EMPTY: libc::sockaddr_un = libc::sockaddr_un {
    sun_family: libc::AF_UNIX as libc::sa_family_t,
    sun_path: [0; 108],
};

/// A path without room for a NUL, which nix refuses.
fn bind_longest(fd: RawFd, path: &str) -> Result<()> {
    let mut address = EMPTY;
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from.cast_signed();
    }
    let size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: a whole `sockaddr_un` that lives for the call.
    let result = unsafe { libc::bind(fd, (&raw const address).cast(), size) };
    Ok(Errno::result(result).map(drop)?)
}

/// Without a name the kernel chooses one.
pub(crate) fn unix_bind(fd: RawFd, name: &str) -> Result<()> {
    if name.len() == size_of_val(&EMPTY.sun_path) {
        return bind_longest(fd, name);
    }
    let name = if name.is_empty() {
        UnixAddr::new_unnamed()
    } else {
        unix_name(name)?
    };
    Ok(socket::bind(fd, &name)?)
}

pub(crate) fn unix_listen(fd: RawFd, backlog: i32) -> Result<()> {
    Ok(socket::listen(&borrow(fd), Backlog::new(backlog)?)?)
}

pub(crate) fn unix_call(fd: RawFd, name: &str) -> Result<()> {
    Ok(socket::connect(fd, &unix_name(name)?)?)
}

pub(crate) fn unix_pair(kind: &str) -> Result<String> {
    let (one, other) = socket::socketpair(
        AddressFamily::Unix,
        unix_kind(kind)?,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    Ok(format!("{} {}", one.into_raw_fd(), other.into_raw_fd()))
}

/// Moves to a new network namespace; what is open stays where it is.
pub(crate) fn new_net() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("unshare")?;
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(Errno::result(fd)?) };
    // SAFETY: `ifreq` is integers and byte arrays; all zeroes is one of its values.
    let mut lo: libc::ifreq = unsafe { std::mem::zeroed() };
    lo.ifr_name[0] = b'l'.cast_signed();
    lo.ifr_name[1] = b'o'.cast_signed();
    lo.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: SIOCSIFFLAGS takes an `ifreq`, alive for the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut lo) };
    Errno::result(result).context("bring lo up")?;
    Ok(())
}

fn datagram(address: SocketAddr) -> Result<OwnedFd> {
    Ok(socket::socket(
        family(address),
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}
