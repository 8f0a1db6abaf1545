//! Timewait and request minisocks: they live as long as their timer is pending.

use netstat_common::event::{FLAG_EXPIRED, SockEvent};

use super::{
    end::History,
    gaps::leads_to,
    table::{ConnTable, Entry, conn_of_event, tuple},
    types::{Change, Direction, Kind, Ktime, Owner, Provenance, SockId, TcpState},
};

impl ConnTable {
    pub(super) fn timewait_started(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        let substate = TcpState::from_kernel(event.newstate);
        self.end_reborn(id, event, changes);
        if self.revive(id, Kind::TimeWait, event) {
            self.move_to(id, substate, at, changes);
            return;
        }
        self.end_unseen(id, at, changes);
        let mut conn = conn_of_event(id, Kind::TimeWait, event);
        conn.state = substate;
        conn.since = Some(at);
        let before = self.tuples.get(&tuple(&conn)).copied();
        if let Some(stale) = before.filter(|before| self.is(*before, Kind::TimeWait)) {
            self.displace(stale, at, changes);
        }
        let before = before.filter(|before| self.entries.contains_key(before));
        let before = before.filter(|before| !self.is(*before, Kind::TimeWait));
        let mut from = None;
        let mut in_from_ns = None;
        let mut history = History::default();
        // A table of rows alone is not told the port of a socket that calls.
        let from_proc = before.is_some_and(|before| self.is_from_proc(before));
        let mut unseen = self.expected.every_change && self.knows_older(conn.netns);
        if let Some((carried, its)) = before.and_then(|before| self.supersede(before)) {
            history = its;
            conn.owner = carried.owner;
            conn.direction = carried.direction;
            from = Some(carried.state);
            in_from_ns = carried.since.map(|since| at.since(since));
            if carried.state == substate {
                conn.since = carried.since;
            }
            // Only these two give way to a minisock. What /proc told may be old.
            let gives_way = match carried.state {
                TcpState::FinWait2 => true,
                TcpState::Closing => substate == TcpState::TimeWait,
                _ => false,
            };
            unseen = self.expected.every_change && !gives_way && !from_proc;
        }
        self.insert(Entry {
            history,
            ..Entry::new(conn)
        });
        if from == Some(substate) {
            return;
        }
        if unseen {
            self.infer(at, conn, from, None, changes);
        } else {
            changes.push(Change {
                at,
                conn,
                from,
                in_from_ns,
                end: None,
                inferred: false,
            });
        }
    }

    /// Ends the minisock in limbo under whose address, and with whose endpoints, another begins: a
    /// connection that took them over is there, so its timer is not started again.
    fn end_reborn(&mut self, id: SockId, event: &SockEvent, changes: &mut Vec<Change>) {
        if !self.has_minisock(id, Kind::TimeWait, event) {
            return;
        }
        let seen = tuple(&conn_of_event(id, Kind::TimeWait, event));
        let holder = self.tuples.get(&seen).and_then(|holder| self.get(*holder));
        // A call may fail yet, because the minisock has its endpoints.
        let taken = holder.is_some_and(|holder| {
            holder.id != id && holder.kind == Kind::Full && holder.state != TcpState::SynSent
        });
        if taken {
            self.end_in_limbo(id, changes);
        }
    }

    /// Whether the table has the minisock that an event is about: the same address with other
    /// endpoints is another.
    fn has_minisock(&self, id: SockId, kind: Kind, event: &SockEvent) -> bool {
        let seen = tuple(&conn_of_event(id, kind, event));
        let entry = self.entries.get(&id).filter(|entry| !entry.bare);
        entry.is_some_and(|entry| entry.conn.kind == kind && tuple(&entry.conn) == seen)
    }

    fn is(&self, id: SockId, kind: Kind) -> bool {
        self.get(id).is_some_and(|conn| conn.kind == kind)
    }

    pub(super) fn timewait_cancelled(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        if !self.has_minisock(id, Kind::TimeWait, event) {
            self.meet_minisock(id, Kind::TimeWait, event, changes);
        }
        // The FIN of the peer may have come without a timer event (same bucket of the wheel).
        self.move_to(id, TcpState::from_kernel(event.newstate), at, changes);
        let expired = self.note_expiry(id, event);
        if expired {
            self.end(id, at, changes);
        } else {
            self.enter_limbo(id, at);
        }
    }

    pub(super) fn request_started(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        if self.revive(id, Kind::Request, event) {
            return;
        }
        self.end_unseen(id, at, changes);
        let mut conn = conn_of_event(id, Kind::Request, event);
        conn.state = TcpState::SynRecv;
        conn.since = Some(at);
        // A SYN that reuses a timewait minisock: its end is certain now, and told first.
        let before = self.tuples.get(&tuple(&conn)).copied();
        if let Some(before) = before {
            self.end_in_limbo(before, changes);
        }
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
        conn.direction = Some(Direction::In);
        self.insert(Entry {
            history: History::born(at),
            ..Entry::new(conn)
        });
        changes.push(Change {
            at,
            conn,
            from: Some(TcpState::Close),
            in_from_ns: None,
            end: None,
            inferred: false,
        });
    }

