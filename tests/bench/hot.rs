//! What a busy host pays: throughput of workloads with nothing, with us, with our peers.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};

use crate::{
    measure::{self, Bench, Load},
    report::{Report, times},
    stats::median,
    tracer::{Running, Tracer},
};

/// Name, what it counts, arguments, whether TCP states change in it.
type Workload = (&'static str, &'static str, &'static [&'static str], bool);

const WORKLOADS: &[Workload] = &[
    ("storm", "connect, accept, RST", &["storm"], true),
    (
        "close",
        "connect, accept, close, TIME_WAIT",
        &["close"],
        true,
    ),
    (
        "ping-pong 100",
        "a byte there and back, 100 connections",
        &["ping-pong", "--sockets", "200"],
        false,
    ),
    (
        "ping-pong 5000",
        "the same, 5,000 connections",
        &["ping-pong", "--sockets", "10000"],
        false,
    ),
    ("bulk", "64 KiB through a connection", &["bulk"], false),
    ("udp", "a datagram sent and received", &["udp"], false),
    ("unix", "a byte through a socket pair", &["unix"], false),
    ("getppid", "getppid(2)", &["getppid"], false),
    ("open", "open(2) and close(2)", &["open"], false),
];

/// What was measured: by workload, then by tracer.
struct Runs {
    /// Nanoseconds for one, of each round.
    times: Vec<Vec<Vec<f64>>>,
    /// Nanoseconds of CPU of the tracer for one, of each round.
    readers: Vec<Vec<Vec<f64>>>,
    /// Times that the workload did its thing, lines, losses.
    seen: Vec<Vec<(f64, u64, u64)>>,
}

/// Workload, tracer, connections, lines, losses.
type Loss = (&'static str, Tracer, f64, u64, u64);

impl Runs {
    fn new(tracers: usize) -> Self {
        let each = vec![vec![Vec::new(); tracers]; WORKLOADS.len()];
        Self {
            times: each.clone(),
            readers: each,
            seen: vec![vec![(0.0, 0, 0); tracers]; WORKLOADS.len()],
        }
    }

    /// Runs a workload beside a tracer; gives how often it did its thing.
    fn run(
        &mut self,
        (at, index): (usize, usize),
        arguments: &[&str],
        seconds: &str,
        tracer: &Running,
    ) -> Result<f64> {
        let cpu = || tracer.pid().map_or(Ok(0.0), measure::cpu_of);
        let mut load = workload(arguments, seconds)?;
        let before = cpu()?;
        let (count, seconds) = load.finish()?;
        self.readers[at][index].push((cpu()? - before) / count * 1e9);
        self.times[at][index].push(seconds / count * 1e9);
        Ok(count)
    }

    /// The table of ratios, and what was lost.
    fn tell(&self, report: &mut Report, tracers: &[Tracer]) -> (Vec<Vec<String>>, Vec<Loss>) {
        let mut header = vec!["workload".to_owned(), "ns for one, untraced".to_owned()];
        header.extend(
            tracers
                .iter()
                .skip(1)
                .map(|tracer| tracer.name().to_owned()),
        );
        let mut table = vec![header];
        let mut losses = Vec::new();
        for (at, (name, what, _, stateful)) in WORKLOADS.iter().enumerate() {
            let times_of = &self.times[at];
            let untraced = median(&times_of[0]);
            report.fact(&format!("hot.{name}.ns"), untraced);
            let mut row = vec![format!("{name}: {what}"), format!("{untraced:.0}")];
            for (index, tracer) in tracers.iter().enumerate().skip(1) {
                if times_of[index].is_empty() {
                    row.push(String::new());
                    continue;
                }
                let fact = format!("hot.{name}.{tracer:?}");
                let ratio = report.ratio(&fact, &times_of[index], &times_of[0]);
                let reader = median(&self.readers[at][index]);
                report.fact(&format!("{name}.reader.{tracer:?}"), reader);
                row.push(times(ratio));
                if *stateful {
                    let (count, lines, lost) = self.seen[at][index];
                    report.fact(&format!("lost.{name}.{tracer:?}"), lost as f64);
                    losses.push((*name, *tracer, count, lines, lost));
                }
            }
            table.push(row);
        }
        (table, losses)
    }
}

/// Where the peers look for tracepoints; we do not need it.
const TRACEFS: &str = "/sys/kernel/tracing";

/// Mounts it where nobody has.
fn mount_tracefs() -> Result<()> {
    if Path::new(TRACEFS).join("events").exists() {
        return Ok(());
    }
    eprintln!("bench: mounting tracefs at {TRACEFS} for the peers");
    let none: Option<&str> = None;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(none, TRACEFS, Some("tracefs"), flags, none)
        .with_context(|| format!("mount tracefs at {TRACEFS}"))
}

/// All workloads under all tracers.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    report.heading("Hot path: what the host pays");
    report.text(
        "Each workload runs in two threads. In each round it runs once under each tracer, in turns; \
         the number is the median over the rounds of its time for one operation, as a multiple of the \
         time without a tracer in the same round. Slower is more. Workloads in which no TCP state changes \
         run in shorter and more rounds: a tracer costs them so little that the machine's drift hides it.",
    );
    mount_tracefs()?;
    let mut tracers = Vec::new();
    for tracer in Tracer::ALL {
        match Running::start(bench, tracer) {
            Ok(running) => {
                running.stop()?;
                tracers.push(tracer);
            }
            Err(error) => report.text(&format!(
                "{} was not measured, it does not run here: {error:#}",
                tracer.name()
            )),
        }
    }
    let mut runs = Runs::new(tracers.len());
    stateful(bench, &tracers, &mut runs)?;
    others(bench, &tracers, &mut runs)?;
    let (table, losses) = runs.tell(report, &tracers);
    for (index, row) in table.iter().enumerate() {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        if index == 0 {
            report.columns(&cells);
        } else {
            report.row(&cells);
        }
    }
    report.subheading("Events lost");
    report.columns(&[
        "workload",
        "tracer",
        "connections",
        "lines",
        "lost by its own count",
    ]);
    for (name, tracer, count, lines, lost) in losses {
        let lines = match tracer {
            Tracer::Table | Tracer::Agent => String::new(),
            _ => lines.to_string(),
        };
        report.row(&[
            name,
            tracer.name(),
            &format!("{count:.0}"),
            &lines,
            &lost.to_string(),
        ]);
    }
    programs(bench, report, &tracers)
}

