//! Events that contradict the table: something happened in between that nobody told.
//!
//! What is certain is told as a change of its own, marked [`Change::inferred`], so that the changes
//! of a connection stay one chain; its time and its way are not known.

use netstat_common::event::SockEvent;

use super::{
    table::{ConnTable, Entry, conn_of_event, tuple},
    types::{Change, Conn, End, Kind, Ktime, SockId, TcpState},
};

/// Whose sockets that are older than the tracer are in the table. Of the others, an event about an
/// unknown socket is no surprise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Older {
    /// Nobody's for sure: the table is not seeded yet, or from /proc.
    #[default]
    Unknown,
    /// Those of one network namespace.
    Of(u32),
    /// Those of all network namespaces.
    All,
}

/// What the table may take for granted. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Every change of state is sent, not only births and ends.
    pub every_change: bool,
    /// Which older sockets it holds.
    pub older: Older,
    /// Begins and ends of half-open connections are each told once: not in a SYN flood, and not by
    /// every hook.
    pub half_open: bool,
}

/// How many changes were inferred since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// All of them.
    pub all: u64,
    /// Among them those of request sockets.
    pub half_open: u64,
}

impl ConnTable {
    /// Sets what may be taken for granted from now on.
    pub fn expect(&mut self, expected: Expected) {
        self.expected = expected;
    }

    /// What may be taken for granted.
    #[must_use]
    pub fn expected(&self) -> Expected {
        self.expected
    }

    /// The changes that were inferred.
    #[must_use]
    pub fn gaps(&self) -> Gaps {
        self.gaps
    }

    /// Among them those that an event has shown: something was lost, and more than that may be.
    #[must_use]
    pub fn contradictions(&self) -> Gaps {
        self.contradictions
    }

    /// Whether a socket of this namespace that the table does not have was born unseen.
    pub(super) fn knows_older(&self, netns: u32) -> bool {
        match self.expected.older {
            Older::Unknown => false,
            Older::Of(known) => known == netns,
            Older::All => true,
        }
    }

    /// Tells that a connection is in the state of `conn` now, by a way that nobody saw.
    pub(super) fn infer(
        &mut self,
        at: Ktime,
        conn: Conn,
        from: Option<TcpState>,
        end: Option<End>,
        changes: &mut Vec<Change>,
    ) {
        self.gaps.all += 1;
        self.gaps.half_open += u64::from(conn.kind == Kind::Request);
        changes.push(Change {
            at,
            conn: Conn {
                since: None,
                ..conn
            },
            from,
            in_from_ns: None,
            end,
            inferred: true,
        });
    }

    /// Takes out a socket that is gone without an event of its end. One whose timer was taken out
    /// ended then.
    pub(super) fn end_unseen(&mut self, id: SockId, at: Ktime, changes: &mut Vec<Change>) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        if let Some(cancelled) = entry.cancelled {
            if self.may_have_child(id) {
                self.rehome(id);
            } else {
                self.end(id, cancelled, changes);
            }
            return;
        }
        let told = entry.told();
        let Some(entry) = self.remove(id).filter(|_| told) else {
            return;
        };
        self.infer_end(&entry, at, changes);
    }

    /// Keeps a request in limbo whose address another object has by now.
    fn rehome(&mut self, id: SockId) {
        if let Some(mut entry) = self.remove(id) {
            let cancelled = entry.cancelled.take();
            entry.conn.id = SockId::Proc(self.proc_seeds);
            self.proc_seeds += 1;
            let home = entry.conn.id;
            self.insert(entry);
            if let Some(at) = cancelled {
                self.enter_limbo(home, at);
            }
        }
    }

    /// Whether /proc alone has told of it, maybe of an older state. Requests without a home have
    /// such a number too.
    pub(super) fn is_from_proc(&self, id: SockId) -> bool {
        let limbo = |entry: &Entry| entry.cancelled.is_some();
        matches!(id, SockId::Proc(_)) && !self.entries.get(&id).is_some_and(limbo)
    }

    /// Tells the unseen end of a connection whose endpoints another has by now. Its object goes
    /// with its own event.
    pub(super) fn displace(&mut self, id: SockId, at: Ktime, changes: &mut Vec<Change>) {
        if self.end_in_limbo(id, changes) {
            return;
        }
        let Some(entry) = self.entries.get(&id).cloned() else {
            return;
        };
        self.supersede(id);
        if entry.told() {
            self.infer_end(&entry, at, changes);
        }
    }

    fn infer_end(&mut self, entry: &Entry, at: Ktime, changes: &mut Vec<Change>) {
        let from = entry.conn.state;
        let end = entry.history.unseen_end(&entry.conn);
        let conn = Conn {
            state: TcpState::Close,
            ..entry.conn
        };
        self.infer(at, conn, Some(from), Some(end), changes);
    }
}

/// A state event, and what it says of itself.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) event: &'a SockEvent,
    /// State before; CLOSE for a child, whose own was copied from the listener.
    pub(super) old: TcpState,
    pub(super) new: TcpState,
    /// A child of a listener is born.
    pub(super) child: bool,
    /// A connection or a listener begins.
    pub(super) opens: bool,
    /// The first copy of the hook may have told it already.
    pub(super) repeated: bool,
}

/// Whether a state event is about the life that the table knows at this address. Otherwise that
/// one has ended unseen.
pub(super) fn same_life(known: &Conn, step: &Step<'_>) -> bool {
    let seen = conn_of_event(known.id, Kind::Full, step.event);
    if known.kind != Kind::Full || known.netns != seen.netns {
        return false;
    }
    if step.repeated && known.state == step.new {
        return !step.opens
            || (known.local.port == seen.local.port
                && (known.remote == seen.remote || step.new == TcpState::Listen));
    }
    if step.opens {
        // An object that is closed and not freed yet may connect again; a child is a new object.
        return !step.child && known.state == TcpState::Close;
    }
    !moved(known, &seen) && leads_to(known.state, step.old)
}

/// Whether two sightings have different endpoints. A socket that calls has not chosen its own yet,
/// a closed one has those that are left over, a child may not know its peer.
pub(super) fn moved(known: &Conn, seen: &Conn) -> bool {
    let remote = known.remote.port != 0 && seen.remote.port != 0;
    let local = known.local.port != 0 && seen.local.port != 0;
    match known.state {
        TcpState::Close | TcpState::Unknown(_) => false,
        TcpState::SynSent => remote && known.remote != seen.remote,
        _ if local && known.local.port != seen.local.port => true,
        TcpState::Listen => false,
        _ => remote && local && tuple(known) != tuple(seen),
    }
}

/// Whether a full socket can come from one state to the other without being closed and opened.
pub(super) fn leads_to(from: TcpState, to: TcpState) -> bool {
    use TcpState::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv,
        SynSent, TimeWait, Unknown,
    };
    if from == to {
        return true;
    }
    match (from, to) {
        (Unknown(_), _) | (_, Unknown(_)) => true,
        (Close, _) => false,
        (_, Close) => true,
        (Listen, _) | (_, Listen) => false,
        (_, SynSent) => false,
        (_, SynRecv) => from == SynSent,
        (_, Established) => matches!(from, SynSent | SynRecv),
        (_, FinWait1 | CloseWait) => matches!(from, SynSent | SynRecv | Established),
        (_, FinWait2 | Closing) => matches!(from, SynSent | SynRecv | Established | FinWait1),
        (_, LastAck) => matches!(from, SynSent | SynRecv | Established | CloseWait),
        // Of minisocks only.
        (_, TimeWait) => !matches!(from, CloseWait | LastAck),
    }
}