    pub(super) fn request_cancelled(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        if !self.has_minisock(id, Kind::Request, event) {
            if self.knows_older(event.netns) && !self.expected.half_open {
                // Its begin was not sent, or its end is told a second time.
                self.end_unseen(id, at, changes);
                return;
            }
            self.meet_minisock(id, Kind::Request, event, changes);
        }
        self.note_expiry(id, event);
        if self.entries.get(&id).is_some_and(|entry| entry.superseded) {
            self.end(id, at, changes);
        } else {
            self.enter_limbo(id, at);
        }
    }

    fn note_expiry(&mut self, id: SockId, event: &SockEvent) -> bool {
        let expired = event.flags & FLAG_EXPIRED != 0;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.history.expired = expired;
        }
        expired
    }

    /// A minisock that the table does not have loses its timer: it is of before our time, or its
    /// begin was not seen.
    fn meet_minisock(
        &mut self,
        id: SockId,
        kind: Kind,
        event: &SockEvent,
        changes: &mut Vec<Change>,
    ) {
        let at = Ktime(event.ktime_ns);
        self.end_unseen(id, at, changes);
        let mut conn = conn_of_event(id, kind, event);
        conn.state = match kind {
            Kind::Request => TcpState::SynRecv,
            Kind::Full | Kind::TimeWait => TcpState::from_kernel(event.newstate),
        };
        if kind == Kind::Request {
            conn.direction = Some(Direction::In);
        }
        let surprise = self.knows_older(conn.netns);
        let mut entry = Entry::new(conn);
        match self.tuples.get(&tuple(&conn)).copied() {
            Some(known) if self.is_from_proc(known) => {
                if let Some(told) = self.remove(known) {
                    entry.conn.owner = told.conn.owner;
                    entry.conn.since = told.conn.since;
                    entry.conn.direction = told.conn.direction;
                }
            }
            Some(known) if surprise && kind == Kind::TimeWait && self.may_give_way(known) => {
                if let Some((carried, history)) = self.supersede(known) {
                    entry.conn.owner = carried.owner;
                    entry.conn.direction = carried.direction;
                    entry.history = history;
                    if carried.state != conn.state {
                        self.infer(at, entry.conn, Some(carried.state), None, changes);
                    }
                }
            }
            // A child carries the connection on already.
            Some(_) if kind == Kind::Request || !surprise => entry.superseded = true,
            Some(_) => {
                // Another connection has its endpoints by now.
                entry.superseded = true;
                let end = Some(entry.history.unseen_end(&conn));
                conn.state = TcpState::Close;
                self.infer(at, conn, None, end, changes);
            }
            None if surprise => self.infer(at, conn, None, None, changes),
            None => {}
        }
        self.insert(entry);
    }

    /// Whether this may be the socket from which a timewait socket was made unseen: a full one, or a
    /// request that is no more. One that is calling uses the endpoints anew.
    fn may_give_way(&self, id: SockId) -> bool {
        let ended = self.settles_itself(id);
        self.get(id).is_some_and(|conn| {
            (conn.kind == Kind::Full || (conn.kind == Kind::Request && ended))
                && conn.state != TcpState::SynSent
                && leads_to(conn.state, TcpState::TimeWait)
        })
    }

    /// Takes a known minisock of `kind` out of limbo. `false` if there is none.
    pub(super) fn revive(&mut self, id: SockId, kind: Kind, event: &SockEvent) -> bool {
        let same = conn_of_event(id, kind, event);
        let Some(entry) = self.entries.get(&id) else {
            return false;
        };
        if entry.bare {
            // A seed that no refresh has completed: the event says what it is.
            self.remove(id);
            return false;
        }
        if entry.conn.kind != kind || tuple(&entry.conn) != tuple(&same) {
            return false;
        }
        self.leave_limbo(id);
        true
    }

    pub(super) fn leave_limbo(&mut self, id: SockId) {
        let cancelled = self.entries.get_mut(&id).and_then(|e| e.cancelled.take());
        if let Some(at) = cancelled {
            self.limbo.remove(&(at, id));
        }
    }

    /// Ends a minisock that is in limbo, as of when its timer was taken out: what it had is another's.
    /// Gives whether it was in limbo.
    pub(super) fn end_in_limbo(&mut self, id: SockId, changes: &mut Vec<Change>) -> bool {
        let cancelled = self.entries.get(&id).and_then(|entry| entry.cancelled);
        if let Some(at) = cancelled {
            self.end(id, at, changes);
        }
        cancelled.is_some()
    }

    pub(super) fn enter_limbo(&mut self, id: SockId, at: Ktime) {
        if let Some(entry) = self.entries.get_mut(&id) {
            if let Some(before) = entry.cancelled.replace(at) {
                self.limbo.remove(&(before, id));
            }
            self.limbo.insert((at, id));
        }
    }
}
