//! The words of the table.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// State of a TCP connection, in the kernel's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// 1
    Established,
    /// 2
    SynSent,
    /// 3
    SynRecv,
    /// 4
    FinWait1,
    /// 5
    FinWait2,
    /// 6
    TimeWait,
    /// 7
    Close,
    /// 8
    CloseWait,
    /// 9
    LastAck,
    /// 10
    Listen,
    /// 11
    Closing,
    /// Any other number: the kernel has none today.
    Unknown(u8),
}

impl TcpState {
    /// The eleven states, in the kernel's order from 1.
    pub const ALL: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// From the kernel's number. 12, a request socket, is SYN_RECV to everybody outside.
    pub fn from_kernel(number: u8) -> Self {
        match number {
            12 => Self::SynRecv,
            1..=11 => Self::ALL[usize::from(number) - 1],
            other => Self::Unknown(other),
        }
    }

    /// The kernel's number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unknown(number) => number,
            known => (1..=11)
                .find(|number| Self::from_kernel(*number) == known)
                .unwrap_or(0),
        }
    }

    /// netstat's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::Unknown(_) => "UNKNOWN",
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Identity of a socket while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SockId {
    /// Address of the kernel's object. Never printed.
    Kernel(u64),
    /// A socket known from /proc only: nobody told its address. The number is arbitrary.
    Proc(u64),
}

impl SockId {
    /// The kernel's address, where it is known.
    pub fn kernel(self) -> Option<u64> {
        match self {
            Self::Kernel(address) => Some(address),
            Self::Proc(_) => None,
        }
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Network order, IPv4 as v4-mapped.
    pub addr: [u8; 16],
    /// Host order; 0 where there is none.
    pub port: u16,
}

impl Endpoint {
    /// No address and no port.
    pub const NONE: Self = Self {
        addr: [0; 16],
        port: 0,
    };

    /// The address as people write it: v4-mapped as IPv4.
    pub fn ip(&self) -> IpAddr {
        Ipv6Addr::from(self.addr).to_canonical()
    }

    /// Whether the address is `0.0.0.0` or `::`.
    pub fn is_any(&self) -> bool {
        self.ip().is_unspecified()
    }
}

/// Kernel time: nanoseconds since boot, without suspend (`CLOCK_MONOTONIC`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ktime(pub u64);

impl Ktime {
    /// Nanoseconds from `earlier` to `self`; 0 if the order is the other way round.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How the owner of a socket is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provenance {
    /// The process was seen to connect, listen, shut down or close.
    Seen,
    /// Inherited from the listener: the socket is not accepted, or nobody saw it accepted.
    Listener,
    /// Found in the descriptor tables at the start.
    Seeded,
    /// Found in the descriptor tables later on.
    Resolved,
}

impl Provenance {
    /// The word in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Listener => "listener",
            Self::Seeded => "seeded",
            Self::Resolved => "resolved",
        }
    }
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The socket's own.
    Local,
    /// The peer's.
    Remote,
}

impl Side {
    /// The word in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The peer called.
    In,
    /// The socket called.
    Out,
}

impl Direction {
    /// The word in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// FINs went both ways.
    Fin,
    /// This side sent a RST: closed with unread data or without lingering, never accepted,
    /// aborted, or data came after the close.
    RstSent,
    /// The peer sent a RST.
    RstReceived,
    /// The call was refused: a RST, or an ICMP message that the port is unreachable.
    Refused,
    /// Nobody answered: retransmissions, keepalive probes or FIN_WAIT2 ran out.
    Timeout,
    /// Retransmissions ran out, and ICMP said that there is no way.
    Unreachable,
    /// The process closed a listener, or a call that nobody had answered yet. Nothing was sent.
    Closed,
    /// Another error: see [`Tally::errno`].
    Error,
}

impl Why {
    /// The word in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::RstSent => "rst-sent",
            Self::RstReceived => "rst-received",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Closed => "closed",
            Self::Error => "error",
        }
    }
}

