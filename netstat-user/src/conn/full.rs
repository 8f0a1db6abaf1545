//! Full TCP sockets.

use netstat_common::event::{FLAG_SECOND_COPY, SockEvent};

use super::{
    end::History,
    gaps::{Step, same_life},
    table::{ConnTable, Entry, conn_of_event, tuple},
    types::{Change, Conn, Direction, Kind, Ktime, Provenance, SockId, TcpState},
};

impl ConnTable {
    pub(super) fn state(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let at = Ktime(event.ktime_ns);
        let new = TcpState::from_kernel(event.newstate);
        let old = TcpState::from_kernel(event.oldstate);
        // A child is a new object whose state was copied from the listener; whatever we knew under
        // this address is dead.
        let child = old == TcpState::Listen && new == TcpState::SynRecv;
        let old = if child { TcpState::Close } else { old };
        let step = Step {
            event,
            old,
            new,
            child,
            opens: child
                || (old == TcpState::Close && matches!(new, TcpState::SynSent | TcpState::Listen)),
            repeated: event.flags & FLAG_SECOND_COPY != 0,
        };
        if self.entries.get(&id).is_some_and(|entry| entry.bare) {
            // Nothing is known of it but that it was there.
            self.remove(id);
        }
        let known = self.get(id);
        if known.is_some_and(|known| !same_life(known, &step)) {
            self.end_unseen(id, at, changes);
        }
        let met = !self.entries.contains_key(&id);
        let adopted = met && self.meet(id, &step);
        self.learn_endpoints(event, id, step.opens);
        if new != TcpState::Close {
            self.end_reused(id, changes);
        }
        // A second report of the same birth (from the second copy of the hook) changes nothing,
        // and a child that is closed carries nothing on.
        let surprise = met && !adopted && !matches!(old, TcpState::Close | TcpState::Listen);
        let unannounced = self.entries.get(&id).is_some_and(|e| e.unannounced);
        let closes = new == TcpState::Close && (child || unannounced || old == TcpState::SynRecv);
        let carries = !closes
            && (unannounced || (met && child) || surprise)
            && self.link_request(event, id, child && met, changes);
        if surprise && !carries {
            let silent = self.goes_silently(id, old, new);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.conn.state = old;
                entry.superseded = silent;
            }
        }
        self.learn_owner(event, id, new);
        let unknown = met && !adopted && !carries && old != TcpState::Close;
        if unknown && self.knows_older(event.netns) {
            let told = self.entries.get(&id).filter(|entry| entry.told());
            if let Some(conn) = told.map(|entry| entry.conn) {
                self.infer(at, conn, None, None, changes);
                self.doubts.insert(id);
            }
        }
        self.step(id, &step, changes);
    }

    /// A full socket that the table does not have: a new one, or one of before our time. Gives
    /// whether /proc had told of it.
    fn meet(&mut self, id: SockId, step: &Step<'_>) -> bool {
        let &Step {
            event, old, child, ..
        } = step;
        let mut conn = conn_of_event(id, Kind::Full, event);
        let adopted = self
            .tuples
            .get(&tuple(&conn))
            .copied()
            .filter(|found| self.is_from_proc(*found));
        let adopted = adopted.or_else(|| self.proc_listener(&conn, old));
        let adopted = adopted.and_then(|found| self.remove(found));
        if let Some(entry) = &adopted {
            conn.owner = entry.conn.owner;
            conn.since = entry.conn.since;
            conn.direction = entry.conn.direction;
        }
        // A request that it carries on is looked for before it takes the request's place.
        if adopted.is_some() || old == TcpState::Listen {
            conn.state = old;
        }
        if child {
            conn.direction = Some(Direction::In);
        }
        self.insert(Entry {
            unannounced: child && event.dport == 0,
            ..Entry::new(conn)
        });
        adopted.is_some()
    }

    /// The minisock of a kind that has the endpoints of a full socket.
    fn minisock_of(&self, id: SockId, kind: Kind) -> Option<SockId> {
        let conn = self.get(id)?;
        let found = self.tuples.get(&tuple(conn)).copied();
        found.filter(|found| self.get(*found).is_some_and(|found| found.kind == kind))
    }

    /// Ends the timewait socket in limbo whose endpoints a call has taken over: its end is certain
    /// now, and told first.
    fn end_reused(&mut self, id: SockId, changes: &mut Vec<Change>) {
        if self.entries.get(&id).is_some_and(|entry| entry.superseded) {
            return;
        }
        if let Some(reused) = self.minisock_of(id, Kind::TimeWait) {
            self.end_in_limbo(reused, changes);
        }
    }

    /// Whether the end of an unknown socket is not that of its connection: of two children of a
    /// request the one that loses, and a socket that a timewait socket has replaced.
    fn goes_silently(&self, id: SockId, old: TcpState, new: TcpState) -> bool {
        let other = match old {
            TcpState::SynRecv => Kind::Request,
            TcpState::FinWait2 | TcpState::Closing => Kind::TimeWait,
            _ => return false,
        };
        new == TcpState::Close && self.minisock_of(id, other).is_some()
    }

    pub(super) fn proc_listener(&self, conn: &Conn, old: TcpState) -> Option<SockId> {
        if old != TcpState::Listen {
            return None;
        }
        let same_port = self.listeners.get(&(conn.netns, conn.local.port))?;
        same_port
            .iter()
            .copied()
            .filter(|id| matches!(id, SockId::Proc(_)))
            .find(|id| self.get(*id).is_some_and(|held| held.local == conn.local))
    }

    pub(super) fn learn_endpoints(&mut self, event: &SockEvent, id: SockId, opens: bool) {
        // At CLOSE the socket has given its port back and is out of the hash already; a connect()
        // chooses it later, and what an earlier connection left is wrong.
        if event.sport == 0 && !opens {
            return;
        }
        self.unindex(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            let seen = conn_of_event(id, Kind::Full, event);
            entry.conn.local = seen.local;
            if event.dport != 0 || opens {
                entry.conn.remote = seen.remote;
            }
        }
    }

    /// Lets a child carry on the connection of its request socket, and says whether there was one;
    /// else it takes the listener's owner.
    fn link_request(
        &mut self,
        event: &SockEvent,
        id: SockId,
        born: bool,
        changes: &mut Vec<Change>,
    ) -> bool {
        let Some(conn) = self.get(id).copied() else {
            return false;
        };
        let request = self.minisock_of(id, Kind::Request);
        let carried = request.and_then(|request| self.supersede(request));
        let told = carried.is_some();
        if let Some((carried, history)) = carried {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.conn.since = carried.since;
                entry.conn.state = TcpState::SynRecv;
                entry.conn.direction = Some(Direction::In);
                entry.history = history;
            }
            self.give(id, carried.owner);
        } else if born {
            let owner = self.listener_owner(&conn);
            self.give(id, owner);
        }
        let Some(entry) = self.entries.get_mut(&id) else {
            return told;
        };
        if entry.unannounced && event.dport != 0 {
            entry.unannounced = false;
            self.nameless.remove(&id);
            if let (false, Some(at)) = (told, entry.conn.since) {
                // A child without a request (SYN cookie, fast open): its birth is told late.
                changes.push(Change {
                    at,
                    conn: entry.conn,
                    from: Some(TcpState::Close),
                    in_from_ns: None,
                    end: None,
                    inferred: false,
                });
            }
        }
        told
    }

    fn step(&mut self, id: SockId, step: &Step<'_>, changes: &mut Vec<Change>) {
        let &Step {
            event, old, new, ..
        } = step;
        let at = Ktime(event.ktime_ns);
        self.unindex(id);
        self.catch_up(id, step, changes);
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let known = entry.conn.state;
        let silent = entry.superseded || entry.unannounced || known == new;
        let carried = known == TcpState::SynRecv && old == TcpState::Close;
        // Where the table is behind, since not every change is sent, the kernel knows better, and
        // since when is not known.
        let (from, since) = if known == old || carried {
            (known, entry.conn.since)
        } else {
            (old, None)
        };
        // How long a socket was closed before it opens again is nobody's time in a state.
        let since = since.filter(|_| from != TcpState::Close);
        let in_from_ns = since.map(|since| at.since(since));
        if known == TcpState::Close && old == TcpState::Close && new != TcpState::Close {
            entry.history = History::born(at);
            entry.conn.direction = match new {
                TcpState::SynSent => Some(Direction::Out),
                TcpState::SynRecv => Some(Direction::In),
                _ => None,
            };
        }
        if known != new {
            entry.conn.state = new;
            entry.conn.since = Some(at);
        }
        let conn = entry.conn;
        if !silent {
            let ends = new == TcpState::Close;
            let end = ends.then(|| entry.history.end(&conn, from, at));
            changes.push(Change {
                at,
                conn,
                from: Some(from),
                in_from_ns,
                end,
                inferred: false,
            });
        }
        if new == TcpState::Close {
            // Unhashed; the object stays until tcp_destroy_sock, and may connect again.
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.superseded = false;
                entry.unannounced = false;
            }
            self.nameless.remove(&id);
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

    /// Brings a socket to the state that an event says it was in before, if the table knew another.
    fn catch_up(&mut self, id: SockId, step: &Step<'_>, changes: &mut Vec<Change>) {
        let &Step { event, old, .. } = step;
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        let known = entry.conn.state;
        let carried = known == TcpState::SynRecv && step.child;
        let repeats = step.repeated && known == step.new;
        let may_be_behind = !self.expected.every_change && old != TcpState::Close;
        if known == old || carried || repeats || may_be_behind {
            return;
        }
        let told = entry.told();
        let end = (old == TcpState::Close).then(|| entry.history.unseen_end(&entry.conn));
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.conn.state = old;
        entry.conn.since = None;
        let conn = entry.conn;
        if told {
            self.infer(Ktime(event.ktime_ns), conn, Some(known), end, changes);
        }
    }

    pub(super) fn destroy(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        if self
            .entries
            .get(&id)
            .is_some_and(|entry| entry.conn.kind == Kind::Full)
        {
            self.end_unseen(id, Ktime(event.ktime_ns), changes);
        }
    }
}
