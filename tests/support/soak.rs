//! A long random life with storms of short connections, stopped again and again to compare a running
//! `-c`, `log` and agent, and single listings, with netstat. One of the `-c` has a ring that no storm
//! fits into.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    agent::Agent,
    continuous::Continuous,
    netns::Net,
    oracle::{ours_path, real, try_live, try_same, try_same_by_agent},
    procs::Actor,
    storm::storm,
    wait,
    workload::{Dice, World},
};

/// Steps between two stops are drawn anew each time, up to this.
const STRIDE: usize = 4000;
/// Connections of a storm, up to this. Every second stop has one before it.
const STORM: usize = 4000;
/// Bytes of the small ring: a storm fills it many times.
const SMALL_RING: &str = "65536";
/// How long the log may take to get to what has happened: it tells of all namespaces, also of those
/// where somebody else is making a storm.
const BACKLOG: Duration = Duration::from_secs(120);
/// The line that marks how far the log has come can be lost as any other, which is told; then another one is
/// made.
const MARKED_EVERY: Duration = Duration::from_secs(10);
/// Contract E3: a table that may be wrong is right again within a second; `-c` prints each second.
const HEALING: Duration = Duration::from_secs(2);
/// How long what the log tells may differ from what netstat shows before and after: what a timer has
/// just ended is told some milliseconds late, and a change of state that the kernel withholds from BPF
/// programs, and no later event contradicts, is found by the comparison of all rows, each 10 s.
const LOG_LAG: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// Lines of the log that are kept, to tell what it said about a socket that it lost.
const LINES_KEPT: usize = 100_000;
/// How often the numbers are printed.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How long, and from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long to go on.
    pub time: Duration,
    /// Repeats the steps.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Differences from netstat, each told when it was found.
    pub mismatches: u64,
    /// Differences that were gone at the next look, [`HEALING`] later.
    pub healed: u64,
    /// Socket events that the log has told, of all namespaces.
    pub events: u64,
}

/// Runs; prints as it goes.
pub fn run(net: &Net, plan: Plan) -> Outcome {
    println!("seed {}, {} s", plan.seed, plan.time.as_secs());
    let begin = Instant::now();
    let hard_of_hearing = net.with("NETSTAT_BPF_RING_BYTES", SMALL_RING);
    // netstat's unselected sections are all there are; the second shows users, inodes and timers.
    let mut lives = [
        Continuous::start(net, &["-anp"]),
        Continuous::start(&hard_of_hearing, &["-antueo"]),
    ];
    let log = Log::start(net);
    let agent = Agent::start(net);
    let tracers: Vec<(&str, u32)> = lives
        .iter()
        .map(|live| ("-c", live.pid()))
        .chain([("log", log.pid()), ("agent", agent.pid())])
        .collect();
    let memory: Vec<u64> = tracers.iter().map(|(_, pid)| resident_kib(*pid)).collect();
    let mut dice = Dice::new(plan.seed);
    let mut world = World::of_all_kinds(net);
    let (mut stops, mut stormed, mut rows, mut log_rows) = (0u64, 0, Rows::default(), 0);
    let mut outcome = Outcome::default();
    let mut told = begin;
    while begin.elapsed() < plan.time {
        for _ in 0..=dice.below(STRIDE) {
            world.step(&mut dice);
        }
        if dice.below(2) == 0 {
            let connections = dice.below(STORM);
            storm(connections);
            stormed += connections;
        }
        stops += 1;
        let step = world.steps();
        rows.live += outcome.look_twice(step, || try_live(net, &mut lives));
        // A listing that is not kept has nothing to heal.
        rows.once += outcome.look(step, || {
            try_same(net, &["-anp"]).map(|rows| rows.iter().sum())
        });
        rows.agent += outcome.look_twice(step, || try_same_by_agent(net, &agent, &["-anp"]));
        log_rows += outcome.look(step, || log.compare(net));
        outcome.events = log.events();
        let last = begin.elapsed() >= plan.time;
        if last || told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            println!(
                "{} s: {} steps, {stormed} connections in storms, {stops} stops, {} socket events; rows compared: {} of -c, {} of \
                 single listings, {} of the agent, {log_rows} of the log; {} mismatches, {} healed \
                 meanwhile; log: {} losses, {} healed",
                begin.elapsed().as_secs(),
                world.steps(),
                outcome.events,
                rows.live,
                rows.once,
                rows.agent,
                outcome.mismatches,
                outcome.healed,
                log.losses(),
                log.told.healed.load(Ordering::Relaxed),
            );
        }
    }
    println!("{world}");
    for ((what, pid), before) in tracers.iter().zip(memory) {
        println!(
            "{what} (process {pid}): {before} KiB resident at the start, {} at the end",
            resident_kib(*pid)
        );
    }
    for live in &mut lives {
        let remarks = live.remarks();
        let losses = remarks.iter().filter(|line| line.contains("events lost"));
        println!(
            "-c {}: {} losses told and healed",
            live.args().join(" "),
            losses.count()
        );
        for line in remarks {
            println!("-c {} said: {line}", live.args().join(" "));
        }
    }
    let status = agent.status();
    println!(
        "agent: lost {}, {} healings, {} audits that found {} rows wrong",
        status["lost"], status["healings"], status["audits"], status["mismatches"]
    );
    println!("log ended with: {}", log.end());
    outcome
}

