//! One listing: wall and CPU time, memory, system calls, against netstat, ss and a plain copy.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};

use crate::{
    measure::{self, Bench, Cost, Load, cost, enter},
    report::{Report, ms, times},
    stats::{median, spread},
    tracer::{Program, Running, Tracer},
};

/// Name, program (`None` is ours), arguments, environment.
type Contestant = (
    &'static str,
    Option<&'static str>,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

const CONTESTANTS: &[Contestant] = &[
    ("netstat -anpt", Some("netstat"), &["-anpt"], &[]),
    ("netstat-bpf -anpt", None, &["-anpt"], &[]),
    (
        "netstat-bpf -anpt, source kernel",
        None,
        &["-anpt"],
        &[("NETSTAT_BPF_SOURCE", "kernel")],
    ),
    (
        "netstat-bpf -anpt, source proc",
        None,
        &["-anpt"],
        &[("NETSTAT_BPF_SOURCE", "proc")],
    ),
    ("ss -anpt", Some("ss"), &["-anpt"], &[]),
    ("ss -ant", Some("ss"), &["-ant"], &[]),
];

/// How many clients ask at the same time.
pub(crate) const AT_ONCE: [usize; 4] = [1, 2, 4, 8];
/// A path where no agent listens.
pub(crate) const NO_AGENT: &str = "/nonexistent/agent";
/// The copy of the bytes that netstat printed.
const COPY: &str = "cat of the same bytes";
const AGENT: &str = "netstat-bpf -anpt, from the agent";

/// All sizes.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    report.heading("Snapshot: one listing of all TCP sockets with their processes");
    report.text(
        "Paired runs in turns; every program writes to a file in the same directory. The ratio is the \
         median over the rounds of netstat's wall time divided by the program's in the same round. \
         Peak memory is that of the process; system calls are counted by strace in a run of their own, \
         of peers up to 100,000 sockets.",
    );
    let sizes = if bench.quick {
        vec![(50, 1), (1_000, 1), (10_000, 100), (100_000, 100)]
    } else {
        // No process may have more than 20,000 descriptors.
        let mut sizes = vec![
            (50, 1),
            (1_000, 1),
            (1_000, 100),
            (10_000, 1),
            (10_000, 100),
        ];
        sizes.extend([(19_000, 1), (100_000, 100), (bench.most, 100)]);
        sizes
    };
    starts(bench, report)?;
    for (sockets, processes) in sizes {
        size(bench, report, sockets, processes)?;
    }
    Ok(())
}

/// What each costs that does nothing but start and end.
fn starts(bench: &Bench, report: &mut Report) -> Result<()> {
    const ROUNDS: usize = 100;
    let programs = [
        ("ours", bench.program.as_os_str()),
        ("netstat", OsStr::new("netstat")),
    ];
    let mut walls = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for ((_, program), walls) in programs.iter().zip(&mut walls) {
            let mut command = Command::new(program);
            command.arg("--version");
            walls.push(cost(&mut command, &bench.scratch.join("version"))?.wall);
        }
    }
    for ((name, _), walls) in programs.iter().zip(&walls) {
        report.fact(&format!("version.{name}"), median(walls));
    }
    Ok(())
}

