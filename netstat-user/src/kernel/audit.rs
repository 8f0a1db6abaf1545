//! What a comparison with a list from elsewhere needs of a running tracer: rows, and what its
//! events told from one reading to the next.

use anyhow::Result;
use netstat_common::row::SockRow;

use crate::{
    clock,
    conn::{compare::Place, types::Ktime},
};

use super::{
    refresh::With,
    session::{News, Session},
};

/// Nobody has asked for so long: what events tell is no longer noted.
const FORGET_NS: u64 = 30_000_000_000;

/// One reading of the table.
#[derive(Clone, Debug)]
pub struct Look {
    /// When it ended.
    pub at: Ktime,
    /// Where the next reading goes on.
    pub mark: u64,
    /// What events told of since the mark that was given; `None` if that is not known.
    pub changed: Option<Vec<Place>>,
}

impl Session {
    /// Reads the rows of all network namespaces, and what events told since `mark`, which an earlier
    /// reading gave; none before the first.
    ///
    /// # Errors
    /// bpf(2), or no refresh program.
    pub fn look(
        &mut self,
        mark: Option<u64>,
        news: &mut News,
        sink: impl FnMut(&SockRow),
    ) -> Result<Look> {
        self.trail.begin();
        self.take(news);
        self.rows_of(None, With::ALL, sink)?;
        // What happened while rows were read shows in the next reading, and is told there.
        self.take(news);
        let changed = mark.and_then(|mark| self.trail.since(mark));
        let at = clock::ktime();
        self.looked_at = Some(at);
        Ok(Look {
            at,
            mark: self.trail.mark(),
            changed,
        })
    }

    /// Stops noting what events tell when nobody asks for it any more.
    pub(super) fn forget_trail(&mut self) {
        let old = |at: Ktime| clock::ktime().since(at) > FORGET_NS;
        if self.looked_at.is_some_and(old) {
            self.looked_at = None;
            self.trail.end();
        }
    }
}