/// What a full socket had done when it closed. `None` where the kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Payload bytes sent, each counted once (Linux 4.19).
    pub sent: Option<u64>,
    /// Sequence space that the peer acknowledged: as `ss` shows it, SYN and FIN count one each.
    pub acked: Option<u64>,
    /// Payload bytes received in order.
    pub received: Option<u64>,
    /// Segments sent again, SYNs included.
    pub retransmits: Option<u64>,
    /// `sk_err` at the end; 0 if there was no error.
    pub errno: u32,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Nanoseconds since it opened, TIME_WAIT included; `None` if that was before us.
    pub life_ns: Option<u64>,
    /// Who closed first; `None` if nobody did or it is not known.
    pub closed_by: Option<Side>,
    /// Why; `None` if it is not known.
    pub why: Option<Why>,
    /// What it carried; `None` where there was no full socket, or nobody read it.
    pub tally: Option<Tally>,
}

/// Whether a process id is still that of the process that it was told for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// As far as known.
    Current,
    /// Another process has it.
    Past,
    /// The same, and the name is as good as it can be.
    PastAndNamed,
}

/// Who owns a socket, or owned it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id (the kernel's tgid).
    pub pid: u32,
    /// `comm` at that moment, NUL padded, untrusted; zeros if it was not seen.
    pub comm: [u8; 16],
    /// How it is known.
    pub provenance: Provenance,
    /// Whether the id is still that process's.
    pub tenure: Tenure,
}

impl Conn {
    /// Whether it is between the same ends as `other`, of the same network namespace.
    #[must_use]
    pub fn is_between(&self, other: &Self) -> bool {
        let ends = |conn: &Self| (conn.netns, conn.family, conn.local, conn.remote);
        ends(self) == ends(other)
    }

    /// Whether its owner is only its listener's: nobody has accepted it, as far as known.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        let provenance = self.owner.map(|owner| owner.provenance);
        provenance == Some(Provenance::Listener)
    }
}

impl Owner {
    /// Whether the process is gone and another one has its id: /proc tells nothing of it.
    #[must_use]
    pub fn is_past(&self) -> bool {
        self.tenure != Tenure::Current
    }

    /// Gives the last past owner of this id the name that it was known by, as far as there is room.
    pub fn name_if_past(&mut self, pid: u32, name: Option<&[u8]>) {
        if self.pid != pid || self.tenure != Tenure::Past {
            return;
        }
        self.tenure = Tenure::PastAndNamed;
        if let Some(name) = name {
            self.comm = [0; 16];
            for (to, from) in self.comm.iter_mut().zip(name) {
                *to = *from;
            }
        }
    }
}

/// What kind of kernel object carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `struct tcp_sock`.
    Full,
    /// `struct inet_timewait_sock`: TIME_WAIT, or FIN_WAIT2 of an orphan.
    TimeWait,
    /// `struct request_sock`: SYN_RECV.
    Request,
}

/// A socket in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conn {
    /// Identity.
    pub id: SockId,
    /// Kernel object.
    pub kind: Kind,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Local end.
    pub local: Endpoint,
    /// Remote end; [`Endpoint::NONE`] for a listener.
    pub remote: Endpoint,
    /// State after the last event.
    pub state: TcpState,
    /// When it entered the state; `None` if that was before us.
    pub since: Option<Ktime>,
    /// Owner, or last owner.
    pub owner: Option<Owner>,
    /// Who called whom; `None` for a listener, and where it was before us.
    pub direction: Option<Direction>,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Ktime,
    /// The connection, in its new state. At the end of its life the state is CLOSE.
    pub conn: Conn,
    /// State before; `None` if it is not known.
    pub from: Option<TcpState>,
    /// Nanoseconds in that state; `None` if its begin was not seen.
    pub in_from_ns: Option<u64>,
    /// The sum of the connection, at its end.
    pub end: Option<End>,
    /// Nobody saw it: what was seen later says that it must have happened, at or before `at`, and
    /// maybe with other changes in between.
    pub inferred: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_numbered_as_in_the_kernel() {
        assert_eq!(TcpState::from_kernel(1), TcpState::Established);
        assert_eq!(TcpState::from_kernel(7), TcpState::Close);
        assert_eq!(TcpState::from_kernel(11), TcpState::Closing);
        assert_eq!(TcpState::from_kernel(12), TcpState::SynRecv);
        assert_eq!(TcpState::from_kernel(0), TcpState::Unknown(0));
        assert_eq!(TcpState::from_kernel(200).name(), "UNKNOWN");
    }
}
