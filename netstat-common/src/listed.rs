//! What the iterators over UDP and Unix sockets write: whole rows, since these sockets have no
//! states whose changes would tell of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest name in a `struct sockaddr_un`, bytes.
pub const SUN_PATH: usize = 108;

/// What one pass is told, and how it ended.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Pass {
    /// Told: hash buckets before this one are passed over.
    pub from: u32,
    /// Told: sockets without a name of their own are passed over (Unix).
    pub named_only: u32,
    /// Answered: sockets written.
    pub count: u32,
    /// Answered: 1 if there were more sockets than room.
    pub full: u32,
}

const _: () = assert!(size_of::<Pass>() == 16);

/// A UDP socket, as /proc/net/udp and udp6 show it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct UdpSock {
    /// Address of the kernel's `struct sock`: its identity while it lives.
    pub skaddr: u64,
    /// `skaddr` of the socket of this network namespace before this one in its chain of the table by
    /// port; at the head of a chain a number that grows from chain to chain. /proc lists chain by
    /// chain.
    pub before: u64,
    /// Inode number of the socket; 0 where it has none.
    pub inode: u64,
    /// Local address, network order, IPv4 as v4-mapped.
    pub saddr: [u8; 16],
    /// Remote address, network order, IPv4 as v4-mapped.
    pub daddr: [u8; 16],
    /// Bucket of the iterator's hash table.
    pub bucket: u32,
    /// User id in the reader's user namespace.
    pub uid: u32,
    /// Recv-Q in bytes.
    pub rx_queue: u32,
    /// Send-Q in bytes.
    pub tx_queue: u32,
    /// Local port, host order.
    pub sport: u16,
    /// Remote port, host order.
    pub dport: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// State by the kernel's number: 1 if connected, else 7.
    pub state: u8,
    /// Zero.
    pub pad: u8,
}

const _: () = assert!(size_of::<UdpSock>() == 80);

/// A Unix socket, as /proc/net/unix shows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct UnixSock {
    /// Address of the kernel's `struct sock`: its identity while it lives.
    pub skaddr: u64,
    /// Inode number of the socket; 0 where it has none.
    pub inode: u64,
    /// Bucket of the kernel's hash table.
    pub bucket: u32,
    /// References, without the iterator's own.
    pub references: u32,
    /// Bytes of `path` that are the name, with the NUL that ends a path (which may be the 109th);
    /// 0 without a name. Clamp it before use.
    pub name_len: u32,
    /// Type: 1 STREAM, 2 DGRAM, 5 SEQPACKET.
    pub kind: u16,
    /// The kernel's state: 1 connected, 7 not, 10 listening.
    pub state: u8,
    /// 1 if a `struct socket` (a descriptor, past or in flight) belongs to it.
    pub has_socket: u8,
    /// The name; it begins with NUL if it is an abstract one. Untrusted bytes.
    pub path: [u8; SUN_PATH],
    /// Zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<UnixSock>() == 144);
