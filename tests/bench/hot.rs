//! What a busy host pays: throughput of workloads with nothing, with us, with our peers.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{
    measure::{self, Bench, Load},
    report::{Report, times},
    stats::{median, paired},
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
        &["ping-pong", "--sockets", "400"],
        false,
    ),
    (
        "ping-pong 5000",
        "the same, 5,000 connections",
        &["ping-pong", "--sockets", "20000"],
        false,
    ),
    ("bulk", "64 KiB through a connection", &["bulk"], false),
    ("udp", "a datagram sent and received", &["udp"], false),
    ("unix", "a byte through a socket pair", &["unix"], false),
    ("getppid", "getppid(2)", &["getppid"], false),
    ("open", "open(2) and close(2)", &["open"], false),
];

/// All workloads under all tracers.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    report.heading("Hot path: what the host pays");
    report.text(
        "Each workload runs in two threads. In each round it runs once under each tracer, in turns; \
         the number is the median over the rounds of its time for one operation, as a multiple of the \
         time without a tracer in the same round. Slower is more.",
    );
    let mut tracers = Vec::new();
    for tracer in Tracer::ALL {
        match Running::start(bench, tracer) {
            Ok(running) => {
                running.stop()?;
                tracers.push(tracer);
            }
            Err(error) => report.text(&format!(
                "{} was not measured, it does not run on this kernel: {error:#}",
                tracer.name()
            )),
        }
    }
    let mut header = vec!["workload".to_owned(), "ns for one, untraced".to_owned()];
    header.extend(
        tracers
            .iter()
            .skip(1)
            .map(|tracer| tracer.name().to_owned()),
    );
    let mut table = vec![header];
    let mut losses = Vec::new();
    let rounds = if bench.quick { 3 } else { 7 };
    for (name, what, arguments, stateful) in WORKLOADS {
        eprintln!("bench: {name}");
        let mut times_of = vec![Vec::new(); tracers.len()];
        let mut seen = vec![(0.0, 0u64, 0u64); tracers.len()];
        for _ in 0..rounds {
            for (index, tracer) in tracers.iter().enumerate() {
                // A peer that only hooks TCP states is not asked about the rest.
                if !stateful && matches!(tracer, Tracer::Tcpstates | Tracer::Bpftrace) {
                    continue;
                }
                let running = Running::start(bench, *tracer)?;
                let (count, seconds) = workload(bench, arguments)?;
                times_of[index].push(seconds / count * 1e9);
                let found = running.stop()?;
                seen[index].0 += count;
                seen[index].1 += found.lines;
                seen[index].2 += found.lost;
            }
        }
        let mut row = vec![
            format!("{name}: {what}"),
            format!("{:.0}", median(&times_of[0])),
        ];
        for index in 1..tracers.len() {
            if times_of[index].is_empty() {
                row.push("".to_owned());
                continue;
            }
            let ratio = paired(&times_of[index], &times_of[0]);
            report.fact(&format!("hot.{name}.{:?}", tracers[index]), ratio);
            row.push(times(ratio));
        }
        table.push(row);
        if *stateful {
            for (index, tracer) in tracers.iter().enumerate().skip(1) {
                let (count, lines, lost) = seen[index];
                report.fact(&format!("lost.{name}.{tracer:?}"), lost as f64);
                losses.push((*name, *tracer, count, lines, lost));
            }
        }
    }
    for (index, row) in table.iter().enumerate() {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        report.row(&cells);
        if index == 0 {
            report.rule(cells.len());
        }
    }
    report.subheading("Events lost");
    report.row(&[
        "workload",
        "tracer",
        "connections",
        "lines",
        "lost by its own count",
    ]);
    report.rule(5);
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

fn workload(bench: &Bench, arguments: &[&str]) -> Result<(f64, f64)> {
    let seconds = if bench.quick { "0.7" } else { "2" };
    let mut all = arguments.to_vec();
    all.extend(["--seconds", seconds]);
    Load::start(&all)?.finish()
}

/// Nanoseconds for one run of each BPF program.
fn programs(bench: &Bench, report: &mut Report, tracers: &[Tracer]) -> Result<()> {
    report.subheading("Nanoseconds for one run of a BPF program");
    report.text(
        "The kernel's own statistics (`kernel.bpf_stats_enabled`), in runs of their own: reading the \
         clock twice is part of each number. Programs on timers run for every timer of the host; those \
         that are not a socket's end after two loads.",
    );
    let switch = "/proc/sys/kernel/bpf_stats_enabled";
    let before = fs::read_to_string(switch).context("read bpf_stats_enabled")?;
    fs::write(switch, "1").context("turn the BPF statistics on")?;
    let done = programs_of(bench, report, tracers);
    fs::write(switch, before.trim()).context("turn the BPF statistics off")?;
    done
}

fn programs_of(bench: &Bench, report: &mut Report, tracers: &[Tracer]) -> Result<()> {
    report.row(&[
        "tracer",
        "program",
        "storm",
        "runs",
        "close",
        "runs",
        "ping-pong",
        "runs",
    ]);
    report.rule(8);
    for tracer in tracers.iter().copied().filter(|t| *t != Tracer::Nothing) {
        let mut rows: Vec<(String, Vec<(f64, u64)>)> = Vec::new();
        let loads: [&[&str]; 3] = [&["storm"], &["close"], &["ping-pong", "--sockets", "400"]];
        for (column, arguments) in loads.into_iter().enumerate() {
            let running = Running::start(bench, tracer)?;
            let before = running.programs()?;
            workload(bench, arguments)?;
            for program in running.programs()? {
                let then = before.iter().find(|then| then.id == program.id);
                let (runs, ns) = then.map_or((0, 0), |then| (then.runs, then.nanoseconds));
                let (runs, ns) = (program.runs - runs, program.nanoseconds - ns);
                let each = if runs == 0 {
                    0.0
                } else {
                    ns as f64 / runs as f64
                };
                match rows.iter_mut().find(|row| row.0 == program.name) {
                    Some(row) => row.1.push((each, runs)),
                    None => rows.push((program.name.clone(), vec![(each, runs)])),
                }
                if runs > 0 {
                    report.fact(&format!("ns.{tracer:?}.{}.{column}", program.name), each);
                }
            }
            running.stop()?;
        }
        rows.retain(|(_, columns)| columns.iter().any(|(_, runs)| *runs > 100));
        for (name, columns) in rows {
            let mut cells = vec![tracer.name().to_owned(), format!("`{name}`")];
            for (each, runs) in columns {
                cells.push(if runs == 0 {
                    String::new()
                } else {
                    format!("{each:.0}")
                });
                cells.push(runs.to_string());
            }
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            report.row(&cells);
        }
    }
    idle(bench, report)
}

/// What a tracer costs when nothing happens.
fn idle(bench: &Bench, report: &mut Report) -> Result<()> {
    let tracer = match Running::start(bench, Tracer::Agent) {
        Ok(running) => running,
        Err(_) => Running::start(bench, Tracer::Table)?,
    };
    let pid = tracer.pid().context("the tracer")?;
    let seconds = if bench.quick { 3 } else { 20 };
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
    tracer.stop()?;
    Ok(())
}
