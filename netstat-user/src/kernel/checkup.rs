//! What every long-running tracer does about itself: it notices losses that nobody counted.
//!
//! Each second the kernel's own counts of our namespace (/proc/net/protocols and sockstat) are
//! compared with the table's; more rarely the table is compared with the hash tables of all
//! namespaces. Both are put off so far that they cost a thousandth of one CPU at most, in CPU time: on a
//! busy host a table is wrong no longer than on a quiet one.

use std::{fs, time::Duration};

use anyhow::Result;
use netstat_common::lost::Counter;

use crate::{
    clock,
    conn::types::{Kind, Ktime},
};

use super::{
    heal::{Findings, Mismatch, Scope, this_moment},
    object::{Counters, Purpose},
    session::{News, Session},
};

const SECOND_NS: u64 = 1_000_000_000;
/// Between two comparisons of counts, at least.
const COUNTS_EVERY_NS: u64 = SECOND_NS;
/// Between two comparisons of all rows, at least.
const ROWS_EVERY_NS: u64 = 10 * SECOND_NS;
/// Counts that differed are looked at again after this time: sockets are counted by the kernel a
/// little before or after their events. So are counts that could not be compared.
const AGAIN_NS: u64 = 50_000_000;
/// How often counts must differ in turn to be believed.
const TIMES: u32 = 3;
/// A check may take one part in this many of the time of one CPU.
const SHARE: u64 = 1000;
/// Without a half-open connection over the budget for so long, a SYN flood is over: the budget is
/// given anew each 134 ms.
const FLOOD_ENDS_NS: u64 = 300_000_000;
/// Between two clean-ups of the half-open connections in the table while a flood lasts.
const CLEAN_EVERY_NS: u64 = SECOND_NS;
/// How late an event may be: the host may take the processor away in the middle of it all.
const LATE: Duration = Duration::from_millis(50);
/// Hooks of which there is one copy: an event that the kernel does not give them is lost.
const SINGLE_COPIES: [&str; 3] = ["tcp_destroy", "timer_start", "timer_cancel"];

/// When to check, and what the last checks said.
#[derive(Default)]
pub(super) struct CheckUps {
    counts_due: Ktime,
    rows_due: Ktime,
    differed: u32,
    /// When the last event over the budget was found, while a flood lasts.
    flood: Option<Ktime>,
    cleaned: Ktime,
}

/// Full TCP sockets over IPv4 and IPv6, and timewait minisocks.
type Counts = [u64; 3];

impl Session {
    /// Compares the whole table with the kernel's hash tables, and sets it right. What it finds is
    /// counted in [`super::health::Health::mismatches`], but for what a healing has left: that is of
    /// a loss that was told.
    ///
    /// # Errors
    /// bpf(2).
    pub fn audit(&mut self, news: &mut News) -> Result<Findings> {
        // The healing looks at all of it again: nothing need be waited for, which loses more in a storm.
        let left = self.rest.is_some();
        self.trail.fence();
        let found = self.reconcile(Scope::Everything, news);
        let found = found.map(|found| {
            if left {
                found
            } else {
                self.settled(found, news)
            }
        });
        let told = self.trail.lift_fence();
        let mut found = found?;
        // An event that came before or after says that the table was only early or late.
        let socket = |wrong: &Mismatch| {
            let id = wrong.conn.id.kernel();
            id.filter(|id| left || told.contains(id))
        };
        found
            .undecided
            .extend(found.mismatches.iter().filter_map(socket));
        found.mismatches.retain(|wrong| socket(wrong).is_none());
        self.health.audits += 1;
        if !found.mismatches.is_empty() {
            self.health.mismatches += found.mismatches.len() as u64;
            self.health.exact_since = this_moment();
        }
        self.recheck = (!left && !found.undecided.is_empty()).then(clock::ktime);
        Ok(found)
    }

    /// Waits for the events of what looks wrong, if anything does: some come a moment after what
    /// they tell of.
    fn settled(&mut self, found: Findings, news: &mut News) -> Findings {
        if !found.mismatches.is_empty() {
            clock::sleep(LATE);
            self.take(news);
        }
        found
    }

    /// Does the checks that are due.
    pub(super) fn check_up(&mut self, news: &mut News) -> Result<()> {
        if self.purpose == Purpose::Snapshot || !self.can_look() {
            return Ok(());
        }
        let begin = clock::ktime();
        if begin >= self.check_ups.counts_due {
            let (cpu, taking) = (self.cpu_ns(), self.taking_ns);
            self.count_skipped();
            let differ = self.counts_differ(news)?;
            // Events that came while this thread did not run are no cost of the check: put off a thousand
            // times as long as they took, it would come late on just the host where it is needed.
            let taking = self.taking_ns - taking;
            let used = self.cpu_ns().saturating_sub(cpu + taking);
            let ups = &mut self.check_ups;
            ups.differed = match differ {
                Some(true) => ups.differed + 1,
                Some(false) => 0,
                None => ups.differed,
            };
            let pause = match differ {
                Some(false) => COUNTS_EVERY_NS,
                Some(true) | None => AGAIN_NS,
            };
            ups.counts_due = later(used, pause);
            if ups.differed >= TIMES {
                ups.differed = 0;
                ups.rows_due = begin;
            }
        }
        let (begin, cpu) = (clock::ktime(), self.cpu_ns());
        if begin >= self.check_ups.rows_due && self.walk.is_some() {
            self.audit(news)?;
            self.check_ups.rows_due = later(self.cpu_ns().saturating_sub(cpu), ROWS_EVERY_NS);
        }
        Ok(())
    }

