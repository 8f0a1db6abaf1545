//! The report of an audit, as text and as JSON (docs/audit.md).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::proto::audit::{Row, Walked};

/// Version of the schema, field `v`.
pub const SCHEMA: u32 = 1;
/// The most rows that the text names.
const NAMED: usize = 20;

/// What one audit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/audit.md tells what each field means")]
pub struct Report {
    pub v: u32,
    pub event: String,
    pub ts: String,
    pub ts_ns: u64,
    pub table: String,
    pub pid: u32,
    pub namespaces: u64,
    pub right: u64,
    pub missing: u64,
    pub extra: u64,
    pub state: u64,
    pub replaced: u64,
    pub again: u64,
    pub undecided: u64,
    pub vanished: u64,
    pub half_open_left_out: u64,
    pub not_compared: Vec<NotCompared>,
    pub wrong: Vec<Row>,
    pub walked: Walked,
    pub found_meanwhile: u64,
    pub exact_since: String,
    pub exact_since_ns: u64,
    pub in_doubt: Option<String>,
    pub lost: u64,
    pub healings: u64,
}

/// What an audit did not reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/audit.md tells what each field means")]
pub struct NotCompared {
    pub netns: Option<u32>,
    pub rows: Option<u64>,
    pub reason: String,
}

/// All audits of a `--watch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/audit.md tells what each field means")]
pub struct Summary {
    pub v: u32,
    pub event: String,
    pub audits: u64,
    pub rows: u64,
    pub mismatches: u64,
    pub undecided: u64,
    pub incomplete: u64,
}

impl Report {
    /// Rows that were wrong, by any of the comparisons. One that two of them found counts twice.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        let listed = self.missing + self.extra + self.state + self.replaced;
        listed + self.walked.mismatches() + self.found_meanwhile
    }

    /// Rows of which it is not known whether they are right.
    #[must_use]
    pub fn not_known(&self) -> u64 {
        self.undecided + self.vanished + self.walked.undecided + self.half_open_left_out
    }

    /// Whether everything was compared.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.not_known() == 0 && self.not_compared.is_empty()
    }

    /// The exit status: 0 right, 1 wrong, 2 not known.
    #[must_use]
    pub fn status(&self) -> u8 {
        match (self.mismatches(), self.is_complete()) {
            (0, true) => 0,
            (0, false) => 2,
            _ => 1,
        }
    }

    /// Several lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail: here and below.
        let _ = writeln!(text, "table of {} (process {})", self.table, self.pid);
        let _ = writeln!(
            text,
            "/proc/net/tcp and tcp6 of {} network namespaces: {} rows right; {} missing, {} extra, {} in another state, \
             {} replaced; {} looked at again, {} undecided",
            self.namespaces,
            self.right,
            self.missing,
            self.extra,
            self.state,
            self.replaced,
            self.again,
            self.undecided + self.vanished,
        );
        let walked = &self.walked;
        let _ = writeln!(
            text,
            "the kernel's hash tables: {} rows; {} missing, {} extra, {} in another state, {} replaced; {} undecided",
            walked.rows,
            walked.missing,
            walked.extra,
            walked.state,
            walked.replaced,
            walked.undecided,
        );
        let _ = writeln!(
            text,
            "exact since {}; {} events lost, healed {} times",
            self.exact_since, self.lost, self.healings
        );
        if let Some(doubt) = &self.in_doubt {
            let _ = writeln!(text, "in doubt: {}", doubt.escape_debug());
        }
        if self.found_meanwhile > 0 {
            let found = self.found_meanwhile;
            let _ = writeln!(
                text,
                "the tracer's own checks found {found} rows wrong meanwhile"
            );
        }
        if self.half_open_left_out > 0 {
            let left_out = self.half_open_left_out;
            let _ = writeln!(
                text,
                "not compared: {left_out} half-open connections (there are more than the tracer's budget for them)"
            );
        }
        for not in &self.not_compared {
            text.push_str("not compared: ");
            if let Some(netns) = not.netns {
                let _ = write!(text, "network namespace {netns}");
                if let Some(rows) = not.rows {
                    let _ = write!(text, " ({rows} rows)");
                }
                text.push_str(": ");
            }
            let _ = writeln!(text, "{}", not.reason.escape_debug());
        }
        for row in self.wrong.iter().chain(&walked.wrong).take(NAMED) {
            let _ = writeln!(
                text,
                "{}: {} {} {} {} in network namespace {}",
                row.fault.escape_debug(),
                row.proto.escape_debug(),
                row.local.escape_debug(),
                row.remote.escape_debug(),
                row.state.escape_debug(),
                row.netns
            );
        }
        let _ = writeln!(text, "{}", self.verdict());
        text
    }

    /// One line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{} {} rows in {} network namespaces: {}\n",
            self.ts,
            self.right,
            self.namespaces,
            self.verdict()
        )
    }

    fn verdict(&self) -> String {
        match (self.mismatches(), self.is_complete()) {
            (0, true) => "no mismatch".to_owned(),
            (0, false) => format!(
                "no mismatch, but not all could be compared: {} rows, {} namespaces or more",
                self.not_known(),
                self.not_compared.len()
            ),
            (wrong, _) => format!("{wrong} MISMATCHES"),
        }
    }
}

