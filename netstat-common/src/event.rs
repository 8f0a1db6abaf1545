//! The records in the `EVENTS` ring. Each begins with its kind, a `u32`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A [`SockEvent`]: `inet_sock_set_state` of a TCP socket, before the state is stored.
pub const KIND_STATE: u32 = 1;
/// A [`DestroyEvent`]: `tcp_destroy_sock`; the address is free for another socket after it.
pub const KIND_DESTROY: u32 = 2;
/// A [`SockEvent`]: a timewait minisock's timer was started: it is (still) there.
pub const KIND_TW_START: u32 = 3;
/// A [`SockEvent`]: a timewait minisock's timer was taken out: expiry, kill or re-arm.
pub const KIND_TW_CANCEL: u32 = 4;
/// A [`SockEvent`]: a request socket's timer was started: it is (still) there.
pub const KIND_REQ_START: u32 = 5;
/// A [`SockEvent`]: a request socket's timer was taken out: expiry, drop or re-arm.
pub const KIND_REQ_CANCEL: u32 = 6;
/// A [`ProcEvent`]: a process was forked.
pub const KIND_FORK: u32 = 16;
/// A [`ProcEvent`]: a process called execve.
pub const KIND_EXEC: u32 = 17;
/// A [`ProcEvent`]: the main thread of a process ends.
pub const KIND_EXIT: u32 = 18;
/// A [`SeedRecord`]: a socket found by an iterator.
pub const KIND_SEED: u32 = 32;
/// A [`TablesRecord`]: hash tables that some network namespaces use.
pub const KIND_TABLES: u32 = 34;
/// A [`FdChunk`]: descriptors of one process.
pub const KIND_FDS: u32 = 33;

/// An [`EndEvent`]: what a full TCP socket had done when it closed.
pub const KIND_END: u32 = 48;

/// [`SockEvent::flags`]: the hook ran in process context by the nature of the transition, so
/// `tgid` and `comm` name the process that caused it.
pub const FLAG_PROCESS: u32 = 1;
/// [`SockEvent::flags`]: the current task is a kernel thread.
pub const FLAG_KTHREAD: u32 = 2;
/// [`SockEvent::flags`]: the second copy of the state hook tells it, which cannot always know
/// whether the first has: a repetition, if nothing came in between.
pub const FLAG_SECOND_COPY: u32 = 4;
/// [`SockEvent::flags`]: a minisock whose timer has run out (`expires <= jiffies`).
pub const FLAG_EXPIRED: u32 = 8;

/// Something happened to a TCP socket, a timewait minisock or a request socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockEvent {
    /// One of `KIND_STATE` to `KIND_REQ_CANCEL`.
    pub kind: u32,
    /// `FLAG_*` bits.
    pub flags: u32,
    /// `bpf_ktime_get_ns`: nanoseconds since boot, without suspend.
    pub ktime_ns: u64,
    /// Address of the kernel's `struct sock` (or minisock): its identity while it lives.
    pub skaddr: u64,
    /// Address of the listener of a request socket; else 0.
    pub listener: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Thread group id of the current task; the owner's only under `FLAG_PROCESS`.
    pub tgid: u32,
    /// Local address, network order, IPv4 as v4-mapped.
    pub saddr: [u8; 16],
    /// Remote address, network order, IPv4 as v4-mapped.
    pub daddr: [u8; 16],
    /// Local port, host order; 0 where none is chosen yet.
    pub sport: u16,
    /// Remote port, host order; 0 where there is no peer (children before Linux 6.18 too).
    pub dport: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// State before, by the kernel's number; 0 for minisocks.
    pub oldstate: u8,
    /// State after; for a timewait minisock its `tw_substate`.
    pub newstate: u8,
    /// `comm` of the current task, NUL padded, untrusted; zeros without `FLAG_PROCESS`.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<SockEvent>() == 96);

/// A full TCP socket is destroyed. What it was is known from its other events.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DestroyEvent {
    /// `KIND_DESTROY`.
    pub kind: u32,
    /// Zero.
    pub pad: u32,
    /// `bpf_ktime_get_ns`.
    pub ktime_ns: u64,
    /// As [`SockEvent::skaddr`].
    pub skaddr: u64,
}

const _: () = assert!(size_of::<DestroyEvent>() == 24);

