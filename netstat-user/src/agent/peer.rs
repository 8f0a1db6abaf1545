//! Who asks, and what may be shown.
//!
//! Rows of a network namespace are shown to the processes in it: the same that /proc/net/tcp and
//! `sock_diag` show to everybody there. Which process holds which socket is shown only to those who
//! may read every process's descriptors anyway. Everybody else reads the owners from /proc, where the
//! kernel decides per process; a copy of that rule here could only be wrong.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::PathBuf,
};

/// `CAP_DAC_OVERRIDE` of `include/uapi/linux/capability.h`.
const DAC_OVERRIDE: u32 = 1;
/// `CAP_DAC_READ_SEARCH`.
const DAC_READ_SEARCH: u32 = 2;
/// `CAP_SYS_PTRACE`.
const SYS_PTRACE: u32 = 19;
/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u32 = 21;

/// A client, as the kernel vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Process id when it connected, in the agent's PID namespace.
    pub pid: u32,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Whether it could read every process's descriptors itself, under the same process ids.
    pub sees_holders: bool,
    /// Whether it could enter every network namespace itself.
    pub sees_all_namespaces: bool,
}

/// The namespaces that a client must share with the agent to be told certain things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    user: u64,
    pid: u64,
}

impl Own {
    /// The agent's own namespaces.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn read() -> io::Result<Self> {
        let of = |name: &str| fs::metadata(format!("/proc/self/ns/{name}")).map(|file| file.ino());
        Ok(Self {
            user: of("user")?,
            pid: of("pid")?,
        })
    }
}

/// User id, group id and process id at the time of connect(2).
///
/// # Errors
/// getsockopt(2).
pub fn credentials(stream: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut found = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    option(stream, libc::SO_PEERCRED, &mut found)?;
    Ok(found)
}

/// Finds out who is at the other end.
///
/// # Errors
/// Why it cannot be told: the client is gone, or in another user namespace, where neither user ids
/// nor rights mean the same.
pub fn identify(stream: BorrowedFd<'_>, own: &Own) -> Result<Peer, String> {
    let credentials =
        credentials(stream).map_err(|error| format!("who asks is not known: {error}"))?;
    let process = process(stream, &credentials)?;
    let peer = read_process(&credentials, own);
    // /proc was read by number. While the process lives its number is nobody else's.
    if ended(&process) {
        return Err("the process that connected has ended".to_owned());
    }
    peer
}

/// A handle on the process that connected.
fn process(stream: BorrowedFd<'_>, credentials: &libc::ucred) -> Result<OwnedFd, String> {
    let mut pidfd: libc::c_int = -1;
    match option(stream, libc::SO_PEERPIDFD, &mut pidfd) {
        // SAFETY: the kernel has just opened it for us.
        Ok(()) if pidfd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(pidfd) }),
        Ok(()) => Err("the process that connected has ended".to_owned()),
        // Before Linux 6.5 only the number is known, which may be another process's by now. Root
        // gains nothing by that.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            if credentials.uid != 0 {
                return Err("before Linux 6.5 the agent answers root only".to_owned());
            }
            // SAFETY: no pointers; the descriptor is ours.
            let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, credentials.pid, 0) };
            match i32::try_from(pidfd) {
                // SAFETY: as above.
                Ok(pidfd) if pidfd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(pidfd) }),
                _ => Err("the process that connected has ended".to_owned()),
            }
        }
        Err(error) => Err(format!("the process that connected is not known: {error}")),
    }
}

fn read_process(credentials: &libc::ucred, own: &Own) -> Result<Peer, String> {
    let pid = u32::try_from(credentials.pid)
        .ok()
        .filter(|pid| *pid != 0)
        .ok_or("the client is in a PID namespace that the agent does not see")?;
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let unreadable = |error| format!("the client's /proc/{pid} cannot be read: {error}");
    let namespace = |name: &str| {
        let path = directory.join("ns").join(name);
        fs::metadata(path)
            .map(|file| file.ino())
            .map_err(unreadable)
    };
    if namespace("user")? != own.user {
        return Err("the client is in another user namespace".to_owned());
    }
    let netns = namespace("net")?;
    let status = fs::read_to_string(directory.join("status")).map_err(unreadable)?;
    let may = capabilities(&status);
    let has = |capability: u32| may & (1 << capability) != 0;
    // A process that connected as another user and is root by now has run a set-user-id program:
    // what it may is not the client's.
    let root = credentials.uid == 0;
    Ok(Peer {
        uid: credentials.uid,
        pid,
        netns: u32::try_from(netns).map_err(|_| "a namespace's number is too large")?,
        sees_holders: root
            && has(SYS_PTRACE)
            && (has(DAC_OVERRIDE) || has(DAC_READ_SEARCH))
            && namespace("pid")? == own.pid,
        sees_all_namespaces: root && has(SYS_ADMIN),
    })
}

/// The effective set in the text of /proc/PID/status; none if it is not there.
fn capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether a process has ended, reaped or not.
fn ended(process: &OwnedFd) -> bool {
    let mut poll = libc::pollfd {
        fd: process.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) != 0 }
}

/// getsockopt(2) at the level of sockets.
fn option<T>(stream: BorrowedFd<'_>, name: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: `value` has room for `length` bytes, and every caller pairs the option with its type.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd as _, unix::net::UnixStream};

    use super::*;

    #[test]
    fn capabilities_are_found_or_none() {
        assert_eq!(
            capabilities("Name:\tx\nCapEff:\t00000000a80425fb\nCapBnd:\t1\n"),
            0xa804_25fb
        );
        for text in ["", "CapEff:", "CapEff:\tzz", "CapPrm:\tff"] {
            assert_eq!(capabilities(text), 0, "{text:?}");
        }
    }

    #[test]
    fn we_are_known_to_ourselves() {
        let (here, _there) = UnixStream::pair().expect("a pair of sockets");
        let own = Own::read().expect("own namespaces");
        let peer = identify(here.as_fd(), &own).expect("ourselves");
        assert_eq!(peer.pid, std::process::id());
        let netns = fs::metadata("/proc/self/ns/net").expect("own namespace");
        assert_eq!(u64::from(peer.netns), netns.ino());
        let stranger = Own {
            user: own.user + 1,
            ..own
        };
        assert!(identify(here.as_fd(), &stranger).is_err());
        let elsewhere = Own {
            pid: own.pid + 1,
            ..own
        };
        let peer = identify(here.as_fd(), &elsewhere).expect("ourselves");
        assert!(!peer.sees_holders);
    }
}
