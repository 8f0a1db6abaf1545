//! Names that both sides must spell alike: maps and globals of the BPF object.

/// Ring buffer of all records, one for all CPUs.
pub const EVENTS: &str = "EVENTS";
/// Per-CPU counters, indexed by [`crate::lost::Counter`].
pub const COUNTERS: &str = "COUNTERS";
/// Socket addresses that a refresh reads, one `u64` each; mapped by user space.
pub const POINTERS: &str = "POINTERS";
/// What a refresh found, one [`crate::row::SockRow`] per pointer; mapped by user space.
pub const ROWS: &str = "ROWS";
/// One [`crate::walk::WalkState`], set before a walk; mapped by user space.
pub const WALK: &str = "WALK";
/// The `u64` words of [`crate::control`]; mapped by user space.
pub const CONTROL: &str = "CONTROL";
/// What a pass over the UDP or Unix sockets was told and how it ended, one
/// [`crate::listed::Pass`]; mapped by user space.
pub const PASS: &str = "PASS";
/// UDP sockets of a pass, one [`crate::listed::UdpSock`] each; mapped by user space.
pub const UDP_SOCKS: &str = "UDP_SOCKS";
/// Unix sockets of a pass, one [`crate::listed::UnixSock`] each; mapped by user space.
pub const UNIX_SOCKS: &str = "UNIX_SOCKS";
