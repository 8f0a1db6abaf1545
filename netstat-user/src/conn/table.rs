//! The table.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::quality::RandomState;
use netstat_common::{
    event::{
        KIND_DESTROY, KIND_REQ_CANCEL, KIND_REQ_START, KIND_STATE, KIND_TW_CANCEL, KIND_TW_START,
        SockEvent,
    },
    row::{ROW_REQUEST, ROW_TIMEWAIT, SockRow},
};
use rustc_hash::FxHashMap;

use super::{
    end::History,
    entries::Entries,
    gaps::{Expected, Gaps},
    types::{Change, Conn, Endpoint, Kind, Ktime, SockId, TcpState},
};

/// How long a minisock whose timer was taken out may still come back.
///
/// A re-armed timer is taken out and started again within microseconds on one CPU, a request
/// socket that repeats its SYN-ACK within tens of them; between the two events other CPUs' records
/// may come. A killed minisock is told dead after this time.
pub const LIMBO_NS: u64 = 5_000_000;

/// How long the end of a request may wait for a child that does not know its peer yet. That takes
/// microseconds, unless the processor is taken from a virtual machine meanwhile.
const NAMELESS_NS: u64 = 1_000_000_000;

/// A connection and what the fold must remember of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) conn: Conn,
    /// Another object carries the connection on: this one's end is not the connection's.
    pub(super) superseded: bool,
    /// A minisock whose timer was taken out, and when.
    pub(super) cancelled: Option<Ktime>,
    /// A child whose peer the kernel had not filled in yet (before 6.18): not reported so far.
    pub(super) unannounced: bool,
    /// From an iterator, not refreshed yet.
    pub(super) bare: bool,
    /// For the end of the connection.
    pub(super) history: History,
}

impl Entry {
    pub(super) fn new(conn: Conn) -> Self {
        Self {
            conn,
            superseded: false,
            cancelled: None,
            unannounced: false,
            bare: false,
            history: History::default(),
        }
    }

    /// Whether its begin was told and its end was not.
    pub(super) fn told(&self) -> bool {
        !self.superseded && !self.unannounced && !self.bare && self.conn.state != TcpState::Close
    }
}

pub(super) type Tuple = (u32, Endpoint, Endpoint);

/// Every TCP socket that we know of, in all network namespaces.
#[derive(Default)]
pub struct ConnTable {
    pub(super) entries: Entries,
    /// Who carries a pair of endpoints now. Peers choose these keys, so the hash has a secret of its own.
    pub(super) tuples: HashMap<Tuple, SockId, RandomState>,
    /// Listeners by namespace and port.
    pub(super) listeners: BTreeMap<(u32, u16), BTreeSet<SockId>>,
    /// Minisocks in limbo, by the time of their cancellation.
    pub(super) limbo: BTreeSet<(Ktime, SockId)>,
    /// How many sockets each process owns as far as known.
    pub(super) owned: FxHashMap<u32, u32>,
    /// Sockets whose owner should be looked up again.
    pub(super) doubts: BTreeSet<SockId>,
    /// Timewait minisocks in FIN_WAIT2.
    pub(super) half_closed: BTreeSet<SockId>,
    /// Children that do not know their peer yet (before Linux 6.18). Each is it for microseconds,
    /// so they are few.
    pub(super) nameless: BTreeSet<SockId>,
    pub(super) expected: Expected,
    pub(super) gaps: Gaps,
    /// Among the gaps those that an event has shown.
    pub(super) contradictions: Gaps,
    /// Sockets that /proc has told of.
    pub(super) proc_seeds: u64,
}

impl ConnTable {
    /// How many sockets there are, closed ones that the kernel has not freed yet included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A connection by its socket.
    pub fn get(&self, id: SockId) -> Option<&Conn> {
        self.entries.get(&id).map(|entry| &entry.conn)
    }

    /// All sockets that netstat could list, in the stable order of the table.
    pub fn listed(&self) -> impl Iterator<Item = &Conn> {
        let listed = self.entries.values();
        let listed = listed.filter(|entry| entry.conn.state != TcpState::Close);
        listed.map(|entry| &entry.conn)
    }