fn size(bench: &Bench, report: &mut Report, sockets: usize, processes: usize) -> Result<()> {
    eprintln!("bench: snapshot of {sockets} sockets in {processes} processes");
    let load = Load::start(&[
        "hold",
        "--sockets",
        &sockets.to_string(),
        "--processes",
        &processes.to_string(),
    ])?;
    let netns = load.netns()?;
    let Effort {
        least,
        most,
        seconds,
    } = Effort::of(bench, sockets);
    let agent = start_agent(bench, report, &netns);
    let mut names: Vec<&str> = CONTESTANTS.iter().map(|(name, ..)| *name).collect();
    names.push(COPY);
    if agent.is_some() {
        names.push(AGENT);
    }
    let sink = bench.scratch.join("listing");
    let printed = bench.scratch.join("netstat");
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); names.len()];
    let mut calls = vec![None; names.len()];
    let mut begin = Instant::now();
    for round in 0..=most {
        if round > least && begin.elapsed() > seconds {
            break;
        }
        if round == 1 {
            begin = Instant::now();
        }
        for (index, name) in names.iter().enumerate() {
            let mut command = match CONTESTANTS.get(index) {
                Some(contestant) => listing(bench, contestant),
                None if *name == COPY => {
                    let mut copy = Command::new("cat");
                    copy.arg(&printed);
                    copy
                }
                None => from_agent(bench),
            };
            if round == 0 {
                // Warms the caches, and counts. Our bytes are netstat's, and come sooner.
                if index == 1 {
                    let mut command = listing(bench, &CONTESTANTS[1]);
                    enter(&mut command, &netns);
                    cost(&mut command, &printed)?;
                }
                let peer = CONTESTANTS.get(index).is_some_and(|peer| peer.1.is_some());
                if !(peer && sockets > COUNTED) {
                    calls[index] = measure::system_calls(&command, &netns, &bench.scratch)
                        .with_context(|| format!("strace of {name}"))?;
                }
                continue;
            }
            enter(&mut command, &netns);
            costs[index].push(cost(&mut command, &sink)?);
        }
    }
    let rounds = costs[0].len();
    table(report, sockets, processes, rounds, &names, &costs, &calls);
    if let Some(agent) = &agent {
        with_agent(bench, report, agent, &netns, sockets)?;
    }
    drop(agent);
    continuous(bench, report, &netns, sockets, &costs[0])?;
    Ok(())
}

/// More sockets than that are not listed by a peer under strace: it would take minutes.
const COUNTED: usize = 100_000;

/// How often a listing is measured.
struct Effort {
    least: usize,
    most: usize,
    /// No further round begins after so long.
    seconds: Duration,
}

impl Effort {
    fn of(bench: &Bench, sockets: usize) -> Self {
        let (least, most, seconds) = match (bench.quick, sockets) {
            (true, 50_000..) => (2, 3, 20),
            (true, _) => (3, 7, 5),
            (false, ..1_000) => (15, 40, 8),
            (false, ..50_000) => (5, 25, 10),
            (false, ..=COUNTED) => (5, 9, 60),
            (false, _) => (1, 3, 60),
        };
        Self {
            least,
            most,
            seconds: Duration::from_secs(seconds),
        }
    }
}

/// The agent's memory, what its passes cost in the kernel, and several clients at once.
fn with_agent(
    bench: &Bench,
    report: &mut Report,
    agent: &Running,
    netns: &File,
    sockets: usize,
) -> Result<()> {
    let pid = agent.pid().context("the agent")?;
    let rss = measure::memory_of(pid, "VmRSS")?;
    report.fact(&format!("agent.rss.{sockets}"), rss);
    let anonymous = measure::memory_of(pid, "RssAnon")?;
    report.fact(&format!("agent.anon.{sockets}"), anonymous);
    report.text(&format!(
        "The agent after it: {:.1} MB resident, {:.1} MB at most.",
        rss / 1e6,
        measure::memory_of(pid, "VmHWM")? / 1e6
    ));
    if sockets < 50_000 {
        return Ok(());
    }
    let kept = enable_stats(Stats::RunTime).context("keep BPF statistics")?;
    let before = agent.programs()?;
    const LISTINGS: u32 = 5;
    for _ in 0..LISTINGS {
        let mut command = from_agent(bench);
        enter(&mut command, netns);
        cost(&mut command, &bench.scratch.join("listing"))?;
    }
    let after = agent.programs()?;
    drop(kept);
    let each = |prefix: &str| {
        let of = |programs: &[Program]| -> u64 {
            let ours = programs
                .iter()
                .filter(|program| program.name.starts_with(prefix));
            ours.map(|program| program.nanoseconds).sum()
        };
        (of(&after) - of(&before)) as f64 / f64::from(LISTINGS) / sockets as f64
    };
    let (rows, descriptors) = (each("refresh"), each("iter_fds"));
    report.text(&format!(
        "In the kernel, for each socket of a listing: {rows:.0} ns of a CPU for its row, {descriptors:.0} ns for its \
         descriptor."
    ));
    if sockets == 100_000 {
        report.fact("pass.rows", rows);
        report.fact("pass.descriptors", descriptors);
    }
    at_once(bench, report, netns, sockets)
}

