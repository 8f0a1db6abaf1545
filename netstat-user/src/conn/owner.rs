//! Who owns a socket, and when that should be looked up again.

use std::collections::BTreeSet;

use netstat_common::event::{FLAG_KTHREAD, FLAG_PROCESS, SockEvent};

use super::{
    table::ConnTable,
    types::{Conn, Kind, Owner, Provenance, SockId, TcpState, Tenure},
};

impl ConnTable {
    /// Sets an owner that was looked up.
    pub fn set_owner(&mut self, id: SockId, pid: u32, provenance: Provenance) {
        self.doubts.remove(&id);
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        // What was seen is kept if it is the same process: it has the name too.
        let before = entry.conn.owner;
        let seen = |owner: Owner| owner.provenance == Provenance::Seen && !owner.is_past();
        if before.is_some_and(|owner| owner.pid == pid && seen(owner)) {
            return;
        }
        self.give(
            id,
            Some(Owner {
                pid,
                comm: [0; 16],
                provenance,
                tenure: Tenure::Current,
            }),
        );
    }

    /// Replaces the owner of a socket; the counts follow.
    pub(super) fn give(&mut self, id: SockId, owner: Option<Owner>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            let before = std::mem::replace(&mut entry.conn.owner, owner);
            self.own(before, -1);
            self.own(owner, 1);
        }
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

    /// A new process has this id: whoever owned sockets by it before is gone.
    pub fn id_is_used_again(&mut self, pid: u32) {
        if !self.owned.contains_key(&pid) {
            return;
        }
        for entry in self.entries.values_mut() {
            let owner = entry.conn.owner.as_mut();
            if let Some(owner) = owner.filter(|owner| owner.pid == pid && !owner.is_past()) {
                owner.tenure = Tenure::Past;
                if entry.conn.kind == Kind::Full {
                    self.doubts.insert(entry.conn.id);
                }
            }
        }
    }

    /// Tells the name of the last past owner of this id, if it is known.
    pub fn name_past_owner(&mut self, pid: u32, name: Option<&[u8]>) {
        if self.owned.contains_key(&pid) {
            for entry in self.entries.values_mut() {
                if let Some(owner) = &mut entry.conn.owner {
                    owner.name_if_past(pid, name);
                }
            }
        }
    }

    /// Whether a process owns a socket as far as known.
    pub fn owns(&self, pid: u32) -> bool {
        self.owned.contains_key(&pid)
    }

    /// Sockets whose owner should be looked up; the list is cleared.
    pub fn take_doubts(&mut self) -> BTreeSet<SockId> {
        std::mem::take(&mut self.doubts)
    }

    pub(super) fn learn_owner(&mut self, event: &SockEvent, id: SockId, new: TcpState) {
        if event.flags & FLAG_PROCESS == 0 || event.flags & FLAG_KTHREAD != 0 {
            return;
        }
        // Nobody of our PID namespace.
        if event.tgid == 0 {
            return;
        }
        let seen = Owner {
            pid: event.tgid,
            comm: event.comm,
            provenance: Provenance::Seen,
            tenure: Tenure::Current,
        };
        let before = self.get(id).and_then(|conn| conn.owner);
        self.give(id, Some(seen));
        // Who shuts down need not be the one whom netstat names while others hold the socket too.
        let opens = matches!(new, TcpState::SynSent | TcpState::Listen);
        if !opens && before.is_some_and(|owner| owner.pid != seen.pid || owner.is_past()) {
            self.doubts.insert(id);
        }
    }

    /// The listeners that a connection may have come from.
    pub fn listeners_of(&self, conn: &Conn) -> impl Iterator<Item = SockId> {
        let same_port = self.listeners.get(&(conn.netns, conn.local.port));
        same_port.into_iter().flatten().copied()
    }

    /// Gives a connection that nobody has accepted its listener's owner anew.
    pub fn inherit_owner(&mut self, id: SockId) {
        let Some(conn) = self.get(id).filter(|conn| conn.is_inherited()).copied() else {
            return;
        };
        if let Some(owner) = self.listener_owner(&conn) {
            self.give(id, Some(owner));
        }
    }

    /// What a connection that nobody has accepted has for an owner: its listener's.
    pub fn listener_owner(&self, conn: &Conn) -> Option<Owner> {
        let same_port = self.listeners.get(&(conn.netns, conn.local.port))?;
        let listeners = same_port.iter().filter_map(|id| self.get(*id));
        let best = listeners
            .filter(|listener| listener.local.addr == conn.local.addr || listener.local.is_any())
            .max_by_key(|listener| {
                // A child has the family of its listener.
                (
                    listener.local.addr == conn.local.addr,
                    listener.family == conn.family,
                )
            })?;
        best.owner.map(|owner| Owner {
            provenance: Provenance::Listener,
            ..owner
        })
    }

    pub(super) fn own(&mut self, owner: Option<Owner>, by: i32) {
        let Some(Owner { pid, .. }) = owner else {
            return;
        };
        let count = self.owned.entry(pid).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.owned.remove(&pid);
        }
    }
}