/// Workloads in which TCP states change.
fn stateful(bench: &Bench, tracers: &[Tracer], runs: &mut Runs) -> Result<()> {
    let rounds = if bench.quick { 3 } else { 5 };
    for round in 0..rounds {
        eprintln!("bench: hot path, round {} of {rounds}", round + 1);
        for (index, tracer) in tracers.iter().enumerate() {
            for (at, (_, _, arguments, stateful)) in WORKLOADS.iter().enumerate() {
                if *stateful {
                    // One tracer each, so that what it lost is known of each.
                    let running = Running::start(bench, *tracer)?;
                    let time = if bench.quick { HALF } else { WHOLE };
                    let count = runs.run((at, index), arguments, time, &running)?;
                    let found = running.stop()?;
                    let seen = &mut runs.seen[at][index];
                    *seen = (seen.0 + count, seen.1 + found.lines, seen.2 + found.lost);
                }
            }
        }
    }
    Ok(())
}

/// The rest. A peer that only hooks TCP states is not asked about it.
fn others(bench: &Bench, tracers: &[Tracer], runs: &mut Runs) -> Result<()> {
    let rounds = if bench.quick { 3 } else { 21 };
    let mut order: Vec<_> = tracers
        .iter()
        .enumerate()
        .filter(|(_, tracer)| !matches!(tracer, Tracer::Tcpstates | Tracer::Bpftrace))
        .collect();
    for round in 0..rounds {
        if round % 10 == 0 {
            eprintln!("bench: unrelated work, round {} of {rounds}", round + 1);
        }
        for &(index, tracer) in &order {
            let running = Running::start(bench, *tracer)?;
            for (at, (_, _, arguments, stateful)) in WORKLOADS.iter().enumerate() {
                if !stateful {
                    runs.run((at, index), arguments, QUARTER, &running)?;
                }
            }
            running.stop()?;
        }
        // Who comes after whom must not matter.
        order.reverse();
    }
    Ok(())
}

/// How long a workload runs, seconds.
const WHOLE: &str = "1";
const HALF: &str = "0.5";
const QUARTER: &str = "0.25";

/// Starts one, and waits until it begins.
fn workload(arguments: &[&str], seconds: &str) -> Result<Load> {
    let mut all = arguments.to_vec();
    all.extend(["--seconds", seconds]);
    Load::start(&all)
}

/// Nanoseconds for one run of each BPF program.
fn programs(bench: &Bench, report: &mut Report, tracers: &[Tracer]) -> Result<()> {
    report.subheading("Nanoseconds for one run of a BPF program");
    report.text(
        "The kernel's own statistics (`BPF_ENABLE_STATS`), in runs of their own, medians of five where states \
         change: reading the clock twice is part of each number. In brackets how often it runs for one operation. Programs on \
         timers run for every timer of the host; those that are not a socket's end after two loads.",
    );
    let kept = enable_stats(Stats::RunTime).context("keep BPF statistics")?;
    programs_of(bench, report, tracers)?;
    drop(kept);
    idle(bench, report)
}

/// What the statistics are taken of: the workloads, and the storm without a second thread.
fn measured() -> Vec<(&'static str, Vec<&'static str>, bool)> {
    let all = WORKLOADS.iter();
    let mut all: Vec<_> = all
        .map(|(name, _, arguments, stateful)| (*name, arguments.to_vec(), *stateful))
        .collect();
    all.insert(1, (ALONE, vec!["storm", "--threads", "1"], true));
    all
}

