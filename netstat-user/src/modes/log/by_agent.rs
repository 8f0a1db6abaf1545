//! The log by an agent: the same changes, without loading anything.

use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::Signal,
    time::{Instant, sleep_until},
};

use crate::{
    client::{self, Feed, Told},
    clock,
    conn::types::Change,
    modes::{choose::DEMANDED, live::proc_is_ours},
    proto::change::Turn,
};

use super::{Log, Loss, Summary, dropped, stopped};

/// An agent gives a sign of life each second.
const BEAT: Duration = Duration::from_secs(1);
/// How many of them may fail to come. They are counted by who is awake to hear them: a client that was
/// stopped for an hour finds what it was sent meanwhile, and calls nobody silent.
const MISSED: u32 = 10;

/// How it ended.
pub(super) enum Ended {
    /// A signal asked for it.
    Stopped(Summary),
    /// There is no agent any more.
    Lost {
        /// Why.
        reason: String,
        /// When it was last heard, nanoseconds since 1970.
        heard_ns: u64,
    },
}

/// Asks an agent, if there is one that may be asked. `told` says on stderr why it is not used.
pub(super) fn begin(told: bool) -> Option<Feed> {
    let forced = std::env::var("NETSTAT_BPF_SOURCE").unwrap_or_default();
    let demanded = forced == "agent";
    let path = client::socket();
    let offered = forced.is_empty() && path.exists();
    if !(demanded || offered) || !proc_is_ours() {
        return None;
    }
    let patience = if demanded { DEMANDED } else { client::PATIENCE };
    match Feed::begin(&path, patience) {
        Ok(feed) => Some(feed),
        Err(reason) => {
            if told || demanded {
                let _ = writeln!(io::stderr(), "netstat-bpf: without the agent: {reason}");
            }
            None
        }
    }
}

/// Logs until a signal comes or the agent goes.
///
/// # Errors
/// The output's.
pub(super) async fn run(log: &mut Log, mut feed: Feed, stop: &mut [Signal; 2]) -> Result<Ended> {
    let ready = feed.as_fd().try_clone_to_owned();
    let ready = ready.context("duplicate the agent's socket")?;
    // SAFETY: `ready` is an open descriptor that the AsyncFd owns and nobody else closes.
    let ready = unsafe { AsyncFd::register_with_interest(ready, Interest::READABLE) }
        .map_err(|error| anyhow!("poll the agent: {error}"))?;
    let mut heard = Heard::default();
    let mut missed = 0;
    let mut beat = Instant::now() + BEAT;
    loop {
        let mut failed = None;
        let taken = feed.take(|told| {
            if failed.is_none() {
                failed = heard.take(log, told).err();
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        log.output.check()?;
        if heard.broken {
            return Ok(heard.lost("the agent tells a change that is none".to_owned()));
        }
        match taken {
            Ok(true) => {
                missed = 0;
                beat = Instant::now() + BEAT;
                tokio::select! {
                    biased;
                    () = stopped(stop) => break,
                    () = tokio::task::yield_now() => {}
                }
                continue;
            }
            Ok(false) if missed >= MISSED => {
                return Ok(heard.lost("the agent is silent".to_owned()));
            }
            Ok(false) => {}
            Err(reason) => return Ok(heard.lost(reason)),
        }
        tokio::select! {
            biased;
            () = stopped(stop) => break,
            ready = ready.readable() => ready.context("poll the agent")?.clear_ready(),
            () = sleep_until(beat) => {
                missed += 1;
                beat = Instant::now() + BEAT;
            }
        }
    }
    Ok(Ended::Stopped(heard.summary()))
}

/// What the agent has told.
#[derive(Default)]
struct Heard {
    first: Turn,
    last: Turn,
    begun: bool,
    dropped: u64,
    /// Room for what is decoded.
    changes: Vec<Change>,
    /// A change was none: another agent than its version says.
    broken: bool,
}

impl Heard {
    fn take(&mut self, log: &mut Log, told: Told<'_>) -> Result<()> {
        match told {
            Told::Turn(turn) => self.turn(log, turn),
            Told::Processes(processes) => {
                for pid in processes {
                    log.forget_and_keep(pid.get());
                }
                Ok(())
            }
            Told::Changes(changes) => {
                self.changes.clear();
                self.changes
                    .extend(changes.iter().map_while(|change| change.read()));
                self.broken |= self.changes.len() < changes.len();
                let offset_ns = self
                    .last
                    .wall_ns
                    .get()
                    .wrapping_sub(self.last.ktime_ns.get());
                log.print(&self.changes, offset_ns)
            }
        }
    }

    fn turn(&mut self, log: &mut Log, turn: Turn) -> Result<()> {
        if !self.begun {
            self.begun = true;
            self.first = turn;
            log.healings = turn.healings.get();
        }
        self.last = turn;
        let missing = turn.dropped.get();
        if missing > 0 {
            self.dropped += missing;
            // Among what was not sent there may be processes that are others now.
            log.programs.clear();
            log.past.clear();
            for piece in dropped(log.format, missing) {
                log.output
                    .push(piece, 0, |lines| dropped(log.format, lines))?;
            }
        }
        let first = self.first;
        let since = |of: fn(&Turn) -> u64| of(&turn).saturating_sub(of(&first));
        log.report_loss(Loss {
            healings: turn.healings.get(),
            lost: since(|turn| turn.lost.get()),
            gaps: since(|turn| turn.gaps.get()),
            in_doubt: None,
            can_look: true,
        })?;
        log.report_flood(since(|turn| turn.over_budget.get()))
    }

    fn lost(&self, reason: String) -> Ended {
        let heard_ns = if self.begun {
            self.last.wall_ns.get()
        } else {
            clock::wall_ns()
        };
        Ended::Lost { reason, heard_ns }
    }

    fn summary(&self) -> Summary {
        let since = |of: fn(&Turn) -> u64| of(&self.last).saturating_sub(of(&self.first));
        Summary {
            events: since(|turn| turn.events.get()),
            rest: format!(
                "{} not sent by the agent (slow client); {} gaps in all; lost: {} events, \
                 {} process events; healed {} times",
                self.dropped,
                since(|turn| turn.gaps.get()),
                since(|turn| turn.lost.get()),
                since(|turn| turn.lost_processes.get()),
                since(|turn| turn.healings.get()),
            ),
        }
    }
}