impl Summary {
    /// Adds an audit.
    pub fn add(&mut self, report: &Report) {
        self.v = SCHEMA;
        "end".clone_into(&mut self.event);
        self.audits += 1;
        self.rows += report.right;
        self.mismatches += report.mismatches();
        self.undecided += report.not_known();
        self.incomplete += u64::from(!report.is_complete());
    }

    /// One line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{} audits, {} rows: {} mismatches; {} rows undecided; {} audits could not compare all\n",
            self.audits, self.rows, self.mismatches, self.undecided, self.incomplete
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right() -> Report {
        Report {
            table: "the agent".to_owned(),
            namespaces: 2,
            right: 10,
            ..Report::default()
        }
    }

    #[test]
    fn what_was_not_compared_is_no_pass() {
        assert_eq!(right().status(), 0);
        assert!(right().text().ends_with("\nno mismatch\n"));
        let incomplete = [
            Report {
                undecided: 1,
                ..right()
            },
            Report {
                vanished: 1,
                ..right()
            },
            Report {
                half_open_left_out: 1,
                ..right()
            },
            Report {
                walked: Walked {
                    undecided: 1,
                    ..Walked::default()
                },
                ..right()
            },
            Report {
                not_compared: vec![NotCompared {
                    netns: Some(9),
                    rows: Some(3),
                    reason: "closed\x1b".to_owned(),
                }],
                ..right()
            },
        ];
        for report in incomplete {
            assert_eq!(report.status(), 2, "{report:?}");
            assert!(report.line().contains("not all"), "{}", report.line());
            assert!(!report.text().contains('\x1b'));
        }
    }

    #[test]
    fn every_kind_of_mismatch_counts() {
        let walked = |walked| Report { walked, ..right() };
        for wrong in [
            Report {
                missing: 1,
                ..right()
            },
            Report {
                extra: 1,
                ..right()
            },
            Report {
                state: 1,
                ..right()
            },
            Report {
                replaced: 1,
                ..right()
            },
            Report {
                found_meanwhile: 1,
                ..right()
            },
            walked(Walked {
                missing: 1,
                ..Walked::default()
            }),
            walked(Walked {
                replaced: 1,
                undecided: 7,
                ..Walked::default()
            }),
        ] {
            assert_eq!(wrong.status(), 1, "{wrong:?}");
            assert!(wrong.text().ends_with("1 MISMATCHES\n"));
            let mut summary = Summary::default();
            summary.add(&right());
            summary.add(&wrong);
            assert!(
                summary.line().starts_with("2 audits, 20 rows: 1 mism"),
                "{}",
                summary.line()
            );
        }
    }
}
