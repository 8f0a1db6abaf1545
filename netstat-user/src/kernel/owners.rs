//! Owners for the log: looked up in the descriptor tables before a line is printed.
//!
//! Events name a process only where it acts itself (connect, listen, close). Who accepted a
//! connection, or was handed it, shows in the descriptor tables alone.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::{
    clock,
    conn::types::{Change, Kind, Provenance, SockId, TcpState},
};

use super::session::{News, Session};

/// A look-up may take one part in this many of the time.
const SHARE: u64 = 10;
/// How long lines whose owner is a guess may be held back for the next look-up, nanoseconds.
const HOLD_NS: u64 = 20_000_000;
/// Between two looks for sockets that nobody has accepted yet, nanoseconds.
const PENDING_EVERY_NS: u64 = 100_000_000;

/// When to look, and for which sockets.
#[derive(Default)]
pub struct Owners {
    /// Looked for and not found: not accepted yet.
    pending: BTreeSet<SockId>,
    /// No look before this time, so that looking stays cheap on a host with many descriptors.
    not_before_ns: u64,
    pending_at_ns: u64,
}

impl Owners {
    /// Finds the owners of everything that existed before the log.
    ///
    /// # Errors
    /// bpf(2).
    pub fn seed(&mut self, session: &mut Session, news: &mut News) -> Result<()> {
        let full = session
            .table
            .listed()
            .filter(|conn| conn.kind == Kind::Full);
        let full: BTreeSet<SockId> = full.map(|conn| conn.id).collect();
        self.look_up(session, full, Provenance::Seeded, news)
    }

    /// For how many nanoseconds these changes should be held back: until the next look-up, where one
    /// of them would show a guess, and it is soon.
    #[must_use]
    pub fn hold(&self, news: &News) -> u64 {
        let early_ns = self.not_before_ns.saturating_sub(clock::ktime().0);
        if early_ns > HOLD_NS || !news.changes.iter().any(is_guess) {
            return 0;
        }
        early_ns
    }

    /// Corrects the owners in `news.changes`; what a look-up itself brings in is put into `later`.
    ///
    /// # Errors
    /// bpf(2).
    pub fn correct(
        &mut self,
        session: &mut Session,
        news: &mut News,
        later: &mut News,
    ) -> Result<()> {
        let now = clock::ktime().0;
        if now < self.not_before_ns {
            // The sockets stay in doubt, and the lines say how their owner is known.
            return Ok(());
        }
        let mut sockets: BTreeSet<SockId> = news
            .changes
            .iter()
            .filter(|change| may_change_hands(change))
            .map(|c| c.conn.id)
            .collect();
        let inherited = news
            .changes
            .iter()
            .filter(|change| change.conn.is_inherited());
        for change in inherited {
            // Who listens may have handed the listener on since.
            sockets.extend(session.table.listeners_of(&change.conn));
        }
        sockets.append(&mut session.table.take_doubts());
        if now.saturating_sub(self.pending_at_ns) >= PENDING_EVERY_NS {
            self.pending_at_ns = now;
            sockets.append(&mut self.pending);
        }
        if sockets.is_empty() {
            return Ok(());
        }
        self.look_up(session, sockets, Provenance::Resolved, later)?;
        for change in news
            .changes
            .iter_mut()
            .filter(|change| may_change_hands(change))
        {
            // The address may be another connection's by now: its owner is nothing to this one.
            let now = session.table.get(change.conn.id);
            if let Some(conn) = now.filter(|conn| conn.is_between(&change.conn)) {
                change.conn.owner = conn.owner;
            }
        }
        let changes = news.changes.iter_mut();
        for change in changes.filter(|change| change.conn.is_inherited()) {
            if let Some(owner) = session.table.listener_owner(&change.conn) {
                change.conn.owner = Some(owner);
                session.table.inherit_owner(change.conn.id);
            }
        }
        let end = clock::ktime().0;
        self.not_before_ns = end + SHARE * (end - now);
        Ok(())
    }

    fn look_up(
        &mut self,
        session: &mut Session,
        sockets: BTreeSet<SockId>,
        provenance: Provenance,
        news: &mut News,
    ) -> Result<()> {
        let addresses: Vec<u64> = sockets.iter().filter_map(|id| id.kernel()).collect();
        let inodes = session.inodes(&addresses)?;
        if inodes.iter().any(|(_, inode)| *inode != 0) {
            let holders = session.holders(news)?;
            for &(address, inode) in &inodes {
                let lowest = holders.get(holders.partition_point(|holder| *holder < (inode, 0)));
                if let Some((_, pid)) = lowest.filter(|holder| inode != 0 && holder.0 == inode) {
                    session
                        .table
                        .set_owner(SockId::Kernel(address), *pid, provenance);
                }
            }
        }
        let unaccepted = inodes.iter().filter(|(_, inode)| *inode == 0);
        self.pending.extend(unaccepted.filter_map(|(address, _)| {
            let id = SockId::Kernel(*address);
            // An orphan has no file either, and gets none.
            let conn = session.table.get(id)?;
            matches!(conn.state, TcpState::Established | TcpState::CloseWait).then_some(id)
        }));
        Ok(())
    }
}

/// Whether the owner of a changed socket can be another than the events told.
fn may_change_hands(change: &Change) -> bool {
    change.conn.kind == Kind::Full
        && !matches!(
            change.conn.state,
            TcpState::Close | TcpState::SynSent | TcpState::Listen
        )
}

/// Whether the owner is taken from the listener although it may have been accepted since.
fn is_guess(change: &Change) -> bool {
    let known = change
        .conn
        .owner
        .is_some_and(|owner| owner.provenance != Provenance::Listener);
    may_change_hands(change) && !known && change.conn.state != TcpState::SynRecv
}