/// Rows that were compared, by what showed them.
#[derive(Default)]
struct Rows {
    live: usize,
    once: usize,
    agent: usize,
}

impl Outcome {
    fn look(&mut self, step: usize, check: impl FnOnce() -> Result<usize, String>) -> usize {
        check().unwrap_or_else(|difference| {
            self.mismatches += 1;
            println!("step {step}: MISMATCH: {difference}");
            0
        })
    }

    /// What the kernel did not tell is found by the table's own check within a second.
    fn look_twice(
        &mut self,
        step: usize,
        mut check: impl FnMut() -> Result<usize, String>,
    ) -> usize {
        check().unwrap_or_else(|difference| {
            thread::sleep(HEALING);
            if let Ok(rows) = check() {
                self.healed += 1;
                println!("step {step}: healed meanwhile: {difference}");
                return rows;
            }
            self.mismatches += 1;
            println!("step {step}: MISMATCH: {difference}");
            0
        })
    }
}

/// A running `log --json`, folded as it comes: how many sockets are in which state. A loss excuses
/// nothing: what was lost is inferred while healing, and told, so that the lines alone come to what
/// the kernel has.
struct Log {
    child: Child,
    stderr: ChildStderr,
    told: Arc<Told>,
    /// Makes the events that show how far the log has come.
    marker: Actor,
}

/// Protocol and state, to the number of sockets.
type States = BTreeMap<(String, String), i64>;

#[derive(Default)]
struct Told {
    states: Mutex<States>,
    /// The last line about each connection: a change must begin where the one before ended.
    last: Mutex<BTreeMap<String, (String, String)>>,
    /// Changes that did not, with the line before.
    skips: Mutex<Vec<String>>,
    /// Lines that are no JSON, or tell that others are missing: none is expected.
    broken: Mutex<Vec<String>>,
    /// The newest [`LINES_KEPT`] about our namespace.
    lines: Mutex<VecDeque<String>>,
    events: AtomicU64,
    losses: AtomicU64,
    healed: AtomicU64,
    /// Listeners whose end was told.
    ended: Mutex<BTreeSet<String>>,
}

impl Told {
    fn line(&self, netns: u64, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        match event["event"].as_str() {
            Some("state") => {}
            Some("lost") => {
                self.losses.fetch_add(1, Ordering::Relaxed);
                let healed = u64::from(event["healed"] == true);
                self.healed.fetch_add(healed, Ordering::Relaxed);
                return;
            }
            Some("flood") => return,
            _ => {
                let mut broken = self.broken.lock().expect("the reader does not panic");
                broken.push(line.to_owned());
                return;
            }
        }
        self.events.fetch_add(1, Ordering::Relaxed);
        if event["netns"] != netns {
            return;
        }
        self.keep(line);
        self.chain(&event, line);
        if event["old"] == "LISTEN" {
            let mut ended = self.ended.lock().expect("the reader does not panic");
            ended.insert(event["local"]["port"].to_string());
        }
        let mut states = self.states.lock().expect("the reader does not panic");
        let mut add = |state: &Value, by| {
            // Null: the log knew nothing of this socket until now, so neither does this fold.
            if let Some(state) = state.as_str().filter(|state| *state != "CLOSE") {
                let key = (
                    event["proto"].as_str().unwrap_or("?").to_owned(),
                    state.to_owned(),
                );
                *states.entry(key).or_default() += by;
            }
        };
        add(&event["old"], -1);
        add(&event["new"], 1);
    }

