//! An audit's question to the table: all rows, what events have told, and a walk.

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use anyhow::Result;
use netstat_common::row::SockRow;
use zerocopy::little_endian::{U32, U64};

use crate::{
    clock,
    conn::{
        compare::{Fault, Place, What},
        types::Endpoint,
    },
    kernel::{
        audit::Look,
        session::{News, Session},
    },
    proto::{
        audit::{Answer, Changed, NAMED, Row, Walked},
        reply::{self, End, Head},
        request,
    },
};

use super::{
    shared::{Block, Part},
    table::{AF_INET6, PART, Table, wire},
};

/// Between two walks: a socket that is too young to be judged is old enough then.
const AGAIN: Duration = Duration::from_millis(30);
/// After so long what could not be judged is told as such.
const ENOUGH: Duration = Duration::from_secs(2);

impl Table {
    /// Answers one question of an audit.
    pub(super) fn audit(&mut self, audit: request::Audit, answer: &Sender<Part>) {
        if !self.budget.is_open() {
            // The client may be gone: here and below.
            let _ = answer.send(Part::Busy);
            return;
        }
        if let Err(error) = self.try_audit(audit, answer) {
            let _ = answer.send(Part::Failed(format!("{error:#}")));
        }
    }

    fn try_audit(&mut self, audit: request::Audit, answer: &Sender<Part>) -> Result<()> {
        let mut news = News::default();
        let mut rows: [Vec<reply::Row>; 2] = Default::default();
        let Self {
            session, tick_ns, ..
        } = self;
        let tick_ns = *tick_ns;
        let look = session.look(audit.mark, &mut news, |row| {
            rows[usize::from(row.family == AF_INET6)].push(wire(row, tick_ns));
        })?;
        let about = about(session, &look, audit.walk, &mut news)?;
        self.hear(&mut news);
        let health = self.session.health();
        let count = rows.iter().map(Vec::len).sum::<usize>();
        let _ = answer.send(Part::Head(Head {
            ktime_ns: U64::new(look.at.0),
            exact_since_ns: U64::new(health.exact_since.ktime.0),
            lost: U64::new(health.lost.of_sockets()),
            netns: U32::ZERO,
            flags: U32::ZERO,
            rows_hint: U32::new(u32::try_from(count).unwrap_or(u32::MAX)),
            holders_hint: U32::ZERO,
        }));
        for (rows, part) in rows.iter().zip([Part::Rows, Part::Rows6]) {
            for chunk in rows.chunks(PART) {
                let block = Block::new(chunk.to_vec(), &self.budget);
                let _ = answer.send(part(Arc::new(block)));
            }
        }
        for chunk in look.changed.unwrap_or_default().chunks(PART) {
            let changed: Vec<_> = chunk.iter().map(Changed::from).collect();
            let block = Block::new(changed, &self.budget);
            let _ = answer.send(Part::Changed(Arc::new(block)));
        }
        let _ = answer.send(Part::Audit(serde_json::to_vec(&about)?));
        let _ = answer.send(Part::End(End {
            holders: U64::ZERO,
            rows: U64::new(count as u64),
        }));
        Ok(())
    }
}

/// What is said beside the rows; with `walk` after a comparison with the kernel's hash tables.
///
/// # Errors
/// bpf(2).
pub fn about(session: &mut Session, look: &Look, walk: bool, news: &mut News) -> Result<Answer> {
    // Before the walk, which counts what it finds.
    let mismatches = session.health().mismatches;
    let walked = walk.then(|| walked(session, news)).transpose()?;
    let health = session.health();
    Ok(Answer {
        pid: std::process::id(),
        mark: look.mark,
        whole: look.changed.is_some(),
        in_doubt: health.in_doubt.map(|doubt| doubt.name().to_owned()),
        exact_since_ns: health.exact_since.wall_ns,
        lost: health.lost.of_sockets(),
        healings: health.healings,
        mismatches,
        walked,
    })
}

/// Compares until each socket that could not be judged at first has been judged or is gone.
fn walked(session: &mut Session, news: &mut News) -> Result<Walked> {
    let begin = clock::now();
    let mut found = session.audit(news)?;
    while !found.undecided.is_empty() && begin.elapsed() < ENOUGH {
        clock::sleep(AGAIN);
        let again = session.audit(news)?;
        let still: BTreeSet<_> = again.undecided.into_iter().collect();
        found.undecided.retain(|socket| still.contains(socket));
        found.mismatches.extend(again.mismatches);
    }
    let count = |fault: Fault| {
        let of_kind = found.mismatches.iter().filter(|wrong| wrong.fault == fault);
        of_kind.count() as u64
    };
    let wrong = found.mismatches.iter().take(NAMED).map(|wrong| {
        let conn = &wrong.conn;
        Row::new(wrong.fault, &Place::of(conn), conn.state.name(), 0)
    });
    Ok(Walked {
        rows: found.rows as u64,
        missing: count(Fault::Missing),
        extra: count(Fault::Extra),
        state: count(Fault::State),
        replaced: count(Fault::Replaced),
        undecided: found.undecided.len() as u64,
        wrong: wrong.collect(),
    })
}

/// A row's place, and what is compared of it.
#[must_use]
pub fn place(row: &SockRow) -> (Place, What) {
    let end = |addr, port| Endpoint { addr, port };
    let place = Place::new(
        row.netns,
        row.family == AF_INET6,
        end(row.saddr, row.sport),
        end(row.daddr, row.dport),
    );
    let what = What {
        state: row.state,
        inode: row.inode,
    };
    (place, what)
}