/// Several clients at the same time.
fn at_once(bench: &Bench, report: &mut Report, netns: &File, sockets: usize) -> Result<()> {
    report.columns(&["clients at once", "ms until all are done"]);
    for clients in AT_ONCE {
        let mut walls = Vec::new();
        for _ in 0..3 {
            let begin = Instant::now();
            let children: Result<Vec<_>> = (0..clients)
                .map(|client| {
                    let mut command = from_agent(bench);
                    enter(&mut command, netns);
                    command
                        .stdout(File::create(bench.scratch.join(format!("client{client}")))?)
                        .stderr(Stdio::null());
                    Ok(command.spawn()?)
                })
                .collect();
            for mut child in children? {
                let status = child.wait()?;
                anyhow::ensure!(
                    status.success(),
                    "a client of the agent ended with {status}"
                );
            }
            walls.push(begin.elapsed().as_secs_f64());
        }
        report.fact(&format!("clients.{sockets}.{clients}"), median(&walls));
        report.row(&[&clients.to_string(), &ms(median(&walls))]);
    }
    Ok(())
}

fn listing(bench: &Bench, (_, program, arguments, environment): &Contestant) -> Command {
    let mut command = match program {
        Some(program) => Command::new(program),
        None => Command::new(&bench.program),
    };
    command.args(*arguments).envs(environment.iter().copied());
    if program.is_none() {
        // Without this a one-shot listing would ask the agent.
        command.env("NETSTAT_BPF_AGENT", NO_AGENT);
    }
    command
}

pub(crate) fn from_agent(bench: &Bench) -> Command {
    let mut command = Command::new(&bench.program);
    command
        .arg("-anpt")
        .env("NETSTAT_BPF_SOURCE", "agent")
        .env("NETSTAT_BPF_AGENT", crate::tracer::agent_socket(bench));
    command
}

pub(crate) fn start_agent(bench: &Bench, report: &mut Report, netns: &File) -> Option<Running> {
    match Running::start_in(bench, Tracer::Agent, Some(netns)) {
        Ok(running) => Some(running),
        Err(error) => {
            report.once(&format!("`netstat-bpf agent` was not measured: {error:#}"));
            None
        }
    }
}

fn table(
    report: &mut Report,
    sockets: usize,
    processes: usize,
    rounds: usize,
    names: &[&str],
    costs: &[Vec<Cost>],
    calls: &[Option<u64>],
) {
    report.subheading(&format!(
        "{sockets} sockets, {processes} process(es), {rounds} rounds"
    ));
    report.columns(&[
        "program",
        "wall ms",
        "least to most",
        "CPU ms",
        "peak MB",
        "system calls",
        "netstat / it",
    ]);
    let wall = |index: usize| -> Vec<f64> { costs[index].iter().map(|c| c.wall).collect() };
    let reference = wall(0);
    for (index, name) in names.iter().enumerate() {
        let mine = wall(index);
        let cpu: Vec<f64> = costs[index].iter().map(|c| c.cpu).collect();
        let rss: Vec<f64> = costs[index].iter().map(|c| c.rss).collect();
        let (least, most) = spread(&mine);
        let fact = format!("snapshot.{sockets}.{processes}.{name}");
        let ratio = report.ratio(&fact, &reference, &mine);
        report.row(&[
            &format!("`{name}`"),
            &ms(median(&mine)),
            &format!("{} to {}", ms(least), ms(most)),
            &ms(median(&cpu)),
            &format!("{:.1}", median(&rss) / 1e6),
            &calls[index].map_or_else(|| "?".to_owned(), |calls| calls.to_string()),
            &times(ratio),
        ]);
    }
    let index = |wanted: &str| names.iter().position(|name| *name == wanted);
    if let (Some(agent), Some(ss)) = (index(AGENT), index("ss -ant")) {
        let fact = format!("snapshot.{sockets}.agent_over_ss");
        let ratio = report.ratio(&fact, &wall(ss), &wall(agent));
        report.text(&format!(
            "The agent's listing against `ss -ant`: {}.",
            times(ratio)
        ));
    }
    for (name, fact) in [("ss -ant", "ss_ms"), (COPY, "copy_ms"), (AGENT, "agent_ms")] {
        if let Some(index) = index(name) {
            let ms = median(&wall(index)) * 1e3;
            report.fact(&format!("snapshot.{sockets}.{fact}"), ms);
        }
    }
    if let Some(ours) = index("netstat-bpf -anpt, source kernel") {
        let rss: Vec<f64> = costs[ours].iter().map(|c| c.rss).collect();
        report.fact(&format!("rss.{sockets}.{processes}"), median(&rss));
    }
}

