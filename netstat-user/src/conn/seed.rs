//! What is known from looking instead of from events: the start, and healing after a loss.

use netstat_common::row::{ROW_GONE, ROW_TIMEWAIT, SockRow};

use super::{
    table::{ConnTable, Entry, conn_of_row, tuple},
    types::{Change, Conn, Endpoint, Kind, Ktime, SockId, TcpState},
};

/// What [`ConnTable::correct`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// The table was right.
    Fine,
    /// The socket was in another state.
    Restated,
    /// The address names another socket than the table knew.
    Replaced,
    /// A minisock whose end is being awaited, and that is still there.
    Undecided,
}

impl ConnTable {
    /// Notes a socket that an iterator found. [`ConnTable::seed_row`] completes it.
    pub fn seed(&mut self, skaddr: u64) {
        let id = SockId::Kernel(skaddr);
        if self.entries.contains_key(&id) {
            return;
        }
        self.insert(Entry {
            bare: true,
            ..Entry::new(Conn {
                id,
                kind: Kind::Full,
                netns: 0,
                family: 0,
                local: Endpoint::NONE,
                remote: Endpoint::NONE,
                state: TcpState::Unknown(0),
                since: None,
                owner: None,
                direction: None,
            })
        });
    }

    /// Sockets that were seeded and not completed.
    pub fn bare(&self) -> Vec<u64> {
        let bare = self.entries.values().filter(|entry| entry.bare);
        bare.filter_map(|entry| entry.conn.id.kernel()).collect()
    }

    /// Completes a seeded socket with what a refresh read of it.
    pub fn seed_row(&mut self, skaddr: u64, row: &SockRow) {
        let id = SockId::Kernel(skaddr);
        if !self.entries.get(&id).is_some_and(|entry| entry.bare) {
            return;
        }
        self.remove(id);
        if row.kind == ROW_GONE {
            return;
        }
        self.insert(Entry::new(conn_of_row(id, row)));
    }

    /// Sets a socket right after events were lost, from what a refresh reads of it.
    pub fn correct(
        &mut self,
        skaddr: u64,
        row: &SockRow,
        at: Ktime,
        changes: &mut Vec<Change>,
    ) -> Correction {
        let id = SockId::Kernel(skaddr);
        let Some(known) = self.get(id).copied() else {
            return Correction::Fine;
        };
        let seen = conn_of_row(id, row);
        let bare = self.entries.get(&id).is_some_and(|entry| entry.bare);
        let whole = |conn: &Conn| conn.local.port != 0 && conn.remote.port != 0;
        let moved = whole(&known) && whole(&seen) && tuple(&known) != tuple(&seen);
        if bare || moved || known.kind != seen.kind || known.netns != seen.netns {
            // The address names another object by now.
            self.forget(id, at, changes);
            self.seed(skaddr);
            self.seed_row(skaddr, row);
            return if bare {
                Correction::Fine
            } else {
                Correction::Replaced
            };
        }
        if self.settles_itself(id) {
            // A killed minisock leaves its chain a moment after its timer is taken out.
            return Correction::Undecided;
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
        if seen.kind == Kind::TimeWait && seen.state == TcpState::FinWait2 {
            self.half_closed.insert(id);
        } else {
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
                direction: known.direction,
                since: None,
                ..seen
            };
            changes.push(Change {
                at,
                conn,
                from: Some(known.state),
                in_from_ns: None,
                end: None,
            });
        }
        // A FIN_WAIT2 minisock may become TIME_WAIT without an event.
        let silent = known.kind == Kind::TimeWait && seen.state == TcpState::TimeWait;
        if known.state == seen.state || silent {
            Correction::Fine
        } else {
            Correction::Restated
        }
    }

    /// Whether a minisock's timer was taken out: [`ConnTable::expire`] tells what became of it.
    #[must_use]
    pub fn settles_itself(&self, id: SockId) -> bool {
        let entry = self.entries.get(&id);
        entry.is_some_and(|entry| entry.cancelled.is_some())
    }

    /// Whether another object carries the connection on: this one ends any moment.
    #[must_use]
    pub fn is_carried_on(&self, id: SockId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.superseded)
    }

    /// Minisocks in FIN_WAIT2. A FIN that comes within the same bucket of the timer wheel makes
    /// them TIME_WAIT without an event: whoever wants to know must look.
    pub fn half_closed(&self) -> Vec<u64> {
        self.half_closed
            .iter()
            .filter_map(|id| id.kernel())
            .collect()
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
    pub fn forget(&mut self, id: SockId, at: Ktime, changes: &mut Vec<Change>) {
        let told = changes.len();
        self.end(id, at, changes);
        for change in &mut changes[told..] {
            change.in_from_ns = None;
        }
    }

    /// Adds a socket that is known from /proc only. An event about the same endpoints takes it over.
    pub fn seed_proc(&mut self, conn: Conn) {
        let taken = match conn.state {
            TcpState::Listen => self
                .listeners
                .get(&(conn.netns, conn.local.port))
                .into_iter()
                .flatten()
                .any(|id| self.get(*id).is_some_and(|held| held.local == conn.local)),
            _ => conn.remote.port != 0 && self.tuples.contains_key(&tuple(&conn)),
        };
        if !taken && !self.entries.contains_key(&conn.id) {
            self.insert(Entry::new(conn));
        }
    }
}
