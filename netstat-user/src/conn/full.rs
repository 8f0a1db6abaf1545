//! Full TCP sockets.

use netstat_common::event::SockEvent;

use super::{
    end::History,
    table::{ConnTable, Entry, conn_of_event, tuple},
    types::{Change, Conn, Direction, Kind, Ktime, Provenance, SockId, TcpState},
};

impl ConnTable {
    pub(super) fn state(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        let new = TcpState::from_kernel(event.newstate);
        let old = TcpState::from_kernel(event.oldstate);
        // A child is a new object whose state was copied from the listener; whatever we knew under
        // this address is dead.
        let child = old == TcpState::Listen && new == TcpState::SynRecv;
        let opens = child
            || (old == TcpState::Close && matches!(new, TcpState::SynSent | TcpState::Listen));
        let stale = self.entries.get(&id).is_some_and(|entry| {
            entry.conn.kind != Kind::Full || (opens && !same_life(&entry.conn, event, new, child))
        });
        if stale {
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
        self.learn_endpoints(event, id, opens);
        // A second report of the same birth (from the second copy of the hook) changes nothing,
        // and a child that is closed carries nothing on.
        let unannounced = self.entries.get(&id).is_some_and(|e| e.unannounced);
        if new != TcpState::Close && (unannounced || (met && (child || old == TcpState::SynRecv))) {
            self.link_request(event, id, child && met, changes);
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
    pub(super) fn meet(&mut self, event: &SockEvent, id: SockId, old: TcpState, child: bool) {
        let mut conn = conn_of_event(id, Kind::Full, event);
        conn.state = if child { TcpState::Close } else { old };
        let adopted = self
            .tuples
            .get(&tuple(&conn))
            .copied()
            .filter(|found| matches!(found, SockId::Proc(_)));
        let adopted = adopted.or_else(|| self.proc_listener(&conn, old));
        if let Some(entry) = adopted.and_then(|found| self.remove(found)) {
            conn.owner = entry.conn.owner;
            conn.since = entry.conn.since;
            conn.direction = entry.conn.direction;
        }
        if child {
            conn.direction = Some(Direction::In);
        }
        self.insert(Entry {
            unannounced: child && event.dport == 0,
            ..Entry::new(conn)
        });
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

    /// Lets a child carry on the connection of its request socket, or take the listener's owner.
    fn link_request(
        &mut self,
        event: &SockEvent,
        id: SockId,
        born: bool,
        changes: &mut Vec<Change>,
    ) {
        let Some(conn) = self.get(id).copied() else {
            return;
        };
        let request = self.tuples.get(&tuple(&conn)).copied().filter(|found| {
            let kind = self.get(*found).map(|found| found.kind);
            *found != id && kind == Some(Kind::Request)
        });
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
            return;
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
                });
            }
        }
    }

    pub(super) fn step(
        &mut self,
        event: &SockEvent,
        id: SockId,
        old: TcpState,
        new: TcpState,
        changes: &mut Vec<Change>,
    ) {
        let at = Ktime(event.ktime_ns);
        self.unindex(id);
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
        // How long a socket was closed before it opens again is nobody's time in a state.
        let since = since.filter(|_| from != TcpState::Close);
        let in_from_ns = since.map(|since| at.since(since));
        if known == TcpState::Close && new != TcpState::Close {
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

    pub(super) fn destroy(&mut self, event: &SockEvent, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(event.skaddr);
        if self
            .entries
            .get(&id)
            .is_some_and(|entry| entry.conn.kind == Kind::Full)
        {
            self.end(id, Ktime(event.ktime_ns), changes);
        }
    }
}

/// Whether an event that opens a connection is about the life that the table knows: a closed
/// socket opens again, or the same opening is reported twice. Otherwise the end was lost.
fn same_life(known: &Conn, event: &SockEvent, new: TcpState, child: bool) -> bool {
    let seen = conn_of_event(known.id, Kind::Full, event);
    if known.netns != seen.netns {
        return false;
    }
    if !child && known.state == TcpState::Close {
        return true;
    }
    known.state == new
        && known.local.port == seen.local.port
        && (known.remote == seen.remote || new == TcpState::Listen)
}
