//! The rows that netstat prints, as values. Whoever reads them (/proc, the live table) makes these.

use std::net::IpAddr;

/// A row of /proc/net/{tcp,udp,udplite,raw}{,6}, or of the live table.
///
/// The integers have the widths that netstat scans them with, so that fixtures with impossible
/// values print as they do there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InetRow {
    /// Local address. A v4-mapped address of a v6 socket stays `IpAddr::V6`.
    pub local: IpAddr,
    /// Local port, host byte order; the IP protocol number for raw sockets.
    pub local_port: i32,
    /// Remote address, in the same family as `local`.
    pub remote: IpAddr,
    /// Remote port, host byte order; 0 where there is no peer.
    pub remote_port: i32,
    /// State by the kernel's number: 1 ESTABLISHED to 11 CLOSING, 3 also for request sockets.
    pub state: i32,
    /// The kernel's tx_queue in bytes: Send-Q.
    pub tx_queue: u64,
    /// The kernel's rx_queue in bytes: Recv-Q.
    pub rx_queue: u64,
    /// Timer kind: 0 off, 1 on, 2 keepalive, 3 timewait, 4 probe.
    pub timer: i32,
    /// Time until the timer fires, in USER_HZ ticks (1/100 s).
    pub timer_ticks: u64,
    /// Unrecovered retransmissions.
    pub retransmits: u64,
    /// Owner's uid as netstat scans it: signed.
    pub uid: i32,
    /// Unanswered zero-window probes (netstat's third number in the timer cell).
    pub probes: i32,
    /// Inode of the socket's file; 0 where there is none.
    pub inode: u64,
}

/// A row of /proc/net/unix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixRow {
    /// Reference count.
    pub refcount: i64,
    /// Protocol field; 0 prints as `unix`, anything else as `??`.
    pub protocol: i64,
    /// `__SO_ACCEPTCON` (0x10000) and the other flag bits.
    pub flags: u64,
    /// Socket type: 1 STREAM, 2 DGRAM, 3 RAW, 4 RDM, 5 SEQPACKET.
    pub kind: i64,
    /// `socket_state`: 0 FREE to 4 DISCONNECTING.
    pub state: i64,
    /// Inode of the socket's file; 0 where there is none, `None` if the kernel does not say.
    pub inode: Option<u64>,
    /// Path as the reference scans it: cut at white space; bytes, untrusted.
    pub path: Vec<u8>,
}
