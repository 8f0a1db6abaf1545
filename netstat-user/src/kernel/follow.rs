//! What the log does with news before they are told: owners looked up, what no event tells looked at.

use anyhow::Result;
use netstat_common::event::{KIND_EXEC, KIND_EXIT, KIND_FORK, ProcEvent};

use crate::{clock, conn::table::ConnTable};

use super::{
    owners::Owners,
    session::{News, Session},
};

/// Between two looks at the minisocks that may leave FIN_WAIT2 without an event.
const LOOK_EVERY_NS: u64 = 100_000_000;

/// Follows the news of a session whose programs send every change.
#[derive(Default)]
pub struct Follow {
    owners: Owners,
    /// What came in while owners were looked up.
    later: News,
    looked_at: u64,
}

impl Follow {
    /// Begins with the owners of everything that exists.
    ///
    /// # Errors
    /// bpf(2).
    pub fn begin(session: &mut Session) -> Result<Self> {
        let mut follow = Self::default();
        follow.owners.seed(session, &mut follow.later)?;
        Ok(follow)
    }

    /// What came in since the last call of [`Follow::settle`]: the next news begin with it.
    #[must_use]
    pub fn later(&mut self) -> News {
        std::mem::take(&mut self.later)
    }

    /// For how many nanoseconds it pays to wait before these news are settled.
    #[must_use]
    pub fn hold(&self, news: &News) -> u64 {
        self.owners.hold(news)
    }

    /// Makes news ready to be told: owners are right, and changes in their order.
    ///
    /// # Errors
    /// bpf(2).
    pub fn settle(&mut self, session: &mut Session, news: &mut News) -> Result<()> {
        let now = clock::ktime().0;
        if now.saturating_sub(self.looked_at) >= LOOK_EVERY_NS {
            self.looked_at = now;
            session.look_at_half_closed(&mut news.changes)?;
        }
        for event in &news.processes {
            doubt(&mut session.table, event);
        }
        self.owners.correct(session, news, &mut self.later)?;
        // Ends of minisocks are told a little later than they happen.
        news.changes.sort_by_key(|change| change.at);
        Ok(())
    }
}

fn doubt(table: &mut ConnTable, event: &ProcEvent) {
    match event.kind {
        // The child holds what the parent holds, and the lowest process id owns.
        KIND_FORK if event.tgid < event.parent => table.owner_may_have_changed(event.parent),
        // The sockets of a process that ends may live on with a child.
        KIND_EXEC | KIND_EXIT => table.owner_may_have_changed(event.tgid),
        _ => {}
    }
}
