//! The goals, and what was measured beside each.

use std::{collections::BTreeMap, fmt::Write as _};

/// Whether more or less is better.
#[derive(Clone, Copy)]
enum Want {
    AtLeast(f64),
    AtMost(f64),
}

/// The numbers of a report, by name.
type Facts = BTreeMap<String, f64>;

/// Why the goal of a fact may be missed, in measured numbers; nothing if they were not measured.
type Why = fn(&Facts, &str) -> Option<String>;

/// What, the fact that measures it, what is wanted, why it may be missed.
type Goal = (&'static str, &'static str, Want, Why);

fn nothing(_: &Facts, _: &str) -> Option<String> {
    None
}

/// Of a listing of 100,000 sockets: what the kernel must be asked for.
fn passes(facts: &Facts, fact: &str) -> Option<String> {
    let spread = noise(facts, fact).map_or_else(String::new, |noise| format!("; {noise}"));
    let get = |name: &str| facts.get(name).copied();
    Some(format!(
        "its passes in the kernel take {:.0} ns of a CPU for a socket's row and {:.0} ns for its descriptor, {:.1} ms \
         together, mostly misses of the cache on memory that nobody touched since the last listing; `ss -ant`, which \
         shows no processes, takes {:.0} ms, a plain copy of the same bytes {:.1} ms{spread}",
        get("pass.rows")?,
        get("pass.descriptors")?,
        (get("pass.rows")? + get("pass.descriptors")?) / 10.0,
        get("snapshot.100000.ss_ms")?,
        get("snapshot.100000.copy_ms")?,
    ))
}

/// As above, of the agent's: it is quick again where it has just been.
fn passes_of_agent(facts: &Facts, fact: &str) -> Option<String> {
    let get = |name: &str| facts.get(name).copied();
    Some(format!(
        "in turn with the others, seconds after the last, it takes {:.1} ms, and again at once {:.1} ms; {}",
        get("snapshot.100000.agent_ms")?,
        get("clients.100000.1")? * 1e3,
        passes(facts, fact)?,
    ))
}

fn storm_of(tracer: &str, facts: &Facts) -> Option<String> {
    let get = |name: &str| facts.get(&format!("{name}.{tracer}")).copied();
    Some(format!(
        "a connection takes {:.0} ns untraced on 2 CPUs; its {:.1} runs of our programs take {:.0} ns, and the reader of \
         the ring {:.0} ns of the CPUs that the load wants",
        facts.get("hot.storm.ns")?,
        get("storm.runs")?,
        get("storm.programs")?,
        get("storm.reader")?,
    ))
}

fn storm_agent(facts: &Facts, _: &str) -> Option<String> {
    storm_of("Agent", facts)
}

fn storm_table(facts: &Facts, _: &str) -> Option<String> {
    storm_of("Table", facts)
}

fn storm_log(facts: &Facts, _: &str) -> Option<String> {
    storm_of("Log", facts)
}

fn statistics(facts: &Facts, fact: &str) -> Option<String> {
    let (whole, least) = (facts.get(fact)?, facts.get("ns.Agent.tcp_state_2.storm")?);
    let alone = fact.strip_suffix(".storm")?;
    let alone = facts.get(&format!("{alone}.storm, one thread"))?;
    let mut reason = format!(
        "the statistics themselves are part of it: `tcp_state_2`, which compares two words, shows {least:.0} ns; with \
         one thread that connects it is {alone:.0} ns"
    );
    if alone < whole {
        reason += ", the rest is the lock of the one ring, which keeps the order of events over all CPUs, on its way \
                   between two of them";
    }
    Some(reason)
}

/// Of a start with 100,000 sockets: what grows with them, and what does not.
fn start(facts: &Facts, _: &str) -> Option<String> {
    let (base, whole) = (facts.get("start.base")?, facts.get("start.100000")?);
    Some(format!(
        "{base:.0} ms of it are there without a socket (loading and verifying programs, finding the fields of this \
         kernel), the rest, {:.1} us a socket, is the walk, its row, its place in the table, and the listing that is \
         printed first",
        (whole - base) / 100.0
    ))
}

/// How far the ratio is from being known.
fn noise(facts: &Facts, fact: &str) -> Option<String> {
    let get = |end: &str| facts.get(&format!("{fact}.{end}")).copied();
    Some(format!(
        "the middle half of the rounds gave {:.2} to {:.2}",
        get("low")?,
        get("high")?
    ))
}

/// Of a listing of few sockets: most of it is the same work in /proc.
fn few(facts: &Facts, fact: &str) -> Option<String> {
    Some(format!(
        "{}; to start and end (`--version`) it takes {:.2} ms, netstat {:.2} ms, and the rest is the same \
         reading of /proc/*/fd by the kernel",
        noise(facts, fact)?,
        facts.get("version.ours")? * 1e3,
        facts.get("version.netstat")? * 1e3,
    ))
}

