//! What the log does with news before they are told: owners looked up, what no event tells looked at.

use anyhow::Result;
use netstat_common::event::{KIND_EXEC, KIND_EXIT, KIND_FORK, ProcEvent};
use rustc_hash::FxHashSet;

use crate::{
    clock,
    conn::{table::ConnTable, types::Change},
};

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
    /// Minisocks that were gone then, though no event had told it.
    gone: FxHashSet<u64>,
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

    /// Makes news ready to be told: owners are right, and changes in their order. `forget` gives the name
    /// that a process was known by, which is another's from now on.
    ///
    /// # Errors
    /// bpf(2).
    pub fn settle(
        &mut self,
        session: &mut Session,
        news: &mut News,
        mut forget: impl FnMut(u32) -> Option<Vec<u8>>,
    ) -> Result<()> {
        let now = clock::ktime().0;
        if now.saturating_sub(self.looked_at) >= LOOK_EVERY_NS {
            self.looked_at = now;
            self.gone = session.look_at_half_closed(&self.gone, &mut news.changes)?;
        }
        let News { changes, processes } = news;
        for event in &*processes {
            follow(&mut session.table, event, changes, &mut forget);
        }
        self.owners.correct(session, news, &mut self.later)?;
        // Ends of minisocks are told a little later than they happen.
        news.changes.sort_by_key(|change| change.at);
        Ok(())
    }
}

fn follow(
    table: &mut ConnTable,
    event: &ProcEvent,
    changes: &mut [Change],
    forget: &mut impl FnMut(u32) -> Option<Vec<u8>>,
) {
    match event.kind {
        KIND_FORK => {
            // The name is that of the process that had this id before.
            let past = forget(event.tgid);
            table.name_past_owner(event.tgid, past.as_deref());
            let owners = changes
                .iter_mut()
                .filter_map(|change| change.conn.owner.as_mut());
            owners.for_each(|owner| owner.name_if_past(event.tgid, past.as_deref()));
            // The child holds what the parent holds, and the lowest process id owns.
            if event.tgid < event.parent {
                table.owner_may_have_changed(event.parent);
            }
        }
        KIND_EXEC => {
            forget(event.tgid);
            table.owner_may_have_changed(event.tgid);
        }
        // Its sockets may live on with a child. The name is kept until the id is used again: lines
        // about its last sockets are still to come.
        KIND_EXIT => table.owner_may_have_changed(event.tgid),
        _ => {}
    }
}
