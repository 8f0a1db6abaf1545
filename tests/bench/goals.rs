//! The goals, and what was measured beside each.

use std::{collections::BTreeMap, fmt::Write as _};

/// Whether more or less is better.
#[derive(Clone, Copy)]
enum Want {
    AtLeast(f64),
    AtMost(f64),
}

/// Why a listing cannot be as fast as wanted: from a profile (perf, cpu-clock, 100,000 sockets).
const COLD: &str = "a profile of `-c` has half \
      of its samples in `copy_from_kernel_nofault`, four fifths of them in the refresh pass and \
      the rest in the descriptor tables: misses of the cache on socks, \
     files and inodes that nobody has touched since the last round";
/// Why a storm costs more: from the same, and from the statistics of the BPF programs.
const STORM: &str = "a connection of the storm is 8 events: 3 changes of state, 2 ends, the timer of the request \
     twice, and the reader of the ring shares the 2 CPUs with the load";

/// What, the fact that measures it, what is wanted, why it may be missed.
const GOALS: &[(&str, &str, Want, &str)] = &[
    (
        "100,000 sockets, `-anpt` from the agent: times faster than netstat",
        "snapshot.100000.100.netstat-bpf -anpt, from the agent",
        Want::AtLeast(60.0),
        COLD,
    ),
    (
        "the same, times faster than `ss -ant`",
        "snapshot.100000.agent_over_ss",
        Want::AtLeast(4.0),
        COLD,
    ),
    (
        "100,000 sockets, one shot: times faster than netstat",
        "snapshot.100000.100.netstat-bpf -anpt",
        Want::AtLeast(12.0),
        COLD,
    ),
    (
        "50 sockets, one shot: times faster than netstat",
        "snapshot.50.1.netstat-bpf -anpt",
        Want::AtLeast(1.0),
        "",
    ),
    (
        "a `-c` round at 100,000: times less CPU than netstat",
        "continuous.cpu_ratio.100000",
        Want::AtLeast(60.0),
        COLD,
    ),
    (
        "storm with the agent: multiple of untraced",
        "hot.storm.Agent",
        Want::AtMost(1.05),
        STORM,
    ),
    (
        "storm with `-c`: multiple of untraced",
        "hot.storm.Table",
        Want::AtMost(1.05),
        STORM,
    ),
    (
        "storm with `log` to a file: multiple of untraced",
        "hot.storm.Log",
        Want::AtMost(2.0),
        STORM,
    ),
    (
        "events lost by `log` in the storm",
        "lost.storm.Log",
        Want::AtMost(0.0),
        "",
    ),
    (
        "ns for one state change in the kernel (`-c`)",
        "ns.Table.tcp_state.0",
        Want::AtMost(100.0),
        "the statistics themselves are part of it: see `tcp_state_2`, which only compares two words",
    ),
    (
        "ns for one state change in the kernel (`log`)",
        "ns.Log.tcp_state.0",
        Want::AtMost(100.0),
        "the statistics themselves are part of it: see `tcp_state_2`, which only compares two words",
    ),
    (
        "ping-pong, 100 connections, with `-c`",
        "hot.ping-pong 100.Table",
        Want::AtMost(1.02),
        "",
    ),
    (
        "ping-pong, 5,000 connections, with `-c`",
        "hot.ping-pong 5000.Table",
        Want::AtMost(1.02),
        "",
    ),
    ("bulk with `-c`", "hot.bulk.Table", Want::AtMost(1.02), ""),
    ("UDP with `-c`", "hot.udp.Table", Want::AtMost(1.02), ""),
    ("unix with `-c`", "hot.unix.Table", Want::AtMost(1.02), ""),
    (
        "getppid(2) with `-c`",
        "hot.getppid.Table",
        Want::AtMost(1.02),
        "",
    ),
    (
        "open(2), close(2) with `-c`",
        "hot.open.Table",
        Want::AtMost(1.02),
        "",
    ),
    ("idle: share of a CPU", "idle.cpu", Want::AtMost(0.001), ""),
    (
        "resident bytes of `-c` at 100,000 sockets",
        "continuous.rss.100000",
        Want::AtMost(45e6),
        "",
    ),
    (
        "attach, seed and first byte at 100,000 sockets, ms",
        "start.100000",
        Want::AtMost(300.0),
        "",
    ),
];

/// The goals that were measured, as a table.
pub(crate) fn table(facts: &BTreeMap<String, f64>) -> String {
    let mut text = "| goal | wanted | measured | |\n|---|---|---|---|\n".to_owned();
    for (what, fact, want, why) in GOALS {
        let Some(value) = facts.get(*fact) else {
            let _ = writeln!(text, "| {what} | {} | not measured | |", words(*want));
            continue;
        };
        let met = match want {
            Want::AtLeast(wanted) => value >= wanted,
            Want::AtMost(wanted) => value <= wanted,
        };
        let verdict = if met { "met" } else { "missed" };
        let why = if met { "" } else { *why };
        let sep = if why.is_empty() { "" } else { ": " };
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {verdict}{sep}{why} |",
            words(*want),
            number(*value)
        );
    }
    text
}

fn words(want: Want) -> String {
    match want {
        Want::AtLeast(wanted) => format!("≥ {}", number(wanted)),
        Want::AtMost(wanted) => format!("≤ {}", number(wanted)),
    }
}

fn number(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.1} M", value / 1e6)
    } else if value >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else if value < 0.01 {
        format!("{value:.5}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let facts = BTreeMap::from([
            ("hot.storm.Log".to_owned(), 1.5),
            ("lost.storm.Log".to_owned(), 3.0),
        ]);
        let table = table(&facts);
        assert!(table.contains("`log` to a file: multiple of untraced | ≤ 2 | 1.50 | met |"));
        assert!(table.contains("events lost by `log` in the storm | ≤ 0 | 3 | missed |"));
        assert!(table.contains("not measured"));
    }
}