/// Nobody else wants the ring of events then.
const ALONE: &str = "storm, one thread";
/// Columns of the table; the goals use all.
const SHOWN: [&str; 5] = ["storm", ALONE, "close", "ping-pong 100", "bulk"];

/// What a program took for one run, and its runs for one operation, in each run of a workload.
type Samples = BTreeMap<String, BTreeMap<&'static str, Vec<(f64, f64)>>>;

fn programs_of(bench: &Bench, report: &mut Report, tracers: &[Tracer]) -> Result<()> {
    report.columns(&[&["tracer", "program"], SHOWN.as_slice()].concat());
    for tracer in tracers.iter().copied().filter(|t| *t != Tracer::Nothing) {
        let peer = matches!(tracer, Tracer::Tcpstates | Tracer::Bpftrace);
        let mut samples = Samples::new();
        for (name, arguments, stateful) in measured() {
            if peer && !stateful {
                continue;
            }
            let (rounds, time) = match (stateful, bench.quick) {
                (true, false) => (STATISTICS, WHOLE),
                _ => (1, HALF),
            };
            let (mut runs, mut ns) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let took = programs_in(bench, tracer, &arguments, time)?;
                runs.push(took.values().map(|each| each.1).sum());
                ns.push(took.values().map(|(each, runs)| each * runs).sum());
                for (program, each) in took {
                    let of_program = samples.entry(program).or_default();
                    of_program.entry(name).or_default().push(each);
                }
            }
            report.fact(&format!("{name}.runs.{tracer:?}"), median(&runs));
            report.fact(&format!("{name}.programs.{tracer:?}"), median(&ns));
        }
        for (program, workloads) in samples {
            let middle = |name: &&str| {
                let seen = workloads.get(name)?;
                let (each, runs): (Vec<f64>, Vec<f64>) = seen.iter().copied().unzip();
                Some((median(&each), median(&runs)))
            };
            for name in workloads.keys() {
                if let Some((each, _)) = middle(name) {
                    report.fact(&format!("ns.{tracer:?}.{program}.{name}"), each);
                }
            }
            let cells = SHOWN.each_ref().map(|name| {
                let cell = middle(name).map(|(each, runs)| format!("{each:.0} ({runs:.2})"));
                cell.unwrap_or_default()
            });
            if cells.iter().any(|cell| !cell.is_empty()) {
                let program = format!("`{program}`");
                let mut row = vec![tracer.name(), program.as_str()];
                row.extend(cells.iter().map(String::as_str));
                report.row(&row);
            }
        }
    }
    Ok(())
}

/// How often each workload is run for the statistics: one run alone may be twice as slow.
const STATISTICS: usize = 5;

/// Nanoseconds for one run of each program, and its runs for one operation, in one run of a workload.
/// Programs that ran next to never are left out.
fn programs_in(
    bench: &Bench,
    tracer: Tracer,
    arguments: &[&str],
    time: &str,
) -> Result<BTreeMap<String, (f64, f64)>> {
    let running = Running::start(bench, tracer)?;
    let mut load = workload(arguments, time)?;
    let before = running.programs()?;
    let (count, _) = load.finish()?;
    let mut took = BTreeMap::new();
    for program in running.programs()? {
        let then = before.iter().find(|then| then.id == program.id);
        let (runs, ns) = then.map_or((0, 0), |then| (then.runs, then.nanoseconds));
        let (runs, ns) = (program.runs - runs, program.nanoseconds - ns);
        if runs > 100 {
            let runs = runs as f64;
            took.insert(program.name, (ns as f64 / runs, runs / count));
        }
    }
    running.stop()?;
    Ok(took)
}

/// What a tracer costs when nothing happens.
fn idle(bench: &Bench, report: &mut Report) -> Result<()> {
    let tracer = match Running::start(bench, Tracer::Agent) {
        Ok(running) => running,
        Err(_) => Running::start(bench, Tracer::Table)?,
    };
    let pid = tracer.pid().context("the tracer")?;
    let seconds = if bench.quick { 3 } else { 15 };
    let before = measure::cpu_of(pid)?;
    std::thread::sleep(std::time::Duration::from_secs(seconds));
    let share = (measure::cpu_of(pid)? - before) / seconds as f64;
    let rss = measure::memory_of(pid, "VmRSS")?;
    report.text(&format!(
        "Idle for {seconds} s: {:.3} % of a CPU, {:.1} MB resident.",
        share * 100.0,
        rss / 1e6
    ));
    report.fact("idle.cpu", share);
    report.fact("idle.rss", rss);
    report.fact("idle.anon", measure::memory_of(pid, "RssAnon")?);
    tracer.stop()?;
    Ok(())
}
