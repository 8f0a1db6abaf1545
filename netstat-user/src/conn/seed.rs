//! What is known from looking instead of from events: the start, and healing after a loss.

use netstat_common::row::{ROW_GONE, ROW_TIMEWAIT, SockRow};

use super::{
    gaps::{leads_to, moved},
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

    /// Sockets that were seeded and not completed, for which room is made.
    pub fn bare(&mut self) -> Vec<u64> {
        let bare = self.entries.values().filter(|entry| entry.bare);
        let bare: Vec<u64> = bare.filter_map(|entry| entry.conn.id.kernel()).collect();
        self.tuples.reserve(bare.len());
        bare
    }

    /// Completes a seeded socket with what a refresh read of it. Once the table holds all older
    /// sockets, this one was born unseen.
    pub fn seed_row(&mut self, skaddr: u64, row: &SockRow, at: Ktime, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(skaddr);
        let knows_older = self.knows_older(row.netns);
        let Some(bare) = self.entries.get_mut(&id).filter(|entry| entry.bare) else {
            return;
        };
        if row.kind == ROW_GONE {
            self.remove(id);
            return;
        }
        let mut entry = Entry::new(conn_of_row(id, row));
        if !knows_older {
            *bare = entry;
            self.note(id);
            return;
        }
        self.remove(id);
        let before = self.tuples.get(&tuple(&entry.conn)).copied();
        let before = before.filter(|before| self.may_be_carried_on(*before, entry.conn.kind));
        let mut from = None;
        if let Some((carried, history)) = before.and_then(|before| self.supersede(before)) {
            entry.conn.owner = carried.owner;
            entry.conn.direction = carried.direction;
            entry.history = history;
            from = Some(carried.state);
        }
        let conn = entry.conn;
        self.insert(entry);
        self.doubts.insert(id);
        if from != Some(conn.state) {
            self.infer(at, conn, from, None, changes);
        }
    }

    /// Whether an object of this kind can have taken over the connection of a known one unseen.
    fn may_be_carried_on(&self, before: SockId, by: Kind) -> bool {
        let before = self.get(before).map(|conn| conn.kind);
        matches!(
            (before, by),
            (Some(Kind::Request), Kind::Full | Kind::TimeWait) | (Some(Kind::Full), Kind::TimeWait)
        )
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
        let moved = if whole(&known) && whole(&seen) {
            tuple(&known) != tuple(&seen)
        } else {
            // A socket that calls is known by its peer alone, or by what can become of it.
            let reborn = known.state != TcpState::Close && !leads_to(known.state, seen.state);
            reborn || moved(&known, &seen)
        };
        let nameless = self.nameless.contains(&id) && seen.remote.port != 0;
        if bare || nameless || moved || known.kind != seen.kind || known.netns != seen.netns {
            // The address names another object by now.
            self.forget(id, at, changes);
            self.seed(skaddr);
            self.seed_row(skaddr, row, at, changes);
            return if bare || nameless {
                Correction::Fine
            } else {
                Correction::Replaced
            };
        }
        if self.settles_itself(id) {
            // A killed minisock leaves its chain a moment after its timer is taken out.
            return Correction::Undecided;
        }
        let same = (known.state, known.family) == (seen.state, seen.family)
            && tuple(&known) == tuple(&seen);
        if same && self.tuples.get(&tuple(&known)) == Some(&id) {
            return Correction::Fine;
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
        // A FIN_WAIT2 minisock may become TIME_WAIT without an event.
        let silent = known.kind == Kind::TimeWait && seen.state == TcpState::TimeWait;
        if told && known.state != seen.state {
            let conn = Conn {
                owner: known.owner,
                direction: known.direction,
                since: None,
                ..seen
            };
            if self.expected.every_change && !silent {
                self.infer(at, conn, Some(known.state), None, changes);
            } else {
                changes.push(Change {
                    at,
                    conn,
                    from: Some(known.state),
                    in_from_ns: None,
                    end: None,
                    inferred: false,
                });
            }
        }
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

    /// Takes in the state of a minisock that was looked at. Gives whether it was there.
    pub fn observe(
        &mut self,
        skaddr: u64,
        row: &SockRow,
        at: Ktime,
        changes: &mut Vec<Change>,
    ) -> bool {
        let id = SockId::Kernel(skaddr);
        let known = self.get(id).map(|conn| (conn.kind, tuple(conn)));
        let seen = conn_of_row(id, row);
        let there = row.kind == ROW_TIMEWAIT && known == Some((Kind::TimeWait, tuple(&seen)));
        if there {
            self.move_to(id, seen.state, at, changes);
        }
        there
    }

    /// Takes out a minisock that was looked at twice and was gone both times: by now an event would
    /// have told its end. It is evidence that more was lost.
    pub fn miss_end(&mut self, skaddr: u64, at: Ktime, changes: &mut Vec<Change>) {
        let id = SockId::Kernel(skaddr);
        if self.half_closed.contains(&id) && !self.settles_itself(id) {
            let before = self.gaps;
            self.end_unseen(id, at, changes);
            self.note_contradictions(before);
        }
    }

    /// Takes out a socket whose end was lost.
    pub fn forget(&mut self, id: SockId, at: Ktime, changes: &mut Vec<Change>) {
        self.end_unseen(id, at, changes);
    }

    /// Sets the state of a socket of which /proc tells another than the table.
    pub fn restate(&mut self, id: SockId, state: TcpState, at: Ktime, changes: &mut Vec<Change>) {
        let Some(conn) = self.get(id).copied().filter(|conn| conn.state != state) else {
            return;
        };
        if conn.kind == Kind::TimeWait && state == TcpState::TimeWait {
            // No event tells of it: see `half_closed`.
            self.move_to(id, state, at, changes);
            return;
        }
        let told = self.entries.get(&id).is_some_and(Entry::told);
        self.unindex(id);
        self.set_conn(id, |conn| {
            conn.state = state;
            conn.since = None;
        });
        self.index(id);
        if told && self.expected.every_change {
            self.infer(at, Conn { state, ..conn }, Some(conn.state), None, changes);
        }
    }

    /// Adds a socket that is known from /proc only, under a number of the table's own. An event
    /// about the same endpoints takes it over.
    pub fn seed_proc(&mut self, mut conn: Conn) -> Option<SockId> {
        let taken = match conn.state {
            TcpState::Listen => self
                .listeners
                .get(&(conn.netns, conn.local.port))
                .into_iter()
                .flatten()
                .any(|id| self.get(*id).is_some_and(|held| held.local == conn.local)),
            _ => conn.remote.port != 0 && self.tuples.contains_key(&tuple(&conn)),
        };
        if taken {
            return None;
        }
        conn.id = SockId::Proc(self.proc_seeds);
        self.proc_seeds += 1;
        self.insert(Entry::new(conn));
        Some(conn.id)
    }

    /// As [`ConnTable::seed_proc`], after events were lost: the socket was born unseen.
    pub fn find_proc(&mut self, conn: Conn, at: Ktime, changes: &mut Vec<Change>) {
        if let Some(id) = self.seed_proc(conn) {
            self.infer(at, Conn { id, ..conn }, None, None, changes);
        }
    }
}
