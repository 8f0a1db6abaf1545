//! Judging three outputs, and saying how they differ.

use std::{collections::BTreeMap, fmt::Write};

use crate::oracle::Output;

/// Hundredths of a second that the kernel's rounding may move a timer by between two reads.
const ROUNDING: f64 = 0.05;

/// What REAL, OURS, REAL say.
#[derive(Debug)]
pub enum Judgement {
    /// OURS is one of the two REALs.
    Same {
        /// Rows compared.
        rows: usize,
    },
    /// The REALs differ and OURS is neither: the world moved.
    Unsettled,
    /// The REALs agree and OURS does not.
    Different(String),
}

/// Judges OURS by the REALs before and after it.
pub fn judge(before: &Output, ours: &Output, after: &Output) -> Judgement {
    let [first, own, last] = [before, ours, after].map(|output| Table::read(&output.stdout));
    let same = |real: &Output, table: &Table| {
        real.status == ours.status && real.stderr == ours.stderr && table.agrees(&own)
    };
    let settled = first.agrees(&last) && before.status == after.status;
    if same(before, &first) || same(after, &last) {
        return match own.timer_outside(&first, &last) {
            Some(timer) if settled => Judgement::Different(timer),
            Some(_) => Judgement::Unsettled,
            None => Judgement::Same {
                rows: own.rows.values().map(Vec::len).sum(),
            },
        };
    }
    if settled {
        return Judgement::Different(difference(before, &first, ours, &own));
    }
    Judgement::Unsettled
}

/// Output as header lines, and rows with their running timers taken out.
struct Table {
    /// Every line that is not a row, and for rows the changes of protocol, in order: IPv4 comes
    /// before IPv6, and TCP before UDP.
    frame: Vec<String>,
    /// Row without seconds, to the seconds of each such row.
    rows: BTreeMap<String, Vec<Option<f64>>>,
}

impl Table {
    fn read(stdout: &str) -> Self {
        let mut frame = Vec::new();
        let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in stdout.lines() {
            let first = line.split(' ').next().unwrap_or_default();
            if matches!(
                first,
                "tcp" | "tcp6" | "udp" | "udp6" | "raw" | "raw6" | "unix"
            ) {
                if frame.last().is_none_or(|last| last != first) {
                    frame.push(first.to_owned());
                }
                let (row, seconds) = mask(line);
                rows.entry(row).or_default().push(seconds);
            } else {
                frame.push(line.to_owned());
            }
        }
        for seconds in rows.values_mut() {
            seconds.sort_by(|one, other| one.partial_cmp(other).expect("no timer is NaN"));
        }
        Self { frame, rows }
    }

    fn agrees(&self, other: &Self) -> bool {
        let counts = |table: &Self| -> Vec<(String, usize)> {
            let count = |(row, seconds): (&String, &Vec<_>)| (row.clone(), seconds.len());
            table.rows.iter().map(count).collect()
        };
        self.frame == other.frame && counts(self) == counts(other)
    }

    /// A timer of ours that is not between those of netstat before and after. One that was started
    /// anew meanwhile, so that netstat's own went up, cannot be judged.
    fn timer_outside(&self, before: &Self, after: &Self) -> Option<String> {
        for (row, own) in &self.rows {
            let (Some(high), Some(low)) = (before.rows.get(row), after.rows.get(row)) else {
                continue;
            };
            if high.len() != own.len() || low.len() != own.len() {
                continue;
            }
            for ((own, high), low) in own.iter().zip(high).zip(low) {
                let (Some(own), Some(high), Some(low)) = (own, high, low) else {
                    continue;
                };
                if high >= low && !(low - ROUNDING..=high + ROUNDING).contains(own) {
                    return Some(format!(
                        "timer of {row}\n  ours {own}, netstat's {high} before and {low} after\n"
                    ));
                }
            }
        }
        None
    }
}

/// Takes the seconds out of a running timer at the end of a row.
fn mask(line: &str) -> (String, Option<f64>) {
    let parts = line.rsplit_once(" (").and_then(|(row, timer)| {
        let (seconds, rest) = timer.split_once('/')?;
        let running = rest.ends_with(')') && !row.ends_with(" off");
        let seconds: f64 = seconds.parse().ok().filter(|_| running)?;
        Some((format!("{row} (…/{rest}"), Some(seconds)))
    });
    parts.unwrap_or_else(|| (line.to_owned(), None))
}

fn difference(real: &Output, expected: &Table, ours: &Output, own: &Table) -> String {
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("a String takes every line");
    for (row, seconds) in &expected.rows {
        let found = own.rows.get(row).map_or(0, Vec::len);
        for _ in found..seconds.len() {
            say(format!("  only netstat      {row}"));
        }
    }
    for (row, seconds) in &own.rows {
        let wanted = expected.rows.get(row).map_or(0, Vec::len);
        for _ in wanted..seconds.len() {
            say(format!("  only netstat-bpf  {row}"));
        }
    }
    if expected.frame != own.frame {
        say(format!("  netstat's frame      {:?}", expected.frame));
        say(format!("  netstat-bpf's frame  {:?}", own.frame));
    }
    if real.stderr != ours.stderr {
        say(format!("  netstat's stderr      {:?}", real.stderr));
        say(format!("  netstat-bpf's stderr  {:?}", ours.stderr));
    }
    if real.status != ours.status {
        say(format!("  exit {:?}, not {:?}", ours.status, real.status));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(stdout: &str) -> Output {
        Output {
            status: Some(0),
            stdout: stdout.into(),
            stderr: String::new(),
        }
    }

    fn check(before: &str, ours: &str, after: &str) -> Judgement {
        judge(&output(before), &output(ours), &output(after))
    }

    const A: &str = "tcp 0 0 a b LISTEN off (0.00/0/0)";
    const B: &str = "tcp 0 0 b a LISTEN off (0.00/0/0)";

    #[test]
    fn rows_are_a_multiset() {
        let (one, other) = (format!("head\n{A}\n{B}\n"), format!("head\n{B}\n{A}\n"));
        assert!(matches!(
            check(&one, &other, &one),
            Judgement::Same { rows: 2 }
        ));
        let double = format!("{one}{A}\n");
        assert!(matches!(
            check(&one, &double, &one),
            Judgement::Different(_)
        ));
    }

    #[test]
    fn ours_may_be_either_real_and_nothing_between() {
        assert!(matches!(check(A, B, B), Judgement::Same { .. }));
        assert!(matches!(check(A, "", B), Judgement::Unsettled));
        assert!(matches!(check(A, "", A), Judgement::Different(_)));
    }

    #[test]
    fn a_timer_runs_between_netstats() {
        let row = |seconds: &str| format!("tcp 0 0 a b TIME_WAIT timewait ({seconds}/0/0)");
        let judged = |ours: &str| check(&row("50.00"), &row(ours), &row("49.00"));
        assert!(matches!(judged("49.50"), Judgement::Same { .. }));
        assert!(matches!(judged("48.00"), Judgement::Different(_)));
        assert!(matches!(judged("51.00"), Judgement::Different(_)));
    }

    #[test]
    fn six_after_four() {
        let six = "tcp6 0 0 a b LISTEN";
        let (good, bad) = (format!("{A}\n{six}"), format!("{six}\n{A}"));
        assert!(matches!(check(&good, &bad, &good), Judgement::Different(_)));
    }
}
