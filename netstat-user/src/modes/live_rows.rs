//! What the kernel's sockets hold, as rows.

use std::net::IpAddr;

use netstat_common::{
    listed::{UdpSock, UnixSock},
    row::SockRow,
};

use crate::view::{
    row::{InetRow, UnixRow},
    scan::Scan,
};

/// `AF_INET6`.
pub(super) const AF_INET6: u16 = 10;
/// Nanoseconds of a USER_HZ tick.
const USER_TICK_NS: u64 = 10_000_000;
/// `__SO_ACCEPTCON` of `include/uapi/linux/net.h`.
const ACCEPTCON: u64 = 0x10000;
/// `TCP_ESTABLISHED` and `TCP_LISTEN`, which Unix sockets have too.
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

pub(super) fn inet_row(row: &SockRow, tick_ns: u64) -> InetRow {
    let v6 = row.family == AF_INET6;
    InetRow {
        local: address(row.saddr, v6),
        local_port: i32::from(row.sport),
        remote: address(row.daddr, v6),
        remote_port: i32::from(row.dport),
        state: i32::from(row.state),
        tx_queue: u64::from(row.tx_queue),
        rx_queue: u64::from(row.rx_queue),
        timer: i32::from(row.timer),
        timer_ticks: u64::try_from(row.timer_jiffies)
            .unwrap_or(0)
            .saturating_mul(tick_ns)
            / USER_TICK_NS,
        retransmits: u64::from(row.retransmits),
        uid: row.uid.cast_signed(),
        probes: i32::from(row.probes),
        inode: row.inode,
    }
}

fn address(bytes: [u8; 16], v6: bool) -> IpAddr {
    let [.., a, b, c, d] = bytes;
    if v6 {
        IpAddr::from(bytes)
    } else {
        IpAddr::from([a, b, c, d])
    }
}

pub(super) fn udp_row(sock: &UdpSock) -> InetRow {
    let v6 = sock.family == AF_INET6;
    InetRow {
        local: address(sock.saddr, v6),
        local_port: i32::from(sock.sport),
        remote: address(sock.daddr, v6),
        remote_port: i32::from(sock.dport),
        state: i32::from(sock.state),
        tx_queue: u64::from(sock.tx_queue),
        rx_queue: u64::from(sock.rx_queue),
        timer: 0,
        timer_ticks: 0,
        retransmits: 0,
        uid: sock.uid.cast_signed(),
        probes: 0,
        inode: sock.inode,
    }
}

/// States as `include/uapi/linux/net.h` numbers them: 1 unconnected, 2 connecting, 3 connected,
/// 4 disconnecting.
pub(super) fn unix_row(sock: &UnixSock) -> UnixRow {
    UnixRow {
        refcount: i64::from(sock.references),
        protocol: 0,
        flags: if sock.state == LISTEN { ACCEPTCON } else { 0 },
        kind: i64::from(sock.kind),
        state: match (sock.has_socket != 0, sock.state == ESTABLISHED) {
            (true, true) => 3,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 4,
        },
        inode: Some(sock.inode),
        path: path(sock),
    }
}

/// The name as netstat reads it from /proc: NULs of an abstract one as `@`, cut at white space.
fn path(sock: &UnixSock) -> Vec<u8> {
    let mut len = sock.name_len as usize;
    // The NUL that ends a path is not shown.
    if sock.path[0] != 0 {
        len = len.saturating_sub(1);
    }
    let name = &sock.path[..len.min(sock.path.len())];
    let shown: Vec<u8> = name
        .iter()
        .map(|&byte| if byte == 0 { b'@' } else { byte })
        .take_while(|&byte| byte != b'\n')
        .collect();
    Scan::new(&shown).word().unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::FromZeros as _;

    use super::*;

    fn named(name: &[u8]) -> UnixSock {
        let mut sock = UnixSock::new_zeroed();
        sock.name_len = name.len() as u32;
        let kept = name.len().min(sock.path.len());
        sock.path[..kept].copy_from_slice(&name[..kept]);
        sock
    }

    #[test]
    fn names_are_as_proc_and_netstat_show_them() {
        for (name, shown) in [
            (b"".as_slice(), b"".as_slice()),
            (b"/run/x\0", b"/run/x"),
            (b"/run/a b\0", b"/run/a"),
            (b" /x\0", b"/x"),
            (b"\n/x\0", b""),
            (b"/x\n1: 3 0\0", b"/x"),
            (b"\0abstract\0\0", b"@abstract@@"),
            (b"\0", b"@"),
        ] {
            assert_eq!(path(&named(name)), shown, "{name:?}");
        }
        let longest = [[b'p'; 108].as_slice(), b"\0"].concat();
        assert_eq!(path(&named(&longest)), [b'p'; 108]);
    }

    #[test]
    fn states_are_those_of_proc() {
        let row = |state, has_socket| {
            let row = unix_row(&UnixSock {
                state,
                has_socket,
                ..named(b"")
            });
            (row.state, row.flags)
        };
        assert_eq!(row(10, 1), (1, 0x10000));
        assert_eq!(row(7, 1), (1, 0));
        assert_eq!(row(1, 1), (3, 0));
        assert_eq!(row(1, 0), (2, 0));
        assert_eq!(row(7, 0), (4, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_of_the_kernel_give_a_path_without_blanks(name: Vec<u8>, len: u32) {
            let sock = UnixSock { name_len: len, ..named(&name) };
            prop_assert!(!path(&sock).iter().any(u8::is_ascii_whitespace));
        }
    }
}