    /// All kernel objects that the table holds, closed and superseded ones too.
    pub fn held(&self) -> Vec<u64> {
        let held = self.entries.values();
        held.filter_map(|entry| entry.conn.id.kernel()).collect()
    }

    /// Takes in an event. What changed is appended to `changes`.
    pub fn apply(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let before = self.gaps;
        self.take_in(event, changes);
        self.note_contradictions(before);
    }

    /// What was inferred since is evidence of a loss.
    pub(super) fn note_contradictions(&mut self, before: Gaps) {
        self.contradictions.all += self.gaps.all - before.all;
        self.contradictions.half_open += self.gaps.half_open - before.half_open;
    }

    fn take_in(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        match event.kind {
            KIND_STATE => self.state(event, changes),
            KIND_DESTROY => self.destroy(event, changes),
            KIND_TW_START => self.timewait_started(event, changes),
            KIND_TW_CANCEL => self.timewait_cancelled(event, changes),
            KIND_REQ_START => self.request_started(event, changes),
            KIND_REQ_CANCEL => self.request_cancelled(event, changes),
            _ => {}
        }
    }

    /// Ends the minisocks whose limbo is over at `now`, from before which all events were applied.
    pub fn expire(&mut self, now: Ktime, changes: &mut Vec<Change>) {
        let mut kept = Vec::new();
        while let Some(&(at, id)) = self.limbo.first() {
            if now.since(at) < LIMBO_NS {
                break;
            }
            self.limbo.remove(&(at, id));
            if now.since(at) < NAMELESS_NS && self.may_have_child(id) {
                kept.push((at, id));
            } else {
                self.end(id, at, changes);
            }
        }
        self.limbo.extend(kept);
    }

    /// Whether a child is there that may turn out to carry this request's connection on.
    pub(super) fn may_have_child(&self, id: SockId) -> bool {
        let request = self.get(id).filter(|conn| conn.kind == Kind::Request);
        request.is_some_and(|request| {
            let mut children = self.nameless.iter().filter_map(|child| self.get(*child));
            children
                .any(|child| (child.netns, child.local.port) == (request.netns, request.local.port))
        })
    }

    /// Whether [`ConnTable::expire`] has something to wait for.
    pub fn has_limbo(&self) -> bool {
        !self.limbo.is_empty()
    }

    /// Whether the kernel may or may not count a timewait socket of this namespace any more.
    #[must_use]
    pub fn has_timewait_in_limbo(&self, netns: u32) -> bool {
        let mut waiting = self.limbo.iter().filter_map(|(_, id)| self.get(*id));
        waiting.any(|conn| conn.kind == Kind::TimeWait && conn.netns == netns)
    }

    pub(super) fn move_to(
        &mut self,
        id: SockId,
        state: TcpState,
        at: Ktime,
        changes: &mut Vec<Change>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let from = entry.conn.state;
        if from == state {
            return;
        }
        let in_from_ns = entry.conn.since.map(|since| at.since(since));
        entry.conn.state = state;
        entry.conn.since = Some(at);
        if entry.conn.kind == Kind::TimeWait && state == TcpState::FinWait2 {
            self.half_closed.insert(id);
        } else {
            self.half_closed.remove(&id);
        }
        if !entry.superseded {
            changes.push(Change {
                at,
                conn: entry.conn,
                from: Some(from),
                in_from_ns,
                end: None,
                inferred: false,
            });
        }
    }

    /// Takes a socket out of the table; tells of it unless its end was told or another carries on.
    pub(super) fn end(&mut self, id: SockId, at: Ktime, changes: &mut Vec<Change>) {
        let Some(entry) = self.remove(id) else { return };
        if !entry.told() {
            return;
        }
        let mut conn = entry.conn;
        let from = conn.state;
        let in_from_ns = conn.since.map(|since| at.since(since));
        let end = entry.history.end(&conn, from, at);
        conn.state = TcpState::Close;
        conn.since = Some(at);
        changes.push(Change {
            at,
            conn,
            from: Some(from),
            in_from_ns,
            end: Some(end),
            inferred: false,
        });
    }

