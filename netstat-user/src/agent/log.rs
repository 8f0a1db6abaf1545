//! The log for those who follow it: each change of the table, to many clients, waiting for none.
//!
//! While nobody follows, the programs send births and ends only, and the table is behind in the states
//! between them. So a first client waits a moment: the programs are told to send everything, then the
//! table is compared with the kernel, and from then on every line begins where the one before ended.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use anyhow::Result;
use netstat_common::event::{KIND_EXEC, KIND_FORK};
use zerocopy::little_endian::{U32, U64};

use crate::{
    clock,
    conn::types::Ktime,
    kernel::{
        follow::Follow,
        session::{News, Session},
    },
    proto::change::{Change, Turn},
};

use super::shared::{Budget, Charge, Tally};

/// How many may follow at a time.
const FEEDS: usize = 16;
/// Changes or processes in a piece.
const PIECE: usize = 4096;
/// From the switch to the comparison: an event that was not sent any more has its state stored.
const ARM: Duration = Duration::from_millis(20);
/// Between two signs of life.
const BEAT_NS: u64 = 1_000_000_000;
/// How long changes gather.
const GATHER: Duration = Duration::from_millis(5);
/// The longest sleep: changes without an event are looked for.
const IDLE: Duration = Duration::from_millis(100);

/// What a client is sent at once.
pub struct Piece {
    /// Stands before the rest.
    pub turn: Turn,
    /// Processes whose names are forgotten.
    pub processes: Arc<Vec<U32>>,
    /// Changes.
    pub changes: Arc<Vec<Change>>,
    _charge: Charge,
}

/// The table's end of a client.
pub struct Feed {
    pieces: Sender<Piece>,
    budget: Budget,
    tally: Arc<Tally>,
    /// Changes that were not queued since the last that was.
    dropped: u64,
    /// Nothing is queued until the queue is half empty: whole gaps, not every second line.
    refusing: bool,
}

impl Feed {
    /// A feed in which so many bytes may wait, and the client's end of it. What it shares with others
    /// counts for each.
    #[must_use]
    pub fn new(tally: &Arc<Tally>, queue: usize) -> (Self, Receiver<Piece>) {
        let (pieces, receiver) = channel();
        tally.logs.fetch_add(1, Ordering::Relaxed);
        let feed = Self {
            pieces,
            budget: Budget::new(queue),
            tally: Arc::clone(tally),
            dropped: 0,
            refusing: false,
        };
        (feed, receiver)
    }

