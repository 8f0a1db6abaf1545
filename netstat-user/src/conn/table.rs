//! The table.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use netstat_common::{
    event::{
        FLAG_EXPIRED, FLAG_KTHREAD, FLAG_PROCESS, KIND_DESTROY, KIND_REQ_CANCEL, KIND_REQ_START,
        KIND_STATE, KIND_TW_CANCEL, KIND_TW_START, SockEvent,
    },
    row::{ROW_GONE, ROW_REQUEST, ROW_TIMEWAIT, SockRow},
};

use super::types::{Change, Conn, Endpoint, Kind, Ktime, Owner, Provenance, SockId, TcpState};

/// How long a minisock whose timer was taken out may still come back.
///
/// A re-armed timer is taken out and started again within microseconds on one CPU, a request
/// socket that repeats its SYN-ACK within tens of them; between the two events other CPUs' records
/// may come. A killed minisock is told dead after this time.
pub const LIMBO_NS: u64 = 5_000_000;

/// A connection and what the fold must remember of it.
#[derive(Clone, Debug)]
struct Entry {
    conn: Conn,
    /// Another object carries the connection on: this one's end is not the connection's.
    superseded: bool,
    /// A minisock whose timer was taken out, and when.
    cancelled: Option<Ktime>,
    /// A child whose peer the kernel had not filled in yet (before 6.18): not reported so far.
    unannounced: bool,
    /// From an iterator, not refreshed yet.
    bare: bool,
    /// Place in `order`.
    slot: usize,
}

type Tuple = (u32, Endpoint, Endpoint);