/// Something happened to a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcEvent {
    /// `KIND_FORK`, `KIND_EXEC` or `KIND_EXIT`.
    pub kind: u32,
    /// Thread group id of the process (the child of a fork).
    pub tgid: u32,
    /// `bpf_ktime_get_ns`.
    pub ktime_ns: u64,
    /// Thread group id of the parent of a fork; else 0.
    pub parent: u32,
    /// Zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<ProcEvent>() == 24);

/// A socket that an iterator found.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SeedRecord {
    /// `KIND_SEED`.
    pub kind: u32,
    /// Zero.
    pub pad: u32,
    /// As [`SockEvent::skaddr`].
    pub skaddr: u64,
}

const _: () = assert!(size_of::<SeedRecord>() == 16);

/// The hash tables of TCP sockets that one or more network namespaces use.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TablesRecord {
    /// `KIND_TABLES`.
    pub kind: u32,
    /// Zero.
    pub pad: u32,
    /// Address of the buckets of connections.
    pub connections: u64,
    /// Address of the buckets of listeners.
    pub listeners: u64,
    /// Number of the last bucket of connections.
    pub connections_mask: u32,
    /// Number of the last bucket of listeners.
    pub listeners_mask: u32,
}

const _: () = assert!(size_of::<TablesRecord>() == 32);

/// How many descriptors fit in an [`FdChunk`].
pub const FDS: usize = 64;

/// Part of the descriptor table of a process's main thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FdChunk {
    /// `KIND_FDS`.
    pub kind: u32,
    /// Process id in the reader's PID namespace.
    pub pid: u32,
    /// Inode numbers of the sockets; 0 for a descriptor that is closed or no socket.
    pub inodes: [u64; FDS],
}

const _: () = assert!(size_of::<FdChunk>() == 8 + 8 * FDS);

/// What a full TCP socket knows of its connection when it goes to CLOSE. Comes right before the
/// [`KIND_STATE`] record of that change, for the log only. A counter that this kernel lacks is
/// [`ABSENT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EndEvent {
    /// `KIND_END`.
    pub kind: u32,
    /// `sk_err`: the error that ended the connection, 0 if none; 0 too where it is not known.
    pub error: u32,
    /// As [`SockEvent::skaddr`].
    pub skaddr: u64,
    /// Payload bytes sent, repeated ones included (Linux 4.19).
    pub bytes_sent: u64,
    /// Payload bytes sent again (Linux 4.19).
    pub bytes_retrans: u64,
    /// Sequence space that the peer acknowledged: SYN and FIN count as one byte each.
    pub bytes_acked: u64,
    /// Sequence space received in order: the FIN counts as one byte.
    pub bytes_received: u64,
    /// Segments sent again.
    pub total_retrans: u64,
    /// `skc_flags`: bit 1 (`SOCK_DONE`) says that the peer's FIN came.
    pub sock_flags: u64,
}

const _: () = assert!(size_of::<EndEvent>() == 64);

/// A number that the kernel does not have.
pub const ABSENT: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_pattern_of_the_right_length_decodes_and_no_other() {
        for byte in 0..=255u8 {
            let bytes = [byte; 600];
            let event = SockEvent::read_from_bytes(&bytes[..96]).expect("96 bytes");
            assert_eq!(event.as_bytes(), &bytes[..96]);
            let chunk = FdChunk::read_from_bytes(&bytes[..520]).expect("520 bytes");
            assert_eq!(chunk.as_bytes(), &bytes[..520]);
            for len in (0..200).filter(|len| *len != 96) {
                assert!(SockEvent::read_from_bytes(&bytes[..len]).is_err());
            }
            assert!(ProcEvent::read_from_bytes(&bytes[..24]).is_ok());
            assert!(SeedRecord::read_from_bytes(&bytes[..16]).is_ok());
        }
    }

    #[test]
    fn fields_stand_where_the_layout_says() {
        let mut bytes = [0u8; 96];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8;
        }
        let event = SockEvent::read_from_bytes(&bytes).expect("96 bytes");
        assert_eq!(event.kind, u32::from_ne_bytes([0, 1, 2, 3]));
        assert_eq!(
            event.skaddr,
            u64::from_ne_bytes([16, 17, 18, 19, 20, 21, 22, 23])
        );
        assert_eq!(event.saddr[0], 40);
        assert_eq!(event.daddr[15], 71);
        assert_eq!(event.sport, u16::from_ne_bytes([72, 73]));
        assert_eq!((event.oldstate, event.newstate), (78, 79));
        assert_eq!(event.comm[15], 95);
    }
}
