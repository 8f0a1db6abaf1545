//! Filling the table at the start, and setting it right: after a loss, or because a comparison
//! with the kernel found it wrong.

use std::{collections::BTreeSet, io::Read as _, path::Path};

use anyhow::{Context as _, Result};
use netstat_common::{
    row::{ROW_GONE, SockRow},
    walk::{ONLY_HALF_OPEN, ONLY_OWN_NET},
};

use crate::{
    clock,
    conn::{
        seed::Correction,
        types::{Conn, Kind, Ktime, Owner, Provenance, SockId, TcpState, Tenure},
    },
    proc,
};

use super::{
    health::{Doubt, Moment},
    object::Purpose,
    refresh::With,
    session::{News, Session},
};

/// A socket that changed its state so short ago may not be in its hash chain yet: the event comes
/// first. It is judged the next time, nanoseconds.
const YOUNG_NS: u64 = 20_000_000;

/// Which part of the table is set right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it.
    Everything,
    /// Request sockets only.
    HalfOpen,
}

pub use crate::conn::compare::Fault;

/// A row that was wrong, as it was (or, a missing one, as it is now).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was wrong.
    pub fault: Fault,
    /// The row.
    pub conn: Conn,
}

/// What one comparison with the kernel came to. The table is right again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Rows of the table that were compared.
    pub rows: usize,
    /// Rows that were wrong.
    pub mismatches: Vec<Mismatch>,
    /// Sockets that look wrong and may not be: too young to be judged, or changing meanwhile.
    pub undecided: Vec<u64>,
}

impl Session {
    /// Adds the sockets that the table lacks, and completes them: those of all namespaces where the
    /// kernel's tables can be walked, else those of our own.
    pub(super) fn seed(&mut self, news: &mut News) -> Result<()> {
        if !self.can_look() {
            return self.seed_from_proc();
        }
        let only = match self.purpose {
            Purpose::Snapshot => ONLY_OWN_NET,
            Purpose::Table | Purpose::Log => 0,
        };
        self.complete(only, news).map(|_| ())
    }

    /// Walks, and reads what the walk found. Gives the sockets that the table lacked.
    pub(super) fn complete(&mut self, only: u32, news: &mut News) -> Result<Vec<Conn>> {
        if self.walk.is_some() {
            self.walk(only, news)?;
        } else {
            self.iterate("iter_tcp", news)?;
        }
        // An event that came meanwhile tells of its socket itself.
        self.take(news);
        if self.purpose == Purpose::Snapshot {
            // They are read once, when they are printed. A chain may have been walked twice.
            self.addresses.sort_unstable();
            self.addresses.dedup();
            return Ok(Vec::new());
        }
        let bare = self.table.bare();
        let mut added = Vec::new();
        self.read_rows(&bare, With::LEAST, |table, index, row| {
            table.seed_row(bare[index], row);
            added.extend(table.get(SockId::Kernel(bare[index])).copied());
        })?;
        Ok(added)
    }

    /// What /proc lists and no event has told.
    fn seed_from_proc(&mut self) -> Result<()> {
        let seeds = proc::tcp_sockets(self.netns, self.proc_seeds)?;
        self.proc_seeds += seeds.len() as u64;
        let owners = proc::owners(Path::new("/proc")).by_inode;
        for seed in seeds {
            let text = owners.get(seed.inode).filter(|_| seed.inode != 0);
            let owner = text.and_then(proc::pid_of).map(|pid| Owner {
                pid,
                comm: [0; 16],
                provenance: Provenance::Seeded,
                tenure: Tenure::Current,
            });
            self.table.seed_proc(Conn { owner, ..seed.conn });
        }
        Ok(())
    }

    /// Makes the table right after a loss.
    pub(super) fn heal(&mut self, news: &mut News) -> Result<()> {
        self.health.in_doubt = Some(Doubt::Everything);
        self.health.healings += 1;
        if self.can_look() {
            let found = self.reconcile(Scope::Everything, news)?;
            self.recheck = (!found.undecided.is_empty()).then(clock::ktime);
            self.health.in_doubt = None;
        } else {
            let undecided = self.heal_from_proc(news)?;
            self.recheck = undecided.then(clock::ktime);
        }
        self.health.exact_since = this_moment();
        Ok(())
    }

    /// What was too young to be judged is judged now. Finds what the last healing left, which is
    /// no new mismatch.
    pub(super) fn heal_the_rest(&mut self, news: &mut News) -> Result<()> {
        let due = |at: Ktime| clock::ktime().since(at) > 2 * YOUNG_NS;
        if self.recheck.is_some_and(due) {
            let undecided = if self.can_look() {
                !self
                    .reconcile(Scope::Everything, news)?
                    .undecided
                    .is_empty()
            } else {
                self.heal_from_proc(news)?
            };
            self.recheck = undecided.then(clock::ktime);
        }
        Ok(())
    }