/// Every TCP socket that we know of, in all network namespaces.
#[derive(Default)]
pub struct ConnTable {
    entries: HashMap<SockId, Entry>,
    /// Who carries a pair of endpoints now.
    tuples: HashMap<Tuple, SockId>,
    /// Listeners by namespace and port.
    listeners: BTreeMap<(u32, u16), BTreeSet<SockId>>,
    /// Slots in the order of rows: stable while a socket lives, holes filled by the next one.
    order: Vec<Option<SockId>>,
    holes: Vec<usize>,
    /// Minisocks in limbo, by the time of their cancellation.
    limbo: BTreeSet<(Ktime, SockId)>,
    /// How many sockets each process owns as far as known.
    owned: HashMap<u32, u32>,
    /// Sockets whose owner should be looked up again.
    doubts: BTreeSet<SockId>,
    /// Timewait minisocks in FIN_WAIT2.
    half_closed: BTreeSet<SockId>,
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
        self.order.iter().flatten().filter_map(|id| {
            let entry = self.entries.get(id)?;
            (entry.conn.state != TcpState::Close).then_some(&entry.conn)
        })
    }

    /// Takes in an event. What changed is appended to `changes`.
    pub fn apply(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
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

    /// Ends the minisocks whose limbo is over at `now`.
    pub fn expire(&mut self, now: Ktime, changes: &mut Vec<Change>) {
        while let Some(&(at, id)) = self.limbo.first() {
            if now.since(at) < LIMBO_NS {
                return;
            }
            self.end(id, at, changes);
        }
    }

    /// Whether [`ConnTable::expire`] has something to wait for.
    pub fn has_limbo(&self) -> bool {
        !self.limbo.is_empty()
    }

    /// Notes a socket that an iterator found. [`ConnTable::seed_row`] completes it.
    pub fn seed(&mut self, skaddr: u64) {
        let id = SockId::Kernel(skaddr);
        if self.entries.contains_key(&id) {
            return;
        }
        self.insert(Entry {
            conn: Conn {
                id,
                kind: Kind::Full,
                netns: 0,
                family: 0,
                local: Endpoint::NONE,
                remote: Endpoint::NONE,
                state: TcpState::Unknown(0),
                since: None,
                owner: None,
            },
            superseded: false,
            cancelled: None,
            unannounced: false,
            bare: true,
            slot: 0,
        });
    }

    /// Sockets that were seeded and not completed.
    pub fn bare(&self) -> Vec<u64> {
        let bare = self
            .order
            .iter()
            .flatten()
            .filter(|id| self.entries[id].bare);
        bare.filter_map(|id| match id {
            SockId::Kernel(skaddr) => Some(*skaddr),
            SockId::Proc(_) => None,
        })
        .collect()
    }

    /// Completes a seeded socket with what a refresh read of it.
    pub fn seed_row(&mut self, skaddr: u64, row: &SockRow) {
        let id = SockId::Kernel(skaddr);
        if !self.entries.get(&id).is_some_and(|entry| entry.bare) {
            return;
        }
        let slot = self.remove(id).map(|entry| entry.slot);
        if row.kind == ROW_GONE {
            return;
        }
        self.insert_at(
            Entry {
                conn: conn_of_row(id, row),
                superseded: false,
                cancelled: None,
                unannounced: false,
                bare: false,
                slot: 0,
            },
            slot,
        );
    }

    /// Sets a socket right after events were lost, from what a refresh reads of it.
    pub fn correct(&mut self, skaddr: u64, row: &SockRow, at: Ktime, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(skaddr);
        let Some(known) = self.get(id).copied() else {
            return;
        };
        let seen = conn_of_row(id, row);
        if known.kind != seen.kind || known.netns != seen.netns {
            // The address names another object by now.
            self.forget(skaddr, at, changes);
            self.seed(skaddr);
            self.seed_row(skaddr, row);
            return;
        }
        self.unindex(id);
        self.set_conn(id, |conn| {
            conn.local = seen.local;
            conn.remote = seen.remote;
            conn.family = seen.family;
            if conn.state != seen.state {
                conn.state = seen.state;
                conn.since = None;
            }
        });
        if seen.state != TcpState::FinWait2 {
            self.half_closed.remove(&id);
        }
        self.index(id);
        let told = self
            .entries
            .get(&id)
            .is_some_and(|entry| !entry.superseded && !entry.bare);
        if told && known.state != seen.state {
            let conn = Conn {
                owner: known.owner,
                since: None,
                ..seen
            };
            changes.push(Change {
                at,
                conn,
                from: Some(known.state),
                in_from_ns: None,
            });
        }
    }

    /// Minisocks in FIN_WAIT2. A FIN that comes within the same bucket of the timer wheel makes
    /// them TIME_WAIT without an event: whoever wants to know must look.
    pub fn half_closed(&self) -> Vec<u64> {
        let kernel = self.half_closed.iter().filter_map(|id| match id {
            SockId::Kernel(skaddr) => Some(*skaddr),
            SockId::Proc(_) => None,
        });
        kernel.collect()
    }

    /// Takes in the state of a minisock that was looked at.
    pub fn observe(&mut self, skaddr: u64, row: &SockRow, at: Ktime, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(skaddr);
        let known = self.get(id).map(|conn| (conn.kind, tuple(conn)));
        let seen = conn_of_row(id, row);
        if row.kind == ROW_TIMEWAIT && known == Some((Kind::TimeWait, tuple(&seen))) {
            self.move_to(id, seen.state, at, changes);
        }
    }

    /// Takes out a socket whose end was lost.
    pub fn forget(&mut self, skaddr: u64, at: Ktime, changes: &mut Vec<Change>) {
        let told = changes.len();
        self.end(SockId::Kernel(skaddr), at, changes);
        for change in &mut changes[told..] {
            change.in_from_ns = None;
        }
    }

    /// Adds a socket that is known from /proc only. An event about the same endpoints takes it over.
    pub fn seed_proc(&mut self, conn: Conn) {
        let taken = conn.remote.port != 0 && self.tuples.contains_key(&tuple(&conn));
        if !taken && !self.entries.contains_key(&conn.id) {
            self.insert(Entry {
                conn,
                superseded: false,
                cancelled: None,
                unannounced: false,
                bare: false,
                slot: 0,
            });
        }
    }

    /// Sets an owner that was looked up.
    pub fn set_owner(&mut self, id: SockId, pid: u32, provenance: Provenance) {
        self.doubts.remove(&id);
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let before = entry.conn.owner;
        // What was seen is kept if it is the same process: it has the name too.
        if before.is_some_and(|owner| owner.pid == pid && owner.provenance == Provenance::Seen) {
            return;
        }
        entry.conn.owner = Some(Owner {
            pid,
            comm: [0; 16],
            provenance,
        });
        self.own(before, -1);
        self.own(
            Some(Owner {
                pid,
                comm: [0; 16],
                provenance,
            }),
            1,
        );
    }

    /// A process ended, or replaced its program: who owns its sockets is in doubt.
    pub fn owner_may_have_changed(&mut self, pid: u32) {
        if !self.owned.contains_key(&pid) {
            return;
        }
        let held = self.entries.values().filter(|entry| {
            entry.conn.kind == Kind::Full && entry.conn.owner.is_some_and(|owner| owner.pid == pid)
        });
        self.doubts.extend(held.map(|entry| entry.conn.id));
    }

    /// Whether a process owns a socket as far as known.
    pub fn owns(&self, pid: u32) -> bool {
        self.owned.contains_key(&pid)
    }

    /// Sockets whose owner should be looked up; the list is cleared.
    pub fn take_doubts(&mut self) -> BTreeSet<SockId> {
        std::mem::take(&mut self.doubts)
    }

    fn state(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let new = TcpState::from_kernel(event.newstate);
        let old = TcpState::from_kernel(event.oldstate);
        // A child is a new object whose state was copied from the listener; whatever we knew under
        // this address is dead.
        let child = old == TcpState::Listen && new == TcpState::SynRecv;
        let reborn = child
            && self
                .entries
                .get(&id)
                .is_some_and(|e| e.conn.state != TcpState::SynRecv);
        let stale = self
            .entries
            .get(&id)
            .is_some_and(|entry| entry.conn.kind != Kind::Full);
        if reborn || stale {
            self.end(id, Ktime(event.ktime_ns), changes);
        }
        if self.entries.get(&id).is_some_and(|entry| entry.bare) {
            // Nothing is known of it but that it was there.
            self.remove(id);
        }
        let met = !self.entries.contains_key(&id);
        if met {
            self.meet(event, id, old, child);
        }
        self.learn_endpoints(event, id);
        // A second report of the same birth (from the second copy of the hook) changes nothing.
        if (met && child) || self.entries[&id].unannounced {
            self.link_request(event, id, child);
        }
        self.learn_owner(event, id, new);
        self.step(
            event,
            id,
            if child { TcpState::Close } else { old },
            new,
            changes,
        );
    }

    /// A full socket that the table does not have: a new one, or one of before our time.
    fn meet(&mut self, event: &SockEvent, id: SockId, old: TcpState, child: bool) {
        let mut conn = conn_of_event(id, Kind::Full, event);
        conn.state = if child { TcpState::Close } else { old };
        let adopted = self
            .tuples
            .get(&tuple(&conn))
            .copied()
            .filter(|found| matches!(found, SockId::Proc(_)));
        let adopted = adopted.or_else(|| self.proc_listener(&conn, old));
        let mut slot = None;
        if let Some(entry) = adopted.and_then(|found| self.remove(found)) {
            conn.owner = entry.conn.owner;
            conn.since = entry.conn.since;
            slot = Some(entry.slot);
        }
        self.insert_at(
            Entry {
                conn,
                superseded: false,
                cancelled: None,
                unannounced: child && event.dport == 0,
                bare: false,
                slot: 0,
            },
            slot,
        );
    }

    fn proc_listener(&self, conn: &Conn, old: TcpState) -> Option<SockId> {
        if old != TcpState::Listen {
            return None;
        }
        let same_port = self.listeners.get(&(conn.netns, conn.local.port))?;
        same_port
            .iter()
            .copied()
            .find(|id| matches!(id, SockId::Proc(_)) && self.entries[id].conn.local == conn.local)
    }

    fn learn_endpoints(&mut self, event: &SockEvent, id: SockId) {
        // At CLOSE the socket has given its port back and is out of the hash already.
        if event.sport == 0 {
            return;
        }
        self.unindex(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            let seen = conn_of_event(id, Kind::Full, event);
            entry.conn.local = seen.local;
            if event.dport != 0 {
                entry.conn.remote = seen.remote;
            }
        }
    }

    /// Lets a child carry on the connection of its request socket, or take the listener's owner.
    fn link_request(&mut self, event: &SockEvent, id: SockId, child: bool) {
        let conn = self.entries[&id].conn;
        let request = self
            .tuples
            .get(&tuple(&conn))
            .copied()
            .filter(|found| *found != id && self.entries[found].conn.kind == Kind::Request);
        if let Some(request) = request {
            let carried = self.supersede(request);
            self.set_conn(id, |conn| {
                conn.since = carried.since;
                conn.owner = carried.owner;
                conn.state = TcpState::SynRecv;
            });
            self.own(carried.owner, 1);
        } else if child {
            let owner = self.listener_owner(&conn);
            self.set_conn(id, |conn| conn.owner = owner);
            self.own(owner, 1);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.unannounced &= event.dport == 0;
        }
    }

    fn learn_owner(&mut self, event: &SockEvent, id: SockId, new: TcpState) {
        if event.flags & FLAG_PROCESS == 0 || event.flags & FLAG_KTHREAD != 0 {
            return;
        }
        let seen = Owner {
            pid: event.tgid,
            comm: event.comm,
            provenance: Provenance::Seen,
        };
        let before = self.entries[&id].conn.owner;
        // Whoever closes need not be the one whom netstat would name while others hold the socket
        // too; it is better than no answer or a listener's.
        let opens = matches!(new, TcpState::SynSent | TcpState::Listen);
        let weak = before.is_none_or(|owner| owner.provenance == Provenance::Listener);
        let same = before.is_some_and(|owner| owner.pid == seen.pid);
        if opens || weak || same {
            self.set_conn(id, |conn| conn.owner = Some(seen));
            self.own(before, -1);
            self.own(Some(seen), 1);
        }
    }

    fn step(
        &mut self,
        event: &SockEvent,
        id: SockId,
        old: TcpState,
        new: TcpState,
        changes: &mut Vec<Change>,
    ) {
        let at = Ktime(event.ktime_ns);
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let known = entry.conn.state;
        let silent = entry.superseded || entry.unannounced || known == new;
        // Where the table is behind (an event was lost or not wanted), the kernel knows better,
        // and since when is not known.
        let carried = known == TcpState::SynRecv && old == TcpState::Close;
        let (from, since) = if known == old || carried {
            (known, entry.conn.since)
        } else {
            (old, None)
        };
        let in_from_ns = since.map(|since| at.since(since));
        if known != new {
            entry.conn.state = new;
            entry.conn.since = Some(at);
        }
        let conn = entry.conn;
        if !silent {
            changes.push(Change {
                at,
                conn,
                from: Some(from),
                in_from_ns,
            });
        }
        if new == TcpState::Close {
            // Unhashed; the object stays until tcp_destroy_sock, and may connect again.
            self.unindex(id);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.superseded = false;
                entry.unannounced = false;
            }
        } else {
            self.index(id);
        }
        if new == TcpState::Established
            && conn
                .owner
                .is_none_or(|o| o.provenance == Provenance::Listener)
        {
            self.doubts.insert(id);
        }
    }

    fn destroy(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        if self
            .entries
            .get(&id)
            .is_some_and(|entry| entry.conn.kind == Kind::Full)
        {
            self.end(id, Ktime(event.ktime_ns), changes);
        }
    }

    fn timewait_started(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        let substate = TcpState::from_kernel(event.newstate);
        if self.revive(id, Kind::TimeWait, event) {
            self.move_to(id, substate, at, changes);
            return;
        }
        self.end(id, at, changes);
        let mut conn = conn_of_event(id, Kind::TimeWait, event);
        conn.state = substate;
        conn.since = Some(at);
        let before = self.tuples.get(&tuple(&conn)).copied();
        let mut from = None;
        let mut in_from_ns = None;
        if let Some(before) = before {
            let carried = self.supersede(before);
            conn.owner = carried.owner;
            from = Some(carried.state);
            in_from_ns = carried.since.map(|since| at.since(since));
            if carried.state == substate {
                conn.since = carried.since;
            }
            if matches!(before, SockId::Proc(_)) {
                self.remove(before);
            }
        }
        self.insert(Entry {
            conn,
            superseded: false,
            cancelled: None,
            unannounced: false,
            bare: false,
            slot: 0,
        });
        if from != Some(substate) {
            changes.push(Change {
                at,
                conn,
                from,
                in_from_ns,
            });
        }
    }

    fn timewait_cancelled(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        if self
            .entries
            .get(&id)
            .is_none_or(|entry| entry.conn.kind != Kind::TimeWait)
        {
            self.meet_minisock(id, Kind::TimeWait, event, changes);
        }
        // The FIN of the peer may have come without a timer event (same bucket of the wheel).
        self.move_to(id, TcpState::from_kernel(event.newstate), at, changes);
        if event.flags & FLAG_EXPIRED != 0 {
            self.end(id, at, changes);
        } else {
            self.to_limbo(id, at);
        }
    }

    fn request_started(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        if self.revive(id, Kind::Request, event) {
            return;
        }
        self.end(id, at, changes);
        let mut conn = conn_of_event(id, Kind::Request, event);
        conn.state = TcpState::SynRecv;
        conn.since = Some(at);
        let listener = self.entries.get(&SockId::Kernel(event.listener));
        let owner = listener
            .map(|entry| entry.conn)
            .and_then(|listener| listener.owner);
        conn.owner = match owner {
            Some(owner) => Some(Owner {
                provenance: Provenance::Listener,
                ..owner
            }),
            None => self.listener_owner(&conn),
        };
        self.insert(Entry {
            conn,
            superseded: false,
            cancelled: None,
            unannounced: false,
            bare: false,
            slot: 0,
        });
        changes.push(Change {
            at,
            conn,
            from: Some(TcpState::Close),
            in_from_ns: None,
        });
    }

    fn request_cancelled(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        if self
            .entries
            .get(&id)
            .is_none_or(|entry| entry.conn.kind != Kind::Request)
        {
            self.meet_minisock(id, Kind::Request, event, changes);
        }
        if self.entries.get(&id).is_some_and(|entry| entry.superseded) {
            self.end(id, at, changes);
        } else {
            self.to_limbo(id, at);
        }
    }

    /// A minisock that the table does not have loses its timer: it is of before our time.
    fn meet_minisock(
        &mut self,
        id: SockId,
        kind: Kind,
        event: &SockEvent,
        changes: &mut Vec<Change>,
    ) {
        self.end(id, Ktime(event.ktime_ns), changes);
        let mut conn = conn_of_event(id, kind, event);
        conn.state = match kind {
            Kind::Request => TcpState::SynRecv,
            Kind::Full | Kind::TimeWait => TcpState::from_kernel(event.newstate),
        };
        let known = self.tuples.get(&tuple(&conn)).copied();
        let mut superseded = false;
        match known {
            Some(known @ SockId::Proc(_)) => {
                if let Some(entry) = self.remove(known) {
                    conn.owner = entry.conn.owner;
                    conn.since = entry.conn.since;
                }
            }
            // A child carries the connection on already.
            Some(SockId::Kernel(_)) => superseded = true,
            None => {}
        }
        self.insert(Entry {
            conn,
            superseded,
            cancelled: None,
            unannounced: false,
            bare: false,
            slot: 0,
        });
    }

    /// Takes a known minisock of `kind` out of limbo. `false` if there is none.
    fn revive(&mut self, id: SockId, kind: Kind, event: &SockEvent) -> bool {
        let same = conn_of_event(id, kind, event);
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        if entry.bare {
            // A seed that no refresh has completed: the event says what it is.
            self.remove(id);
            return false;
        }
        // The same address with other endpoints is another minisock.
        if entry.conn.kind != kind || tuple(&entry.conn) != tuple(&same) {
            return false;
        }
        if let Some(cancelled) = entry.cancelled.take() {
            self.limbo.remove(&(cancelled, id));
        }
        true
    }

    fn move_to(&mut self, id: SockId, state: TcpState, at: Ktime, changes: &mut Vec<Change>) {
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
        self.half_closed.remove(&id);
        if !entry.superseded {
            changes.push(Change {
                at,
                conn: entry.conn,
                from: Some(from),
                in_from_ns,
            });
        }
    }

    fn to_limbo(&mut self, id: SockId, at: Ktime) {
        if let Some(entry) = self.entries.get_mut(&id) {
            if let Some(before) = entry.cancelled.replace(at) {
                self.limbo.remove(&(before, id));
            }
            self.limbo.insert((at, id));
        }
    }

    /// Takes a socket out of the table; tells of it unless its end was told or another carries on.
    fn end(&mut self, id: SockId, at: Ktime, changes: &mut Vec<Change>) {
        let Some(entry) = self.remove(id) else { return };
        let mut conn = entry.conn;
        let from = conn.state;
        if entry.superseded || entry.unannounced || entry.bare || from == TcpState::Close {
            return;
        }
        let in_from_ns = conn.since.map(|since| at.since(since));
        conn.state = TcpState::Close;
        conn.since = Some(at);
        changes.push(Change {
            at,
            conn,
            from: Some(from),
            in_from_ns,
        });
    }

    /// Marks a socket whose connection another object carries on from now; gives what it carried.
    fn supersede(&mut self, id: SockId) -> Conn {
        let cancelled = self.entries.get_mut(&id).and_then(|entry| {
            entry.superseded = true;
            entry.cancelled.take()
        });
        let conn = self.entries[&id].conn;
        if let Some(at) = cancelled {
            // A request socket in limbo: the child was its end.
            self.limbo.remove(&(at, id));
            self.remove(id);
        }
        self.tuples.remove(&tuple(&conn));
        conn
    }

    fn listener_owner(&self, conn: &Conn) -> Option<Owner> {
        let same_port = self.listeners.get(&(conn.netns, conn.local.port))?;
        let listeners = same_port.iter().filter_map(|id| self.get(*id));
        let best = listeners
            .filter(|listener| listener.local.addr == conn.local.addr || listener.local.is_any())
            .max_by_key(|listener| listener.local.addr == conn.local.addr)?;
        best.owner.map(|owner| Owner {
            provenance: Provenance::Listener,
            ..owner
        })
    }

    fn set_conn(&mut self, id: SockId, set: impl FnOnce(&mut Conn)) {
        if let Some(entry) = self.entries.get_mut(&id) {
            set(&mut entry.conn);
        }
    }

    fn own(&mut self, owner: Option<Owner>, by: i32) {
        let Some(Owner { pid, .. }) = owner else {
            return;
        };
        let count = self.owned.entry(pid).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.owned.remove(&pid);
        }
    }

    fn insert(&mut self, entry: Entry) {
        self.insert_at(entry, None);
    }

    fn insert_at(&mut self, mut entry: Entry, slot: Option<usize>) {
        let id = entry.conn.id;
        self.own(entry.conn.owner, 1);
        entry.slot = match slot.filter(|slot| self.order[*slot].is_none()) {
            Some(slot) => {
                // The caller has just emptied it, so it is the last hole.
                if self.holes.last() == Some(&slot) {
                    self.holes.pop();
                }
                slot
            }
            None => self.holes.pop().unwrap_or_else(|| {
                self.order.push(None);
                self.order.len() - 1
            }),
        };
        self.order[entry.slot] = Some(id);
        if entry.conn.kind == Kind::TimeWait && entry.conn.state == TcpState::FinWait2 {
            self.half_closed.insert(id);
        }
        self.entries.insert(id, entry);
        self.index(id);
    }

    fn remove(&mut self, id: SockId) -> Option<Entry> {
        self.unindex(id);
        let entry = self.entries.remove(&id)?;
        self.order[entry.slot] = None;
        self.holes.push(entry.slot);
        if let Some(at) = entry.cancelled {
            self.limbo.remove(&(at, id));
        }
        self.doubts.remove(&id);
        self.half_closed.remove(&id);
        self.own(entry.conn.owner, -1);
        Some(entry)
    }

    fn index(&mut self, id: SockId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        let conn = &entry.conn;
        if entry.superseded || entry.bare {
            return;
        }
        if conn.state == TcpState::Listen {
            self.listeners
                .entry((conn.netns, conn.local.port))
                .or_default()
                .insert(id);
        } else if conn.state != TcpState::Close && conn.remote.port != 0 && conn.local.port != 0 {
            self.tuples.insert(tuple(conn), id);
        }
    }

    fn unindex(&mut self, id: SockId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
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

fn tuple(conn: &Conn) -> Tuple {
    (conn.netns, conn.local, conn.remote)
}

fn conn_of_event(id: SockId, kind: Kind, event: &SockEvent) -> Conn {
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
    }
}

fn conn_of_row(id: SockId, row: &SockRow) -> Conn {
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
    }
}