    fn keep(&self, line: &str) {
        let mut lines = self.lines.lock().expect("the reader does not panic");
        if lines.len() == LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn chain(&self, event: &Value, line: &str) {
        if event["local"]["port"] == 0 || event["remote"]["port"] == 0 {
            return;
        }
        let (old, new) = (event["old"].as_str(), event["new"].as_str());
        let key = format!("{} {} {}", event["proto"], event["local"], event["remote"]);
        let mut last = self.last.lock().expect("the reader does not panic");
        let before = last.remove(&key);
        if let Some((state, before)) = before.filter(|(state, _)| Some(state.as_str()) != old) {
            let mut skips = self.skips.lock().expect("the reader does not panic");
            skips.push(format!("after {state}:\n  {before}\n  {line}"));
        }
        if let Some(new) = new.filter(|new| *new != "CLOSE") {
            last.insert(key, (new.to_owned(), line.to_owned()));
        }
    }

    /// What netstat lists and the log does not, with all that is known of what the log said about these
    /// ports, and the reverse: the last lines about connections that are no rows of netstat.
    fn differences(&self, netstat: &str) -> String {
        let rows = tcp_rows(netstat).map(|row| (Ports::of_row(row), row));
        let rows: BTreeMap<_, _> = rows.collect();
        let last = self.last.lock().expect("the reader does not panic");
        let told: BTreeMap<_, _> = last
            .values()
            .map(|told| (Ports::of_line(&told.1), told))
            .collect();
        let state_of = |ports| rows.get(ports).map(|[.., state]| *state);
        let state_told = |ports| told.get(ports).map(|(state, _)| state.as_str());

        // A listener has no lines with two ports, and is not among what was told last.
        let lacking = rows
            .iter()
            .filter(|(ports, row)| row[3] != "LISTEN" && state_told(ports) != state_of(ports));
        let mut lacking: BTreeMap<_, _> = lacking
            .map(|(ports, row)| (ports, row.join(" ") + "\n"))
            .collect();
        let lines = self.lines.lock().expect("the reader does not panic");
        for line in lines.iter() {
            if let Some(text) = lacking.get_mut(&Ports::of_line(line)) {
                *text += &format!("  {line}\n");
            }
        }
        let extra = told
            .iter()
            .filter(|(ports, _)| state_of(ports) != state_told(ports))
            .map(|(_, (_, line))| format!("{line}\n"));
        format!(
            "netstat lists, and the log does not:\n{}last lines about what netstat does not list:\n{}",
            lacking.into_values().collect::<String>(),
            extra.collect::<String>()
        )
    }
}

/// What names a connection in netstat's rows, which cut addresses off, and in the log's lines.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ports {
    proto: String,
    local: String,
    remote: String,
}

impl Ports {
    fn of_row([proto, local, remote, _]: [&str; 4]) -> Self {
        let port = |end: &str| end.rsplit(':').next().unwrap_or_default().to_owned();
        Self {
            proto: proto.to_owned(),
            local: port(local),
            remote: port(remote),
        }
    }

    fn of_line(line: &str) -> Self {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let port = |end: &str| event[end]["port"].to_string();
        Self {
            proto: event["proto"].as_str().unwrap_or("?").to_owned(),
            local: port("local"),
            remote: port("remote"),
        }
    }
}