    /// Without a refresh program: what /proc does not list (any more) is dropped, what it lists is
    /// added. That is our own namespace; sockets of others stay in doubt. Gives whether there are
    /// sockets that are too young to be judged.
    fn heal_from_proc(&mut self, news: &mut News) -> Result<bool> {
        let listed: BTreeSet<_> = proc::tcp_sockets(self.netns, 0)?
            .iter()
            .map(|seed| (seed.conn.local, seed.conn.remote))
            .collect();
        let now = clock::ktime();
        let netns = self.netns;
        let unlisted = self.table.listed().filter(|conn| {
            let told = listed.contains(&(conn.local, conn.remote));
            conn.netns == netns && !told
        });
        let (young, gone): (Vec<_>, Vec<_>) = unlisted
            .map(|conn| (is_young(conn, now), conn.id))
            .partition(|(young, _)| *young);
        for (_, id) in gone {
            self.table.forget(id, now, &mut news.changes);
        }
        self.seed_from_proc()?;
        let others = self.table.listed().any(|conn| conn.netns != netns);
        self.health.in_doubt = others.then_some(Doubt::Everything);
        Ok(!young.is_empty())
    }

    /// Compares the table with the kernel and sets it right. Exact while sockets come and go: what
    /// an event tells is told by the event, and what looks gone is looked at twice.
    pub(super) fn reconcile(&mut self, scope: Scope, news: &mut News) -> Result<Findings> {
        let mut findings = Findings::default();
        let mut known = self.table.held();
        if scope == Scope::HalfOpen {
            known.retain(|skaddr| self.known(*skaddr).is_some_and(|c| c.kind == Kind::Request));
        }
        let mut gone = Vec::new();
        let unchanged = self.read_unchanged(&known, news)?;
        findings.rows = unchanged.len();
        for (skaddr, before, row) in unchanged {
            if row.kind == ROW_GONE {
                gone.push(skaddr);
                continue;
            }
            let now = clock::ktime();
            if is_young(&before, now) {
                // The event comes before the state is stored.
                let same = before.state == TcpState::from_kernel(row.state);
                findings.undecided.extend((!same).then_some(skaddr));
            } else {
                match self.table.correct(skaddr, &row, now, &mut news.changes) {
                    Correction::Fine => {}
                    Correction::Undecided => findings.undecided.push(skaddr),
                    Correction::Replaced => findings.note(Fault::Replaced, before),
                    // Without the log, changes between two listed states are not sent.
                    Correction::Restated if self.purpose != Purpose::Log => {}
                    Correction::Restated => findings.note(Fault::State, before),
                }
            }
        }
        let only = match scope {
            Scope::Everything => 0,
            Scope::HalfOpen => ONLY_HALF_OPEN,
        };
        for conn in self.complete(only, news)? {
            findings.note(Fault::Missing, conn);
        }
        for (skaddr, before, row) in self.read_unchanged(&gone, news)? {
            let now = clock::ktime();
            if row.kind != ROW_GONE || self.table.settles_itself(SockId::Kernel(skaddr)) {
                continue;
            }
            if is_young(&before, now) && before.state != TcpState::Close {
                findings.undecided.push(skaddr);
                continue;
            }
            let carried_on = self.table.is_carried_on(SockId::Kernel(skaddr));
            self.table
                .forget(SockId::Kernel(skaddr), now, &mut news.changes);
            // A closed socket is in no chain; that it is freed shows only in the event.
            if before.state != TcpState::Close && !carried_on {
                findings.note(Fault::Extra, before);
            }
        }
        Ok(findings)
    }

    /// Rows of the sockets that no event has changed while they were read, with what the table
    /// knew of them.
    fn read_unchanged(
        &mut self,
        sockets: &[u64],
        news: &mut News,
    ) -> Result<Vec<(u64, Conn, SockRow)>> {
        let before: Vec<_> = sockets.iter().map(|skaddr| self.known(*skaddr)).collect();
        let mut rows = Vec::with_capacity(sockets.len());
        self.read_rows(sockets, With::LEAST, |_, _, row| rows.push(*row))?;
        self.take(news);
        let all = sockets.iter().zip(before).zip(rows);
        let unchanged = all.filter_map(|((skaddr, before), row)| {
            let before = before?;
            (self.known(*skaddr) == Some(before)).then_some((*skaddr, before, row))
        });
        Ok(unchanged.collect())
    }

    fn known(&self, skaddr: u64) -> Option<Conn> {
        self.table.get(SockId::Kernel(skaddr)).copied()
    }

    /// Runs an iterator to its end, emptying the ring each time that it fills.
    pub(super) fn iterate(&mut self, program: &str, news: &mut News) -> Result<()> {
        let mut file = self.object.iterate(program)?;
        let mut nothing = [0; 64];
        loop {
            let read = file.read(&mut nothing);
            self.take(news);
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The ring was full; the kernel hands over the same object again.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("read {program}")),
            }
        }
    }
}

impl Findings {
    fn note(&mut self, fault: Fault, conn: Conn) {
        self.mismatches.push(Mismatch { fault, conn });
    }
}

fn is_young(conn: &Conn, now: Ktime) -> bool {
    conn.since.is_some_and(|since| now.since(since) < YOUNG_NS)
}

/// Now, on both clocks.
pub(super) fn this_moment() -> Moment {
    Moment {
        wall_ns: clock::wall_ns(),
        ktime: clock::ktime(),
    }
}
