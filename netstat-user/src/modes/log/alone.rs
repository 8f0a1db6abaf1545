//! The log's own session, where there is no agent.

use std::{os::fd::AsFd as _, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::Signal,
    time::sleep,
};

use crate::{
    clock,
    kernel::{
        follow::Follow,
        object::Purpose,
        session::{SeedFrom, Session},
    },
};

use super::{super::privilege, Log, Loss, Summary, stopped};

/// How long events gather before they are printed.
const BATCH: Duration = Duration::from_millis(5);
/// How long the log sleeps at most; the programs wake it earlier.
const IDLE: Duration = Duration::from_millis(200);

pub(super) struct Alone {
    session: Session,
    follow: Follow,
}

impl Alone {
    /// Loads, attaches, seeds, and gives up the rights that are needed no more.
    ///
    /// # Errors
    /// Names the right or the feature that is missing, and the remedy.
    pub(super) fn start(debug: bool) -> Result<Self> {
        if let Some(missing) = privilege::missing() {
            return Err(anyhow!("log: {missing}"));
        }
        let mut session = Session::start(Purpose::Log, SeedFrom::Kernel, debug).context("log")?;
        if let Some(limit) = &session.limit {
            eprintln!("netstat-bpf: {limit}");
        }
        privilege::drop_all_but_tracing()?;
        let follow = Follow::begin(&mut session)?;
        Ok(Self { session, follow })
    }

    /// Logs until a signal comes.
    ///
    /// # Errors
    /// bpf(2), or the output's.
    pub(super) async fn run(&mut self, log: &mut Log, stop: &mut [Signal; 2]) -> Result<()> {
        let ring = self
            .session
            .as_fd()
            .try_clone_to_owned()
            .context("duplicate the ring's fd")?;
        // SAFETY: `ring` is an open descriptor that the AsyncFd owns and nobody else closes.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| anyhow!("poll the ring: {error}"))?;
        loop {
            self.session.announce_sleep(true);
            if !self.session.has_more() {
                let at_most = if self.session.table.has_limbo() {
                    BATCH
                } else {
                    IDLE
                };
                tokio::select! {
                    biased;
                    () = stopped(stop) => break,
                    ready = ring.readable() => ready.context("poll the ring")?.clear_ready(),
                    () = sleep(at_most) => {}
                }
            }
            self.session.announce_sleep(false);
            tokio::select! {
                biased;
                () = stopped(stop) => break,
                () = sleep(BATCH) => {}
            }
            self.turn(log)?;
        }
        self.turn(log)
    }

    fn turn(&mut self, log: &mut Log) -> Result<()> {
        let mut news = self.follow.later();
        self.session.drain(&mut news)?;
        let hold = self.follow.hold(&news);
        if hold > 0 {
            clock::sleep(Duration::from_nanos(hold));
        }
        self.follow
            .settle(&mut self.session, &mut news, |pid| log.forget(pid))?;
        let offset_ns = clock::wall_ns().saturating_sub(clock::ktime().0);
        log.print(&news.changes, offset_ns)?;
        let health = self.session.health();
        log.report_loss(Loss {
            healings: health.healings,
            lost: health.lost.of_sockets(),
            gaps: health.gaps.all,
            in_doubt: health.in_doubt,
            can_look: self.session.can_look(),
        })?;
        log.report_flood(health.over_budget)?;
        log.output.check()
    }

    pub(super) fn summary(&self) -> Summary {
        let health = self.session.health();
        let lost = health.lost;
        let misses = |program| self.session.recursion_misses(program).unwrap_or(0);
        Summary {
            events: self.session.events,
            rest: format!(
                "{} gaps in all; lost: {} ring full, {} unreadable, {} undecoded, {} process events; healed {} \
                 times; first copy of the state hook skipped {} times, second {}, {} events came \
                 from the second only",
                health.gaps.all,
                lost.ring_full,
                lost.unreadable,
                lost.undecoded,
                lost.process_events,
                health.healings,
                misses("tcp_state"),
                misses("tcp_state_2"),
                health.second_copy,
            ),
        }
    }
}
