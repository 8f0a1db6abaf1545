//! Filling the table at the start, and setting it right: after a loss, or because a comparison
//! with the kernel found it wrong.

use std::{collections::BTreeMap, io::Read as _, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use netstat_common::{
    row::{ROW_GONE, SockRow},
    walk::{ONLY_HALF_OPEN, ONLY_OWN_NET},
};
use rustc_hash::FxHashSet;

use crate::{
    clock,
    conn::{
        gaps::Gaps,
        seed::Correction,
        table::{ConnTable, LIMBO_NS},
        types::{Conn, Kind, Ktime, Owner, Provenance, SockId, TcpState, Tenure},
    },
    proc,
};

use super::{
    health::{Doubt, Moment},
    object::Purpose,
    refresh::With,
    session::{ITER_TCP, News, Session, no_walk},
};

/// Between two healings because of contradictions, nanoseconds: at least, and at most.
const GAPS_PAUSE_NS: (u64, u64) = (100_000_000, 800_000_000);
/// A healing because of contradictions takes one part in this many of the time.
const GAPS_SHARE: u64 = 10;

/// A socket that changed its state so short ago may not be in its hash chain yet: the event comes
/// first. It is judged the next time, nanoseconds.
const YOUNG_NS: u64 = 20_000_000;
/// What a comparison has left can be judged after this time, nanoseconds.
pub(super) const OLD_NS: u64 = 2 * YOUNG_NS;

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
            for conn in self.untold_in_proc(news)? {
                self.table.seed_proc(conn);
            }
            return Ok(());
        }
        let only = match self.purpose {
            Purpose::Snapshot => ONLY_OWN_NET,
            Purpose::Table | Purpose::Log | Purpose::Agent => 0,
        };
        self.complete(only, news, |_, _| ())
    }

    /// Walks, and reads what the walk found. Names the sockets that the table lacked.
    pub(super) fn complete(
        &mut self,
        only: u32,
        news: &mut News,
        mut added: impl FnMut(&ConnTable, u64),
    ) -> Result<()> {
        let walked = match &self.walk {
            Some(_) => self.walk(only, news),
            None => self.iterate(ITER_TCP, news),
        };
        match walked {
            Err(error) if self.walk.is_some() => self.do_without_walk(&error, news)?,
            walked => walked?,
        }
        // An event that came meanwhile tells of its socket itself.
        self.take(news);
        if self.purpose == Purpose::Snapshot {
            // They are read once, when they are printed, and in the order of the hash tables, as in
            // /proc. A chain may have been walked twice.
            let mut met = FxHashSet::default();
            self.addresses.retain(|skaddr| met.insert(*skaddr));
            return Ok(());
        }
        let bare = self.table.bare();
        let mut rows = Vec::with_capacity(bare.len());
        let looked = clock::ktime();
        self.read_rows(&bare, With::LEAST, |_, _, row| rows.push(*row))?;
        // Who has changed since the walk is told by its event: a row may be ahead of it.
        self.take(news);
        for (skaddr, row) in bare.into_iter().zip(rows) {
            self.table.seed_row(skaddr, &row, looked, &mut news.changes);
            added(&self.table, skaddr);
        }
        Ok(())
    }

    /// What /proc lists, besides sockets that the table has from events by now. /proc is read before
    /// and after events are taken in: who changed in between is in the table, and who was there
    /// both times is as it was before, or the events about it are still to come.
    fn untold_in_proc(&mut self, news: &mut News) -> Result<Vec<Conn>> {
        let mut before = self.listed_in_proc()?;
        self.take(news);
        // A minisock leaves its hash chain a moment after the event of its end.
        std::thread::sleep(Duration::from_nanos(LIMBO_NS));
        let after = proc::tcp_sockets(self.netns, 0)?;
        let ends = |conn: &Conn| (conn.local, conn.remote);
        let after: FxHashSet<_> = after.iter().map(|seed| ends(&seed.conn)).collect();
        before.retain(|conn| after.contains(&ends(conn)));
        Ok(before)
    }

    fn listed_in_proc(&self) -> Result<Vec<Conn>> {
        // The table gives them numbers of its own.
        let seeds = proc::tcp_sockets(self.netns, 0)?;
        let owners = proc::owners(Path::new("/proc")).by_inode;
        let with_owner = seeds.into_iter().map(|seed| {
            let text = owners.get(seed.inode).filter(|_| seed.inode != 0);
            let owner = text.and_then(proc::pid_of).map(|pid| Owner {
                pid,
                comm: [0; 16],
                provenance: Provenance::Seeded,
                tenure: Tenure::Current,
            });
            Conn { owner, ..seed.conn }
        });
        Ok(with_owner.collect())
    }

    /// A walk that fails is not tried again: `iter/tcp` serves from now on.
    fn do_without_walk(&mut self, error: &anyhow::Error, news: &mut News) -> Result<()> {
        self.walk = None;
        self.hooks.push(no_walk(format!("{error:#}")));
        // It is loaded already once the kernel's types are released.
        if !self.object.is_loaded(ITER_TCP) {
            self.object.load_iter(ITER_TCP, "tcp")?;
        }
        self.iterate(ITER_TCP, news)
    }

    /// Makes the table right after a loss, as far as this kernel lets us look. The table is exact
    /// from then on only if that was everywhere.
    pub(super) fn heal(&mut self, news: &mut News) -> Result<()> {
        self.health.in_doubt = Some(Doubt::Everything);
        self.health.healings += 1;
        // What the healing before has left is still left.
        if self.heal_what_is_old(news)? {
            self.rest = Some(clock::ktime());
        }
        self.all_compared();
        Ok(())
    }

    /// Sets right what can be judged by now; whether anything cannot.
    fn heal_what_is_old(&mut self, news: &mut News) -> Result<bool> {
        if !self.can_look() {
            return self.heal_from_proc(news);
        }
        let found = self.reconcile(Scope::Everything, news)?;
        Ok(!found.undecided.is_empty())
    }

    /// All that this kernel shows was compared: no more is in doubt than what it does not show.
    fn all_compared(&mut self) {
        let ours = self.netns;
        let blind = self.walk.is_none() && self.table.listed().any(|conn| conn.netns != ours);
        self.health.in_doubt = blind.then_some(Doubt::OtherNamespaces);
        if !blind {
            self.health.exact_since = this_moment();
        }
    }

    /// An event that contradicts the table is evidence of a loss that nobody counted. Where that
    /// goes on, healing takes one part in [`GAPS_SHARE`] of the time, but comes each second.
    pub(super) fn heal_gaps(&mut self, news: &mut News) -> Result<()> {
        if self.unhealed().half_open > 0 && !self.in_flood() {
            // Events may have been kept out since the counters were read.
            let counters = self.object.counters()?;
            self.notice_flood(&counters);
        }
        let new = self.unhealed();
        // A flood has its own clean-up.
        let cleaned_up = if self.in_flood() { new.half_open } else { 0 };
        if self.purpose == Purpose::Snapshot || new.all == cleaned_up {
            // What was in doubt before the flood was known to be one is in its doubt now.
            let counted = self.health.lost.of_sockets() > self.healed;
            if self.in_flood() && !counted && self.health.in_doubt == Some(Doubt::Everything) {
                self.health.in_doubt = None;
            }
            return Ok(());
        }
        let begin = clock::ktime();
        if begin < self.gaps_due {
            self.health.in_doubt = Some(Doubt::Everything);
            return Ok(());
        }
        self.heal(news)?;
        let end = clock::ktime();
        let (least, most) = GAPS_PAUSE_NS;
        self.gaps_due = Ktime(end.0 + (GAPS_SHARE * end.since(begin)).clamp(least, most));
        Ok(())
    }

    /// Contradictions since the last comparison with the kernel.
    fn unhealed(&self) -> Gaps {
        let (shown, healed) = (self.table.contradictions(), self.gaps_healed);
        Gaps {
            all: shown.all - healed.all,
            half_open: shown.half_open - healed.half_open,
        }
    }

    /// Heals at once what waits to be healed: somebody wants to read the table.
    ///
    /// # Errors
    /// bpf(2).
    pub fn settle(&mut self) -> Result<()> {
        if self.health.in_doubt != Some(Doubt::Everything) {
            return Ok(());
        }
        self.gaps_due = Ktime::default();
        let mut later = std::mem::take(&mut self.later);
        let healed = self.heal_gaps(&mut later);
        self.later = later;
        healed
    }

    /// What was too young to be judged is judged now. Finds what the last healing left, which is
    /// no new mismatch.
    pub(super) fn heal_the_rest(&mut self, news: &mut News) -> Result<()> {
        if !self.rest.is_some_and(is_due) {
            return Ok(());
        }
        self.rest = self.heal_what_is_old(news)?.then(clock::ktime);
        if self.rest.is_none() && self.health.in_doubt.is_none() {
            self.health.exact_since = this_moment();
        }
        Ok(())
    }

    /// What was too young to be judged by an audit is judged now, and counts as what an audit finds.
    pub(super) fn audit_again(&mut self, news: &mut News) -> Result<()> {
        if self.recheck.is_some_and(is_due) {
            self.recheck = None;
            self.audit(news)?;
        }
        Ok(())
    }

    /// Without a refresh program: what /proc does not list (any more) is dropped, what it lists is
    /// added, and its states count. That is our own namespace. Gives whether there are sockets that
    /// are too young to be judged.
    fn heal_from_proc(&mut self, news: &mut News) -> Result<bool> {
        self.take(news);
        let shown = self.table.contradictions();
        let netns = self.netns;
        let known = self.table.listed().filter(|conn| conn.netns == netns);
        let known: Vec<Conn> = known.copied().collect();
        let listed: BTreeMap<_, _> = proc::tcp_sockets(netns, 0)?
            .iter()
            .map(|seed| ((seed.conn.local, seed.conn.remote), seed.conn.state))
            .collect();
        // Who has changed while /proc was read is told by its event.
        self.take(news);
        let now = clock::ktime();
        let mut young = false;
        for before in known {
            if self.table.get(before.id) != Some(&before) {
                continue;
            }
            if is_young(&before, now) {
                young = true;
                continue;
            }
            match listed.get(&(before.local, before.remote)) {
                None => self.table.forget(before.id, now, &mut news.changes),
                Some(state) => self
                    .table
                    .restate(before.id, *state, now, &mut news.changes),
            }
        }
        for conn in self.untold_in_proc(news)? {
            self.table.find_proc(conn, now, &mut news.changes);
        }
        self.gaps_healed = shown;
        Ok(young)
    }

    /// Compares the table with the kernel and sets it right. Exact while sockets come and go: what
    /// an event tells is told by the event, and what looks gone is looked at twice.
    pub(super) fn reconcile(&mut self, scope: Scope, news: &mut News) -> Result<Findings> {
        let mut findings = Findings::default();
        let shown = self.table.contradictions();
        let mut known = self.table.held();
        if scope == Scope::HalfOpen {
            known.retain(|skaddr| self.known(*skaddr).is_some_and(|c| c.kind == Kind::Request));
        }
        let mut gone = Vec::new();
        // Told as of before the look: events that come later are later.
        let looked = clock::ktime();
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
                match self.table.correct(skaddr, &row, looked, &mut news.changes) {
                    Correction::Fine => {}
                    Correction::Undecided => findings.undecided.push(skaddr),
                    Correction::Replaced => findings.note(Fault::Replaced, before),
                    // Without the log, changes between two listed states are not sent.
                    Correction::Restated if !self.hears_all => {}
                    Correction::Restated => findings.note(Fault::State, before),
                }
            }
        }
        let only = match scope {
            Scope::Everything => 0,
            Scope::HalfOpen => ONLY_HALF_OPEN,
        };
        self.complete(only, news, |table, skaddr| {
            if let Some(conn) = table.get(SockId::Kernel(skaddr)) {
                findings.note(Fault::Missing, *conn);
            }
        })?;
        let looked = clock::ktime();
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
                .forget(SockId::Kernel(skaddr), looked, &mut news.changes);
            // A closed socket is in no chain; that it is freed shows only in the event.
            if before.state != TcpState::Close && !carried_on {
                findings.note(Fault::Extra, before);
            }
        }
        let half_open = shown.half_open - self.gaps_healed.half_open;
        self.gaps_healed.all += half_open;
        self.gaps_healed.half_open += half_open;
        if scope == Scope::Everything {
            self.gaps_healed = shown;
            if self.health.in_doubt == Some(Doubt::Everything) {
                // A healing that was put off has become needless.
                self.all_compared();
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

/// Whether what was left then can be judged now.
fn is_due(left: Ktime) -> bool {
    clock::ktime().since(left) > OLD_NS
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