/// CPU time of a `-c` round, and memory after some.
fn continuous(
    bench: &Bench,
    report: &mut Report,
    netns: &File,
    sockets: usize,
    netstat: &[Cost],
) -> Result<()> {
    let sink = bench.scratch.join("continuous");
    let mut command = Command::new(&bench.program);
    command
        .arg("-canpt")
        .env("LC_ALL", "C")
        .env("NETSTAT_BPF_AGENT", NO_AGENT)
        .stdin(Stdio::null())
        .stdout(File::create(&sink)?)
        .stderr(Stdio::null());
    enter(&mut command, netns);
    let mut child = command.spawn().context("start netstat-bpf -c")?;
    let rounds = if bench.quick { 3 } else { 6 };
    let result = (|| -> Result<(f64, f64, f64)> {
        let mut written = Rounds::of(&sink)?;
        // The first rounds pay for the start.
        let round = written.wait(2)?;
        let before = measure::cpu_of(child.id())?;
        let last = written.wait(round + rounds)?;
        let cpu = (measure::cpu_of(child.id())? - before) / (last - round) as f64;
        let rss = measure::memory_of(child.id(), "VmRSS")?;
        Ok((cpu, rss, measure::memory_of(child.id(), "VmHWM")?))
    })();
    let _ = child.kill();
    let _ = child.wait();
    let (cpu, rss, peak) = result?;
    fs::remove_file(&sink)?;
    let theirs: Vec<f64> = netstat.iter().map(|cost| cost.cpu).collect();
    let ratio = median(&theirs) / cpu;
    report.text(&format!(
        "A round of `netstat-bpf -c -anpt`: {} ms CPU, {} less than one `netstat -anpt`; resident {:.1} MB \
         after {} rounds, {:.1} MB at most.",
        ms(cpu),
        times(ratio),
        rss / 1e6,
        rounds + 2,
        peak / 1e6
    ));
    report.fact(&format!("continuous.cpu_ratio.{sockets}"), ratio);
    report.fact(&format!("continuous.rss.{sockets}"), rss);
    Ok(())
}

/// The rounds of a `-c` that writes to a file. What was read is not read again: whoever did that
/// would take memory and a CPU from what is measured.
struct Rounds {
    sink: File,
    /// How many have begun.
    begun: usize,
    /// The end of what was read, in which a title may begin.
    end: Vec<u8>,
}

impl Rounds {
    const TITLE: &[u8] = b"Active Internet";

    fn of(sink: &std::path::Path) -> Result<Self> {
        Ok(Self {
            sink: File::open(sink)?,
            begun: 0,
            end: Vec::new(),
        })
    }

    /// Waits until so many have begun; gives how many have.
    fn wait(&mut self, wanted: usize) -> Result<usize> {
        let begin = Instant::now();
        loop {
            self.sink.read_to_end(&mut self.end)?;
            let places = self.end.windows(Self::TITLE.len());
            self.begun += places.filter(|place| *place == Self::TITLE).count();
            let done = self.end.len().saturating_sub(Self::TITLE.len() - 1);
            self.end.drain(..done);
            if self.begun >= wanted {
                return Ok(self.begun);
            }
            if begin.elapsed() > Duration::from_secs(120) {
                anyhow::bail!(
                    "netstat-bpf -c wrote {} of {wanted} rounds in 120 s",
                    self.begun
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