    /// Puts the first checks off: what has just been seeded is right.
    pub(super) fn checked_now(&mut self) {
        let now = clock::ktime();
        self.check_ups.counts_due = Ktime(now.0 + COUNTS_EVERY_NS);
        self.check_ups.rows_due = Ktime(now.0 + ROWS_EVERY_NS);
    }

    /// Whether a SYN flood makes the half-open connections of the table doubtful.
    pub(super) fn in_flood(&self) -> bool {
        self.check_ups.flood.is_some()
    }

    /// Whether events of half-open connections were kept out since the last call: then their rows are
    /// in doubt.
    pub(super) fn notice_flood(&mut self, counters: &Counters) -> bool {
        let over = counters.get(Counter::OverBudget);
        let more = over > self.health.over_budget;
        if more {
            self.health.over_budget = over;
            self.check_ups.flood = Some(clock::ktime());
        }
        more
    }

    /// Keeps the half-open connections bounded while events about them are dropped, and right
    /// afterwards.
    pub(super) fn follow_flood(&mut self, news: &mut News) -> Result<()> {
        let Some(last) = self.check_ups.flood else {
            return Ok(());
        };
        let now = clock::ktime();
        let ends = now.since(last) >= FLOOD_ENDS_NS;
        if ends || now.since(self.check_ups.cleaned) >= CLEAN_EVERY_NS {
            self.check_ups.cleaned = now;
            self.reconcile(Scope::HalfOpen, news)?;
        }
        if !ends {
            return Ok(());
        }
        // It may have gone on while we compared.
        let counters = self.object.counters()?;
        if !self.notice_flood(&counters) {
            self.check_ups.flood = None;
            self.health.exact_since = this_moment();
        }
        Ok(())
    }

    fn count_skipped(&mut self) {
        let misses = SINGLE_COPIES.map(|program| self.object.recursion_misses(program));
        self.health.lost.skipped = misses.into_iter().flatten().sum();
    }

    /// Whether the kernel counts other sockets than the table has; `None` if something happened in our
    /// namespace meanwhile, or the kernel does not tell.
    fn counts_differ(&mut self, news: &mut News) -> Result<Option<bool>> {
        let now = clock::ktime();
        self.take(news);
        self.table.expire(now, &mut news.changes);
        if self.table.has_timewait_in_limbo(self.netns) {
            return Ok(None);
        }
        let before = self.events_of_ours;
        let ours = self.counts();
        let kernels = kernel_counts();
        self.take(news);
        Ok(kernels
            .filter(|_| self.events_of_ours == before)
            .map(|kernels| kernels != ours))
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for conn in self.table.listed().filter(|conn| conn.netns == self.netns) {
            match (conn.kind, conn.family) {
                (Kind::Full, 2) => counts[0] += 1,
                (Kind::Full, _) => counts[1] += 1,
                (Kind::TimeWait, _) => counts[2] += 1,
                (Kind::Request, _) => {}
            }
        }
        counts
    }
}

/// When to check again after a check that took so much CPU time.
fn later(used_ns: u64, at_least: u64) -> Ktime {
    Ktime(clock::ktime().0 + at_least.max(SHARE * used_ns))
}

/// What the kernel counts in the namespace of this thread: sockets in hash tables, not bound ones.
fn kernel_counts() -> Option<Counts> {
    let protocols = fs::read_to_string("/proc/thread-self/net/protocols").ok()?;
    let sockstat = fs::read_to_string("/proc/thread-self/net/sockstat").ok()?;
    let [v4, v6] = ["TCP", "TCPv6"].map(|name| sockets_of(&protocols, name));
    // A kernel without IPv6 has no such line.
    Some([v4?, v6.unwrap_or(0), timewait_of(&sockstat)?])
}

fn sockets_of(protocols: &str, name: &str) -> Option<u64> {
    let mut lines = protocols.lines().map(str::split_whitespace);
    let mut line = lines.find(|words| words.clone().next() == Some(name))?;
    line.nth(2)?.parse().ok()
}

fn timewait_of(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_is_a_count_or_none(text: String, words in "[TCPv6: tw0-9\n-]{0,60}") {
            for text in [&text, &words] {
                let _ = sockets_of(text, "TCP");
                let _ = timewait_of(text);
            }
        }
    }

    #[test]
    fn the_kernels_counts_are_read() {
        let protocols = "protocol  size sockets  memory press maxhdr\n\
                         TCPv6     2432      3     107   no     192\n\
                         TCP       2304     12     107   no     192\n";
        assert_eq!(sockets_of(protocols, "TCP"), Some(12));
        assert_eq!(sockets_of(protocols, "TCPv6"), Some(3));
        assert_eq!(sockets_of(protocols, "UDP"), None);
        let sockstat = "sockets: used 19\nTCP: inuse 1 orphan 0 tw 7 alloc 1 mem 107\n";
        assert_eq!(timewait_of(sockstat), Some(7));
        for damaged in ["", "TCP:", "TCP: tw", "TCP: tw x"] {
            assert_eq!(timewait_of(damaged), None, "{damaged}");
        }
    }
}