    /// Marks a socket whose connection another object carries on from now; gives what it carried.
    pub(super) fn supersede(&mut self, id: SockId) -> Option<(Conn, History)> {
        self.unindex(id);
        let entry = self.entries.get_mut(&id)?;
        entry.superseded = true;
        let carried = (entry.conn, std::mem::take(&mut entry.history));
        // No event will end it: its end was seen already, or its address is not known.
        if entry.cancelled.is_some() || matches!(id, SockId::Proc(_)) {
            self.remove(id);
        }
        Some(carried)
    }

    pub(super) fn set_conn(&mut self, id: SockId, set: impl FnOnce(&mut Conn)) {
        if let Some(entry) = self.entries.get_mut(&id) {
            set(&mut entry.conn);
        }
    }

    /// Puts in a socket that the table does not have.
    pub(super) fn insert(&mut self, entry: Entry) {
        let id = entry.conn.id;
        self.own(entry.conn.owner, 1);
        self.entries.insert(entry);
        self.note(id);
    }

    /// Notes a socket that was put in wherever it is looked for.
    pub(super) fn note(&mut self, id: SockId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        if entry.conn.kind == Kind::TimeWait && entry.conn.state == TcpState::FinWait2 {
            self.half_closed.insert(id);
        }
        if entry.unannounced {
            self.nameless.insert(id);
        }
        self.index(id);
    }

    pub(super) fn remove(&mut self, id: SockId) -> Option<Entry> {
        self.unindex(id);
        let entry = self.entries.remove(&id)?;
        if let Some(at) = entry.cancelled {
            self.limbo.remove(&(at, id));
        }
        self.doubts.remove(&id);
        self.half_closed.remove(&id);
        self.nameless.remove(&id);
        self.own(entry.conn.owner, -1);
        Some(entry)
    }

    pub(super) fn index(&mut self, id: SockId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        let conn = &entry.conn;
        if entry.superseded || entry.bare {
            return;
        }
        if conn.kind == Kind::Full && conn.state == TcpState::Listen {
            self.listeners
                .entry((conn.netns, conn.local.port))
                .or_default()
                .insert(id);
        } else if conn.state != TcpState::Close && conn.remote.port != 0 && conn.local.port != 0 {
            // Of two children of one request, made on two CPUs, the first wins; the other closes.
            let loser = conn.state == TcpState::SynRecv
                && conn.kind == Kind::Full
                && self.tuples.get(&tuple(conn)).is_some_and(|holder| {
                    let holder = self.entries.get(holder);
                    holder.is_some_and(|holder| holder.conn.kind == Kind::Full)
                });
            if !loser {
                self.tuples.insert(tuple(conn), id);
            }
        }
    }

    pub(super) fn unindex(&mut self, id: SockId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        if entry.bare {
            // It never was in an index.
            return;
        }
        let conn = &entry.conn;
        if self.tuples.get(&tuple(conn)) == Some(&id) {
            self.tuples.remove(&tuple(conn));
        }
        let port = (conn.netns, conn.local.port);
        if let Some(same_port) = self.listeners.get_mut(&port) {
            same_port.remove(&id);
            if same_port.is_empty() {
                self.listeners.remove(&port);
            }
        }
    }
}

pub(super) fn tuple(conn: &Conn) -> Tuple {
    (conn.netns, conn.local, conn.remote)
}

pub(super) fn conn_of_event(id: SockId, kind: Kind, event: &SockEvent) -> Conn {
    Conn {
        id,
        kind,
        netns: event.netns,
        family: event.family,
        local: Endpoint {
            addr: event.saddr,
            port: event.sport,
        },
        remote: Endpoint {
            addr: event.daddr,
            port: event.dport,
        },
        state: TcpState::Close,
        since: None,
        owner: None,
        direction: None,
    }
}

pub(super) fn conn_of_row(id: SockId, row: &SockRow) -> Conn {
    Conn {
        id,
        kind: match row.kind {
            ROW_TIMEWAIT => Kind::TimeWait,
            ROW_REQUEST => Kind::Request,
            _ => Kind::Full,
        },
        netns: row.netns,
        family: row.family,
        local: Endpoint {
            addr: row.saddr,
            port: row.sport,
        },
        remote: Endpoint {
            addr: row.daddr,
            port: row.dport,
        },
        state: TcpState::from_kernel(row.state),
        since: None,
        owner: None,
        direction: None,
    }
}
