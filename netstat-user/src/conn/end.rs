//! The end of a connection: how long it lived, what it carried, who closed it and why.

use netstat_common::event::{ABSENT, EndEvent};

use super::{
    table::{ConnTable, tuple},
    types::{Conn, End, Kind, Ktime, Side, SockId, Tally, TcpState, Why},
};

/// `SOCK_DONE` of `enum sock_flags` (include/net/sock.h): the peer's FIN came.
const SOCK_DONE: u64 = 1 << 1;

/// Numbers of `include/uapi/asm-generic/errno*.h`, which x86 and arm64 share.
mod errno {
    pub(super) const EPIPE: u32 = 32;
    pub(super) const ENETDOWN: u32 = 100;
    pub(super) const ENETUNREACH: u32 = 101;
    pub(super) const ECONNABORTED: u32 = 103;
    pub(super) const ECONNRESET: u32 = 104;
    pub(super) const ETIMEDOUT: u32 = 110;
    pub(super) const ECONNREFUSED: u32 = 111;
    pub(super) const EHOSTDOWN: u32 = 112;
    pub(super) const EHOSTUNREACH: u32 = 113;
}

/// What the table remembers of a connection for the time of its end.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// When it opened; `None` if that was before us.
    pub(super) born: Option<Ktime>,
    /// What its full socket told when it closed.
    pub(super) tally: Option<Box<Tally>>,
    /// The last removal of its minisock's timer was an expiry.
    pub(super) expired: bool,
}

impl History {
    /// Of a connection that opens now.
    pub(super) fn born(at: Ktime) -> Self {
        Self {
            born: Some(at),
            ..Self::default()
        }
    }

    /// Sums up a connection that leaves `from` for good.
    pub(super) fn end(&self, conn: &Conn, from: TcpState, at: Ktime) -> End {
        let tally = self.tally.as_deref().copied();
        let why = match conn.kind {
            Kind::Full => why(from, tally),
            Kind::TimeWait if from == TcpState::TimeWait => Some(Why::Fin),
            // A FIN_WAIT2 whose peer never closed, and a request whose SYN-ACK nobody answered.
            // A minisock that goes in another way does not tell what came.
            Kind::TimeWait | Kind::Request => self.expired.then_some(Why::Timeout),
        };
        End {
            life_ns: self.born.map(|born| at.since(born)),
            closed_by: closer(from, why),
            why,
            tally,
        }
    }

    /// The sum of a connection that was last seen in the state of `conn` and has ended since.
    pub(super) fn unseen_end(&self, conn: &Conn) -> End {
        let why =
            (conn.kind == Kind::TimeWait && conn.state == TcpState::TimeWait).then_some(Why::Fin);
        End {
            life_ns: None,
            closed_by: closer(conn.state, why),
            why,
            tally: self.tally.as_deref().copied(),
        }
    }
}

impl ConnTable {
    /// Takes in what a full socket has done. Its change to CLOSE follows.
    pub fn apply_end(&mut self, event: &EndEvent) {
        let id = SockId::Kernel(event.skaddr);
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        // The minisock that has taken the connection over tells its end.
        let heir = if entry.superseded {
            self.tuples.get(&tuple(&entry.conn)).copied()
        } else {
            Some(id)
        };
        if let Some(entry) = heir.and_then(|heir| self.entries.get_mut(&heir)) {
            entry.history.tally = Some(Box::new(tally(event)));
        }
    }
}

fn tally(event: &EndEvent) -> Tally {
    let known = |value: u64| (value != ABSENT).then_some(value);
    let fin = known(event.sock_flags).is_some_and(|flags| flags & SOCK_DONE != 0);
    let repeated = known(event.bytes_retrans);
    Tally {
        sent: known(event.bytes_sent)
            .zip(repeated)
            .map(|(sent, repeated)| sent.saturating_sub(repeated)),
        acked: known(event.bytes_acked),
        // The FIN took one number of the sequence.
        received: known(event.bytes_received).map(|bytes| bytes.saturating_sub(u64::from(fin))),
        retransmits: known(event.total_retrans),
        errno: event.error,
    }
}

/// Why a full socket went from a state to CLOSE; `None` where its error is not known.
fn why(from: TcpState, tally: Option<Tally>) -> Option<Why> {
    if from == TcpState::Listen {
        return Some(Why::Closed);
    }
    Some(match tally?.errno {
        // The kernel sets EPIPE in CLOSE_WAIT, ECONNRESET elsewhere (`tcp_reset`).
        errno::ECONNRESET | errno::EPIPE => Why::RstReceived,
        errno::ECONNREFUSED => Why::Refused,
        errno::ETIMEDOUT => Why::Timeout,
        errno::ENETDOWN | errno::ENETUNREACH | errno::EHOSTDOWN | errno::EHOSTUNREACH => {
            Why::Unreachable
        }
        // An aborted call: there was nobody to send a RST to.
        0 | errno::ECONNABORTED if from == TcpState::SynSent => Why::Closed,
        errno::ECONNABORTED => Why::RstSent,
        0 => match from {
            TcpState::LastAck | TcpState::Closing | TcpState::TimeWait => Why::Fin,
            // No FIN and no error: the socket was closed with unread data, without lingering,
            // before it was accepted, or data came after it was closed. All of these send a RST.
            TcpState::Established
            | TcpState::SynRecv
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::CloseWait => Why::RstSent,
            TcpState::SynSent | TcpState::Listen | TcpState::Close => Why::Closed,
            TcpState::Unknown(_) => return None,
        },
        _ => Why::Error,
    })
}

/// Whose FIN or RST was the first. A closing state tells it alone: the states of the side that
/// closes first and of the other have none in common.
fn closer(from: TcpState, why: Option<Why>) -> Option<Side> {
    match from {
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::TimeWait => {
            Some(Side::Local)
        }
        TcpState::CloseWait | TcpState::LastAck => Some(Side::Remote),
        _ => match why? {
            Why::RstSent | Why::Closed => Some(Side::Local),
            Why::RstReceived | Why::Refused => Some(Side::Remote),
            Why::Fin | Why::Timeout | Why::Unreachable | Why::Error => None,
        },
    }
}
