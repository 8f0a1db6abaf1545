//! How time, memory and cost of an event grow.

use std::{path::Path, process::Command, time::Instant};

use anyhow::Result;

use crate::{
    growth,
    measure::{Bench, Load, cost, enter},
    plot::{self, Series},
    report::{Report, ms},
    snapshot::{AT_ONCE, NO_AGENT},
    stats::{line, median},
    tracer::{Running, Tracer},
};

/// The sizes beside which a storm runs.
const STORMS: [usize; 3] = [1_000, 10_000, 100_000];

/// Sizes, fits and plots.
pub(crate) fn run(bench: &Bench, report: &mut Report, output: &Path) -> Result<()> {
    report.heading("Scale");
    let sizes: &[usize] = if bench.quick {
        &[1_000, 10_000, 50_000]
    } else {
        &[1_000, 3_000, 10_000, 30_000, 100_000, 200_000]
    };
    let mut times = vec![Series::new("netstat -anpt"), Series::new("ss -ant")];
    times.extend([
        Series::new("netstat-bpf, kernel"),
        Series::new("netstat-bpf, /proc"),
    ]);
    let mut memory = Series::new("netstat-bpf, kernel");
    let mut start = Series::new("netstat-bpf -c: attach, seed, first byte");
    let mut per_event = Series::new("storm under netstat-bpf -c");
    let rounds = 3;
    for &sockets in sizes {
        eprintln!("bench: scale, {sockets} sockets");
        let processes = sockets.div_ceil(1000).min(100);
        let load = Load::start(&[
            "hold",
            "--sockets",
            &sockets.to_string(),
            "--processes",
            &processes.to_string(),
        ])?;
        let netns = load.netns()?;
        let mut walls = vec![Vec::new(); times.len()];
        let mut peaks = Vec::new();
        for _ in 0..rounds {
            for (index, series) in times.iter().enumerate() {
                // netstat's time grows with the square: a minute here.
                if sockets > 100_000 && series.name.starts_with("netstat -") {
                    continue;
                }
                let mut command = match series.name {
                    "netstat -anpt" => Command::new("netstat"),
                    "ss -ant" => Command::new("ss"),
                    _ => Command::new(&bench.program),
                };
                command.env("NETSTAT_BPF_AGENT", NO_AGENT);
                command.arg(if series.name == "ss -ant" {
                    "-ant"
                } else {
                    "-anpt"
                });
                let source = if series.name.ends_with("kernel") {
                    "kernel"
                } else {
                    "proc"
                };
                command.env("NETSTAT_BPF_SOURCE", source);
                enter(&mut command, &netns);
                let cost = cost(&mut command, &bench.scratch.join("listing"))?;
                walls[index].push(cost.wall);
                if source == "kernel" {
                    peaks.push(cost.rss);
                }
            }
        }
        for (series, walls) in times
            .iter_mut()
            .zip(&walls)
            .filter(|(_, walls)| !walls.is_empty())
        {
            series.points.push((sockets as f64, median(walls) * 1e3));
        }
        memory.points.push((sockets as f64, median(&peaks) / 1e6));
        start
            .points
            .push((sockets as f64, first_byte(bench, &netns)? * 1e3));
        if STORMS.contains(&sockets) {
            let point = (sockets as f64, storm_slowdown(bench)?);
            per_event.points.push(point);
        }
    }
    report.text("Straight lines through the medians (least squares):");
    report.columns(&["what", "at zero sockets", "for each 1,000 sockets"]);
    for series in &times {
        let (at_zero, slope) = line(&series.points);
        report.row(&[
            series.name,
            &format!("{at_zero:.1} ms"),
            &format!("{:.3} ms", slope * 1e3),
        ]);
    }
    let (at_zero, slope) = line(&memory.points);
    report.row(&[
        "peak memory, kernel source",
        &format!("{at_zero:.1} MB"),
        &format!("{:.0} kB", slope * 1e6),
    ]);
    let (at_zero, slope) = line(&start.points);
    report.row(&[
        start.name,
        &format!("{at_zero:.0} ms"),
        &format!("{:.3} ms", slope * 1e3),
    ]);
    if let Some(last) = start.points.iter().find(|p| p.0 == 100_000.0) {
        report.fact("start.100000", last.1);
        report.text(&format!(
            "Attach, seed and print the first byte at 100,000 sockets: {} ms.",
            ms(last.1 / 1e3)
        ));
    }
    report.columns(&[
        "sockets",
        "storm under `netstat-bpf -c`, multiple of untraced",
    ]);
    for (sockets, ratio) in &per_event.points {
        report.row(&[&format!("{sockets:.0}"), &format!("{ratio:.2}")]);
    }
    plot::draw(
        &output.join("benchmark-time.svg"),
        "One listing",
        ("sockets", "ms"),
        &times,
    )?;
    plot::draw(
        &output.join("benchmark-memory.svg"),
        "Peak memory of a listing",
        ("sockets", "MB"),
        &[memory],
    )?;
    plot::draw(
        &output.join("benchmark-storm.svg"),
        "A storm beside a table of so many sockets",
        ("sockets", "multiple of untraced"),
        &[per_event],
    )?;
    report.text(
        "![time](benchmark-time.svg)\n\n![memory](benchmark-memory.svg)\n\n![storm](benchmark-storm.svg)",
    );
    clients(report, output)?;
    growth::run(bench, report, output)
}

/// What was measured of several clients, if it was.
fn clients(report: &mut Report, output: &Path) -> Result<()> {
    let mut curve = Series::new("until all are done");
    for clients in AT_ONCE {
        if let Some(seconds) = report.known(&format!("clients.100000.{clients}")) {
            curve.points.push((clients as f64, seconds * 1e3));
        }
    }
    if curve.points.is_empty() {
        return Ok(());
    }
    plot::draw(
        &output.join("benchmark-clients.svg"),
        "Clients of the agent at once, 100,000 sockets each",
        ("clients", "ms"),
        &[curve],
    )?;
    report.text("![clients](benchmark-clients.svg)");
    Ok(())
}

/// Seconds from the start of `-c` to the first bytes of its first round.
fn first_byte(bench: &Bench, netns: &std::fs::File) -> Result<f64> {
    use std::io::Read as _;
    let mut taken = Vec::new();
    for _ in 0..3 {
        let mut command = Command::new(&bench.program);
        command
            .arg("-cant")
            .env("NETSTAT_BPF_AGENT", NO_AGENT)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        enter(&mut command, netns);
        let begin = Instant::now();
        let mut child = command.spawn()?;
        if let Some(mut out) = child.stdout.take() {
            out.read_exact(&mut [0])?;
        }
        taken.push(begin.elapsed().as_secs_f64());
        child.kill()?;
        child.wait()?;
    }
    Ok(median(&taken))
}

/// The storm beside a table of the sockets that stand now, as a multiple of the storm untraced.
fn storm_slowdown(bench: &Bench) -> Result<f64> {
    let mut ratios = Vec::new();
    for _ in 0..2 {
        let mut each = [0.0; 2];
        for (slot, tracer) in each.iter_mut().zip([Tracer::Nothing, Tracer::Table]) {
            let running = Running::start(bench, tracer)?;
            let (count, seconds) = Load::start(&["storm", "--seconds", "0.7"])?.finish()?;
            running.stop()?;
            *slot = seconds / count;
        }
        ratios.push(each[1] / each[0]);
    }
    Ok(median(&ratios))
}
