//! The sockets that exist at the start, from /proc: where the kernel has no iterator for them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use procfs::{
    FromReadSI as _, current_system_info,
    net::{TcpNetEntries, TcpNetEntry},
};

use crate::conn::types::{Conn, Endpoint, Kind, SockId, TcpState};

/// `AF_INET` and `AF_INET6`.
const FAMILIES: (u16, u16) = (2, 10);

/// A socket of /proc/net/tcp or tcp6, and its inode (0 if it has none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// What /proc tells of it; the identity is a number that the table replaces.
    pub conn: Conn,
    /// Inode number of its file.
    pub inode: u64,
}

/// Every TCP socket of our network namespace, `netns`, numbered from `first` on.
///
/// # Errors
/// /proc/net/tcp is missing or damaged. A kernel without IPv6 has no tcp6, which is no error.
pub fn tcp_sockets(netns: u32, first: u64) -> Result<Vec<Seed>> {
    let system = current_system_info();
    // /proc/net is the main thread's; a namespace is a thread's.
    let read = |name| TcpNetEntries::from_file(format!("/proc/thread-self/net/{name}"), system);
    let v4 = read("tcp").context("read /proc/net/tcp")?.0;
    let v6 = match read("tcp6") {
        Ok(rows) => rows.0,
        Err(procfs::ProcError::NotFound(_)) => Vec::new(),
        Err(error) => return Err(error).context("read /proc/net/tcp6"),
    };
    let v4 = v4.iter().map(|row| (FAMILIES.0, row));
    let v6 = v6.iter().map(|row| (FAMILIES.1, row));
    Ok((first..)
        .zip(v4.chain(v6))
        .map(|(number, (family, row))| seed(number, netns, family, row))
        .collect())
}

fn seed(number: u64, netns: u32, family: u16, row: &TcpNetEntry) -> Seed {
    let state = TcpState::from_kernel(row.state.to_u8());
    Seed {
        conn: Conn {
            id: SockId::Proc(number),
            kind: kind(state, row.inode),
            netns,
            family,
            local: endpoint(row.local_address),
            remote: endpoint(row.remote_address),
            state,
            since: None,
            owner: None,
            direction: None,
        },
        inode: row.inode,
    }
}

/// Which kernel object a row stands for. An orphan in FIN_WAIT2 is nearly always a minisock: only
/// one with a linger time over a minute is not.
fn kind(state: TcpState, inode: u64) -> Kind {
    match state {
        TcpState::TimeWait => Kind::TimeWait,
        TcpState::FinWait2 if inode == 0 => Kind::TimeWait,
        TcpState::SynRecv if inode == 0 => Kind::Request,
        _ => Kind::Full,
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    let addr = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    Endpoint {
        addr: addr.octets(),
        port: address.port(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_the_object_that_it_stands_for() {
        for (state, inode, expected) in [
            (TcpState::TimeWait, 0, Kind::TimeWait),
            (TcpState::FinWait2, 0, Kind::TimeWait),
            (TcpState::FinWait2, 7, Kind::Full),
            (TcpState::SynRecv, 0, Kind::Request),
            (TcpState::SynRecv, 7, Kind::Full),
            (TcpState::Established, 0, Kind::Full),
        ] {
            assert_eq!(kind(state, inode), expected, "{state} {inode}");
        }
    }

    #[test]
    fn addresses_have_one_form() {
        let v4 = endpoint("10.0.0.1:80".parse().expect("address"));
        let v6 = endpoint("[::ffff:10.0.0.1]:80".parse().expect("address"));
        assert_eq!(v4, v6);
    }
}