    /// Queues a piece, or counts what is not queued. `false` if the client is gone.
    fn push(&mut self, turn: Turn, processes: &Arc<Vec<U32>>, changes: &Arc<Vec<Change>>) -> bool {
        let most = self.budget.most();
        let limit = if self.refusing { most / 2 } else { most };
        self.refusing = self.budget.used() >= limit;
        if self.refusing {
            let lines = changes.len() as u64;
            self.dropped += lines;
            self.tally.log_dropped.fetch_add(lines, Ordering::Relaxed);
            return true;
        }
        let bytes = size_of::<Piece>()
            + size_of::<U32>() * processes.len()
            + size_of::<Change>() * changes.len();
        let piece = Piece {
            turn: Turn {
                dropped: U64::new(std::mem::take(&mut self.dropped)),
                ..turn
            },
            processes: Arc::clone(processes),
            changes: Arc::clone(changes),
            _charge: self.budget.charge(bytes),
        };
        self.pieces.send(piece).is_ok()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.tally.logs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How far the programs and the table are.
enum Phase {
    /// Nobody follows.
    Off,
    /// The programs have been told since then.
    Arming(Ktime),
    /// Every change is told.
    On(Box<Follow>),
}

/// All who follow.
pub(super) struct Feeds {
    feeds: Vec<Feed>,
    phase: Phase,
    /// Not settled yet.
    pending: News,
    /// Nothing is settled before.
    due: Option<Ktime>,
    beat_at: u64,
}

impl Feeds {
    pub(super) fn new() -> Self {
        Self {
            feeds: Vec::new(),
            phase: Phase::Off,
            pending: News::default(),
            due: None,
            beat_at: 0,
        }
    }

    /// Takes a client in, unless there are too many: its end of the feed closes then.
    pub(super) fn add(&mut self, feed: Feed, session: &mut Session) {
        if self.feeds.len() >= FEEDS {
            return;
        }
        self.feeds.push(feed);
        // Whoever is new gets a turn at once: it begins there.
        self.beat_at = 0;
        if matches!(self.phase, Phase::Off) {
            session.want_every_change(true);
            self.phase = Phase::Arming(clock::ktime());
        }
    }

    /// Takes what the session has told. Nothing is kept while nobody follows.
    pub(super) fn hear(&mut self, news: &mut News) {
        if matches!(self.phase, Phase::On(_)) {
            self.pending.changes.append(&mut news.changes);
            self.pending.processes.append(&mut news.processes);
        } else {
            news.changes.clear();
            news.processes.clear();
        }
    }

    /// How long the table may sleep, and how long events may gather then.
    pub(super) fn patience(&self, session: &Session) -> Option<(Duration, Duration)> {
        let until = |at: Ktime| Duration::from_nanos(at.since(clock::ktime()));
        match (&self.phase, self.due) {
            (Phase::Off, _) => None,
            (Phase::Arming(since), _) => {
                let end = Ktime(since.0 + ARM.as_nanos() as u64);
                Some((until(end), Duration::ZERO))
            }
            (Phase::On(_), Some(due)) => Some((until(due), GATHER)),
            (Phase::On(_), None) if session.table.has_limbo() => Some((GATHER, GATHER)),
            (Phase::On(_), None) => Some((IDLE, GATHER)),
        }
    }

    /// Tells what is to be told, after all that had happened was heard.
    ///
    /// # Errors
    /// bpf(2). The clients are dropped then: they go on alone.
    pub(super) fn turn(&mut self, session: &mut Session) -> Result<()> {
        let told = self.try_turn(session);
        if told.is_err() {
            self.feeds.clear();
        }
        if self.feeds.is_empty() && !matches!(self.phase, Phase::Off) {
            session.want_every_change(false);
            session.table.forget_owners();
            *self = Self::new();
        }
        told
    }

    fn try_turn(&mut self, session: &mut Session) -> Result<()> {
        let now = clock::ktime();
        match &mut self.phase {
            Phase::Off => return Ok(()),
            Phase::Arming(since) => {
                if !session.hears_all() {
                    if u128::from(now.since(*since)) < ARM.as_nanos() {
                        return Ok(());
                    }
                    // Whoever begins to listen now is told states as they are, not what they were.
                    session.catch_up(&mut News::default())?;
                }
                self.phase = Phase::On(Box::new(Follow::begin(session)?));
                self.beat_at = 0;
            }
            Phase::On(follow) => {
                if self.due.is_some_and(|due| now < due) {
                    return Ok(());
                }
                let hold = follow.hold(&self.pending);
                if hold > 0 && self.due.is_none() {
                    self.due = Some(Ktime(now.0 + hold));
                    return Ok(());
                }
                self.due = None;
                // Names are the clients' work.
                follow.settle(session, &mut self.pending, |_| None)?;
                let mut later = follow.later();
                let news = std::mem::take(&mut self.pending);
                self.pending.changes.append(&mut later.changes);
                self.pending.processes.append(&mut later.processes);
                self.tell(session, &news);
            }
        }
        self.beat(session);
        Ok(())
    }

    fn tell(&mut self, session: &Session, news: &News) {
        if news.changes.is_empty() && news.processes.is_empty() {
            return;
        }
        // The name of a process that ended is kept until the id is used again: changes of its last
        // sockets are still to come.
        let renamed = news.processes.iter();
        let renamed = renamed.filter(|event| matches!(event.kind, KIND_FORK | KIND_EXEC));
        let processes = renamed.map(|event| U32::new(event.tgid));
        let changes = news.changes.iter().map(Change::of);
        let (processes, changes) = (pieces(processes), pieces(changes));
        self.beat_at = clock::ktime().0;
        let turn = this_turn(session);
        let none = (Arc::default(), Arc::default());
        // Names are forgotten before any change is shown.
        for processes in &processes {
            self.feeds
                .retain_mut(|feed| feed.push(turn, processes, &none.1));
        }
        for changes in &changes {
            self.feeds
                .retain_mut(|feed| feed.push(turn, &none.0, changes));
        }
    }

    /// A sign of life, which also finds out who has gone.
    fn beat(&mut self, session: &Session) {
        let now = clock::ktime().0;
        if now.saturating_sub(self.beat_at) < BEAT_NS {
            return;
        }
        self.beat_at = now;
        let turn = this_turn(session);
        let none = (Arc::default(), Arc::default());
        self.feeds
            .retain_mut(|feed| feed.push(turn, &none.0, &none.1));
    }
}

fn pieces<T>(items: impl Iterator<Item = T>) -> VecDeque<Arc<Vec<T>>> {
    let mut pieces = VecDeque::new();
    let mut items = items.peekable();
    while items.peek().is_some() {
        pieces.push_back(Arc::new(items.by_ref().take(PIECE).collect()));
    }
    pieces
}

fn this_turn(session: &Session) -> Turn {
    let health = session.health();
    Turn {
        ktime_ns: U64::new(clock::ktime().0),
        wall_ns: U64::new(clock::wall_ns()),
        events: U64::new(session.events),
        lost: U64::new(health.lost.of_sockets()),
        lost_processes: U64::new(health.lost.process_events),
        healings: U64::new(health.healings),
        over_budget: U64::new(health.over_budget),
        dropped: U64::ZERO,
        gaps: U64::new(health.gaps.all),
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    #[test]
    fn a_client_that_takes_nothing_loses_lines_and_is_told_how_many() {
        let tally = Arc::new(Tally::default());
        let changes = Arc::new(vec![Change::new_zeroed(); 10]);
        let none = Arc::default();
        let (mut feed, pieces) = Feed::new(&tally, 4 * 1500);
        for _ in 0..20 {
            assert!(feed.push(Turn::default(), &none, &changes));
        }
        let queued: Vec<_> = pieces.try_iter().collect();
        let told: usize = queued.iter().map(|piece| piece.changes.len()).sum();
        assert!(queued.iter().all(|piece| piece.turn.dropped.get() == 0));
        assert!((10..200).contains(&told), "{told}");
        // Still held: nothing more is queued.
        assert!(feed.push(Turn::default(), &none, &changes));
        assert!(pieces.try_recv().is_err());
        drop(queued);
        assert!(feed.push(Turn::default(), &none, &changes));
        let piece = pieces.try_recv().expect("there is room again");
        let all = told as u64 + piece.turn.dropped.get() + piece.changes.len() as u64;
        assert_eq!(all, 220);
        assert_eq!(tally.read().log_dropped, piece.turn.dropped.get());
    }

    #[test]
    fn a_client_that_has_gone_is_noticed() {
        let tally = Arc::new(Tally::default());
        let (mut feed, pieces) = Feed::new(&tally, 1 << 20);
        assert_eq!(tally.read().logs, 1);
        drop(pieces);
        assert!(!feed.push(Turn::default(), &Arc::default(), &Arc::default()));
        drop(feed);
        assert_eq!(tally.read().logs, 0);
    }
}