impl Log {
    fn start(net: &Net) -> Self {
        let mut child = net
            .command(ours_path())
            .args(["log", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start netstat-bpf log");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let told = Arc::new(Told::default());
        let (reader, netns) = (Arc::clone(&told), net.inode());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                reader.line(netns, &line);
            }
        });
        let log = Self {
            child,
            stderr,
            told,
            marker: net.actor_named("marker"),
        };
        // Nothing tells that the log is attached but an event.
        wait::until("the first event of netstat-bpf log", || {
            let (fd, _) = log.marker.listen("127.0.0.1:0");
            log.marker.close(fd);
            (log.events() > 0).then_some(())
        });
        // A listener that was born before the log was attached may only have been seen to end.
        let caught_up = log.catch_up();
        assert!(caught_up, "the log does not tell of a listener's end");
        log.states().clear();
        log
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.told.states.lock().expect("the reader does not panic")
    }

    fn broken(&self) -> MutexGuard<'_, Vec<String>> {
        self.told.broken.lock().expect("the reader does not panic")
    }

    /// Waits until the log has told of everything up to now.
    fn catch_up(&self) -> bool {
        let ended = || self.told.ended.lock().expect("the reader does not panic");
        ended().clear();
        let begin = Instant::now();
        while begin.elapsed() < BACKLOG {
            let (fd, address) = self.marker.listen("127.0.0.1:0");
            let port = address.port().to_string();
            self.marker.close(fd);
            let marked = Instant::now();
            while marked.elapsed() < MARKED_EVERY {
                if ended().contains(&port) {
                    return true;
                }
                thread::sleep(POLL / 10);
            }
        }
        false
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn events(&self) -> u64 {
        self.told.events.load(Ordering::Relaxed)
    }

    fn losses(&self) -> u64 {
        self.told.losses.load(Ordering::Relaxed)
    }

    /// Compares how many sockets are in which state with netstat before and after; gives that number
    /// of sockets. What changes by itself meanwhile, as a TIME_WAIT that ends, lies between the two.
    fn compare(&self, net: &Net) -> Result<usize, String> {
        let end = Instant::now() + LOG_LAG;
        loop {
            let broken = std::mem::take(&mut *self.broken());
            if !broken.is_empty() {
                return Err(format!("lines of the log: {}", broken.join("\n")));
            }
            let before = states_of(&real(net, &["-ant"]).stdout);
            if !self.catch_up() {
                return Err(format!("nothing heard for {} s", BACKLOG.as_secs()));
            }
            let told = self.states().clone();
            let listed = real(net, &["-ant"]).stdout;
            let after = states_of(&listed);
            let between = |key| {
                let [told, before, after] = [&told, &before, &after].map(|all| count(all, key));
                (before.min(after)..=before.max(after)).contains(&told)
            };
            let mut all = told.keys().chain(before.keys()).chain(after.keys());
            if all.all(between) {
                return Ok(usize::try_from(told.values().sum::<i64>()).unwrap_or(0));
            }
            if Instant::now() > end {
                // Told once: from here on the log is held to what it tells next.
                *self.states() = after.clone();
                let skips = self.told.skips.lock().expect("the reader does not panic");
                return Err(format!(
                    "log {told:?}\nnetstat before {before:?}\nand after {after:?}\n{}all changes that do \
                     not begin where the one before ended:\n{}",
                    self.told.differences(&listed),
                    skips.join("\n")
                ));
            }
            thread::sleep(POLL);
        }
    }

    fn end(mut self) -> String {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _ = self.child.wait();
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut self.stderr, &mut text);
        text.trim().to_owned()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Both fail only for a process that is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn count(states: &States, key: &(String, String)) -> i64 {
    states.get(key).copied().unwrap_or(0)
}

/// Protocol, local and remote end and state of netstat's TCP rows.
fn tcp_rows(netstat: &str) -> impl Iterator<Item = [&str; 4]> {
    let rows = netstat.lines().filter(|line| line.starts_with("tcp"));
    rows.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[proto, _, _, local, remote, state, ..] = words.as_slice() else {
            return None;
        };
        Some([proto, local, remote, state])
    })
}

/// How many rows of netstat are in which state.
fn states_of(netstat: &str) -> States {
    let mut states = BTreeMap::new();
    for [proto, .., state] in tcp_rows(netstat) {
        *states
            .entry((proto.to_owned(), state.to_owned()))
            .or_default() += 1;
    }
    states
}

/// Resident memory.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
