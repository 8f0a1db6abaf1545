//! What a refresh reads of one socket.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`SockRow::kind`]: not a listed socket (any more).
pub const ROW_GONE: u8 = 0;
/// [`SockRow::kind`]: a full socket.
pub const ROW_FULL: u8 = 1;
/// [`SockRow::kind`]: a timewait minisock.
pub const ROW_TIMEWAIT: u8 = 2;
/// [`SockRow::kind`]: a request socket.
pub const ROW_REQUEST: u8 = 3;

/// How many sockets one run of the refresh program reads.
pub const BATCH: usize = 1024;
/// How many sockets one run of the program reads that does without `bpf_loop`.
pub const FEW: usize = 8;
/// How many sockets' memory the refresh program asks for at once, before it reads them.
pub const GROUP: usize = 16;

const _: () = assert!(BATCH.is_multiple_of(GROUP));

/// Argument of the refresh program: timers are wanted, which stand on lines of memory of their own.
pub const WITH_TIMERS: u64 = 1;
/// Argument of the refresh program: the user is wanted.
pub const WITH_USER: u64 = 2;

/// Live fields of one socket, read from kernel memory at one moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockRow {
    /// Address of the function that a minisock's timer calls; 0 for a full socket.
    pub handler: u64,
    /// Inode number of the socket; 0 where it has none.
    pub inode: u64,
    /// Jiffies until the timer fires; negative if it is due. Zero, as all about timers, where
    /// [`WITH_TIMERS`] was not asked for.
    pub timer_jiffies: i64,
    /// Local address, network order, IPv4 as v4-mapped.
    pub saddr: [u8; 16],
    /// Remote address, network order, IPv4 as v4-mapped.
    pub daddr: [u8; 16],
    /// Inode number of the network namespace.
    pub netns: u32,
    /// User id in the initial user namespace; 0 where [`WITH_USER`] was not asked for.
    pub uid: u32,
    /// Recv-Q in bytes; accept-queue length of a listener.
    pub rx_queue: u32,
    /// Send-Q in bytes.
    pub tx_queue: u32,
    /// Local port, host order.
    pub sport: u16,
    /// Remote port, host order.
    pub dport: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// `ROW_*`.
    pub kind: u8,
    /// State by the kernel's number as /proc/net/tcp shows it.
    pub state: u8,
    /// Timer kind as /proc/net/tcp shows it: 0 off, 1 on, 2 keepalive, 3 timewait, 4 probe.
    pub timer: u8,
    /// Unrecovered retransmissions (SYN-ACK timeouts of a request socket).
    pub retransmits: u8,
    /// Unanswered probes.
    pub probes: u8,
    /// Zero.
    pub pad: [u8; 5],
    /// Socket cookie, 0 if none was made: tells a reused address apart.
    pub cookie: u64,
}

const _: () = assert!(size_of::<SockRow>() == 96);