/// What we take of an operation in which no TCP state changes.
fn unrelated(facts: &Facts, fact: &str) -> Option<String> {
    let (name, tracer) = fact.strip_prefix("hot.")?.rsplit_once('.')?;
    let get = |what: &str| facts.get(&format!("{name}.{what}.{tracer}")).copied();
    let (ns, noise) = (facts.get(&format!("hot.{name}.ns"))?, noise(facts, fact)?);
    // What was not there is a little more or less than nothing by its difference.
    let at_least_none = |what: &str| get(what).map(|value| value.max(0.0));
    let (runs, programs, reader) = (
        at_least_none("runs")?,
        at_least_none("programs")?,
        at_least_none("reader")?,
    );
    let share = (programs + reader) / ns * 100.0;
    Some(format!(
        "for one of {ns:.0} ns our programs run {runs:.2} times, {programs:.1} ns with the statistics, and the agent \
         {reader:.1} ns: {share:.1} %; the rest is the machine's: {noise}"
    ))
}

fn resident(rss: &str, anonymous: &str, facts: &Facts) -> Option<String> {
    let (rss, anonymous) = (facts.get(rss)?, facts.get(anonymous)?);
    Some(format!(
        "{:.1} MB are the table and answers, {:.1} MB the program, libraries and BPF maps",
        anonymous / 1e6,
        (rss - anonymous) / 1e6
    ))
}

fn resident_idle(facts: &Facts, _: &str) -> Option<String> {
    resident("idle.rss", "idle.anon", facts)
}

fn resident_full(facts: &Facts, _: &str) -> Option<String> {
    resident("agent.rss.100000", "agent.anon.100000", facts)
}

const GOALS: &[Goal] = &[
    (
        "100,000 sockets, `-anpt` from the agent: times faster than netstat",
        "snapshot.100000.100.netstat-bpf -anpt, from the agent",
        Want::AtLeast(60.0),
        passes_of_agent,
    ),
    (
        "the same, times faster than `ss -ant`",
        "snapshot.100000.agent_over_ss",
        Want::AtLeast(4.0),
        passes_of_agent,
    ),
    (
        "100,000 sockets, one shot: times faster than netstat",
        "snapshot.100000.100.netstat-bpf -anpt",
        Want::AtLeast(12.0),
        passes,
    ),
    (
        "50 sockets, one shot: times faster than netstat",
        "snapshot.50.1.netstat-bpf -anpt",
        Want::AtLeast(1.0),
        few,
    ),
    (
        "a `-c` round at 100,000: times less CPU than netstat",
        "continuous.cpu_ratio.100000",
        Want::AtLeast(60.0),
        passes,
    ),
    (
        "storm with the agent: multiple of untraced",
        "hot.storm.Agent",
        Want::AtMost(1.05),
        storm_agent,
    ),
    (
        "events lost by the agent in the storm",
        "lost.storm.Agent",
        Want::AtMost(0.0),
        nothing,
    ),
    (
        "storm with `-c`: multiple of untraced",
        "hot.storm.Table",
        Want::AtMost(1.05),
        storm_table,
    ),
    (
        "storm with `log` to a file: multiple of untraced",
        "hot.storm.Log",
        Want::AtMost(2.0),
        storm_log,
    ),
    (
        "events lost by `log` in the storm",
        "lost.storm.Log",
        Want::AtMost(0.0),
        nothing,
    ),
    (
        "ns for one state change in the kernel, mean over a storm (agent)",
        "ns.Agent.tcp_state.storm",
        Want::AtMost(100.0),
        statistics,
    ),
    (
        "ns for one state change in the kernel, mean over a storm (`log`)",
        "ns.Log.tcp_state.storm",
        Want::AtMost(100.0),
        statistics,
    ),
    (
        "ping-pong, 100 connections, with the agent",
        "hot.ping-pong 100.Agent",
        Want::AtMost(1.02),
        unrelated,
    ),
    (
        "ping-pong, 5,000 connections, with the agent",
        "hot.ping-pong 5000.Agent",
        Want::AtMost(1.02),
        unrelated,
    ),
    (
        "bulk with the agent",
        "hot.bulk.Agent",
        Want::AtMost(1.02),
        unrelated,
    ),
    (
        "UDP with the agent",
        "hot.udp.Agent",
        Want::AtMost(1.02),
        unrelated,
    ),
    (
        "unix with the agent",
        "hot.unix.Agent",
        Want::AtMost(1.02),
        unrelated,
    ),
    (
        "getppid(2) with the agent",
        "hot.getppid.Agent",
        Want::AtMost(1.02),
        unrelated,
    ),
    (
        "open(2), close(2) with the agent",
        "hot.open.Agent",
        Want::AtMost(1.02),
        unrelated,
    ),
    (
        "idle: share of a CPU",
        "idle.cpu",
        Want::AtMost(0.001),
        nothing,
    ),
    (
        "resident bytes of the idle agent",
        "idle.rss",
        Want::AtMost(25e6),
        resident_idle,
    ),
    (
        "resident bytes of the agent at 100,000 sockets",
        "agent.rss.100000",
        Want::AtMost(45e6),
        resident_full,
    ),
    (
        "attach, seed and first byte at 100,000 sockets, ms",
        "start.100000",
        Want::AtMost(300.0),
        start,
    ),
];

/// The goals that were measured, as a table.
pub(crate) fn table(facts: &Facts) -> String {
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
        let why = if met { None } else { why(facts, fact) };
        let sep = if why.is_some() { ": " } else { "" };
        let why = why.unwrap_or_default();
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
