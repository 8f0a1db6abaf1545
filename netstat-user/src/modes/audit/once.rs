//! One audit, from the first reading of the table to the report.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    clock,
    conn::{
        compare::{Comparison, Fault, Listing, Pass},
        types::TcpState,
    },
    kernel::health::Doubt,
    proc::{
        self,
        namespaces::{Found, Namespace, apart},
    },
    proto::audit::{NAMED, Row},
    view::{
        audit::{NotCompared, Report, SCHEMA},
        log::utc,
    },
};

use super::subject::{Reading, Subject};

/// The most passes; what is not judged by then is told as undecided.
const MOST: u32 = 30;
/// Between two passes.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the table is left alone while the kernel's lists are read.
const TURN: Duration = Duration::from_millis(5);

/// The kernel's lists, and those that could not be read.
struct Lists {
    listing: Listing,
    failed: BTreeMap<u32, String>,
}

/// Audits a table.
///
/// # Errors
/// The table cannot be read.
pub fn audit(subject: &mut dyn Subject) -> Result<Report> {
    let wall_ns = clock::wall_ns();
    let first = subject.read(false)?;
    if first.about.in_doubt.as_deref() == Some(Doubt::Everything.name()) {
        bail!("events were lost, and the table is not healed yet: try again");
    }
    let mut found = Found::easily();
    let rows = first.rows.by_namespace();
    found.look_for(|known| rows.keys().all(|netns| known.contains_key(netns)));
    let mut left_out = 0;
    let mut failed = BTreeMap::new();
    let mut comparison = Comparison::default();
    let mut wanted: BTreeSet<u32> = found.namespaces.keys().copied().collect();
    let mut before = first.rows.clone();
    for pass in 0..MOST {
        let mut lists = lists(&found.namespaces, &wanted, subject)?;
        for netns in lists.failed.keys() {
            comparison.give_up(*netns);
        }
        failed.append(&mut lists.failed);
        let mut reading = subject.read(false)?;
        if pass == 0 {
            let compared =
                |netns| found.namespaces.contains_key(&netns) && !failed.contains_key(&netns);
            before.retain(compared);
            lists.listing.retain(compared);
            reading.rows.retain(compared);
        }
        if [&first, &reading].into_iter().any(is_limited) {
            let half_open = before.without_half_open();
            lists.listing.without_half_open();
            reading.rows.without_half_open();
            left_out = left_out.max(half_open);
        }
        comparison.judge(&Pass {
            at: reading.at,
            before: &before,
            kernel: &lists.listing,
            after: &reading.rows,
            changed: &reading.changed,
        });
        wanted = comparison.open_namespaces();
        before = std::mem::take(&mut reading.rows);
        if wanted.is_empty() {
            break;
        }
        subject.pause(PAUSE);
    }
    let end = subject.read(true)?;
    let mut report = report(subject.name(), wall_ns, &comparison, &end);
    report.half_open_left_out = left_out;
    report.namespaces = (found.namespaces.len() - failed.len()) as u64;
    // Found before the walk of this audit, which is counted by itself.
    report.found_meanwhile = end.about.mismatches.saturating_sub(first.about.mismatches);
    let still = end.rows.by_namespace();
    for (netns, reason) in failed {
        report.not_compared.push(NotCompared {
            netns: Some(netns),
            rows: rows.get(&netns).copied(),
            reason,
        });
    }
    for (netns, rows) in rows {
        // What is gone by now could not be found because it was going.
        if !found.namespaces.contains_key(&netns) && still.contains_key(&netns) {
            report.not_compared.push(NotCompared {
                netns: Some(netns),
                rows: Some(rows),
                reason: "no process, mount, file or socket leads into it; \
                         compared with the hash tables only"
                    .to_owned(),
            });
        }
    }
    for reason in found.hidden {
        report.not_compared.push(NotCompared {
            reason,
            ..NotCompared::default()
        });
    }
    if first.about.pid != end.about.pid {
        bail!("another agent has taken over meanwhile: try again");
    }
    Ok(report)
}

/// Whether the table says that its half-open connections may be wrong.
fn is_limited(reading: &Reading) -> bool {
    let doubt = reading.about.in_doubt.as_deref();
    doubt.is_some_and(|doubt| doubt != Doubt::Newest.name())
}

fn report(table: &str, wall_ns: u64, comparison: &Comparison, end: &Reading) -> Report {
    let count = |fault| {
        let of_kind = comparison.wrong.iter().filter(|wrong| wrong.fault == fault);
        of_kind.count() as u64
    };
    let about = &end.about;
    let wrong = comparison.wrong.iter().take(NAMED).map(|wrong| {
        let state = TcpState::from_kernel(wrong.what.state).name();
        Row::new(wrong.fault, &wrong.place, state, wrong.what.inode)
    });
    Report {
        v: SCHEMA,
        event: "audit".to_owned(),
        ts: utc(wall_ns),
        ts_ns: wall_ns,
        table: table.to_owned(),
        pid: about.pid,
        right: comparison.right,
        missing: count(Fault::Missing),
        extra: count(Fault::Extra),
        state: count(Fault::State),
        replaced: count(Fault::Replaced),
        again: comparison.again,
        undecided: comparison.undecided(),
        vanished: comparison.vanished,
        wrong: wrong.collect(),
        walked: about.walked.clone().unwrap_or_default(),
        exact_since: utc(about.exact_since_ns),
        exact_since_ns: about.exact_since_ns,
        in_doubt: about.in_doubt.clone(),
        lost: about.lost,
        healings: about.healings,
        ..Report::default()
    }
}

/// Reads /proc/net/tcp and tcp6 in each of the wanted namespaces.
fn lists(
    namespaces: &BTreeMap<u32, Namespace>,
    wanted: &BTreeSet<u32>,
    subject: &mut dyn Subject,
) -> Result<Lists> {
    let read = || {
        let mut lists = Lists {
            listing: Listing::default(),
            failed: BTreeMap::new(),
        };
        for (inode, namespace) in namespaces
            .iter()
            .filter(|(inode, _)| wanted.contains(inode))
        {
            // The list of a namespace is whole or not used.
            if let Err(error) = read_list(namespace, &mut lists.listing) {
                lists.listing.retain(|netns| netns != *inode);
                lists.failed.insert(*inode, format!("{error:#}"));
            }
        }
        lists
    };
    apart(read, || subject.pause(TURN))
}

fn read_list(namespace: &Namespace, listing: &mut Listing) -> Result<()> {
    namespace.enter()?;
    let inside = Namespace::own()?;
    if inside.inode != namespace.inode {
        bail!(
            "entered namespace {} instead of {}",
            inside.inode,
            namespace.inode
        );
    }
    proc::tcp_listing(namespace.inode, listing)?;
    Ok(())
}
