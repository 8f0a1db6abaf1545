//! What runs beside a workload: nothing, one of our tracers, or a peer.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::measure::Bench;

/// bpftrace's script for the same job as `log`: one line for each change of state.
const BPFTRACE: &str = "tracepoint:sock:inet_sock_set_state { \
    printf(\"%llu %s %d %d %d -> %d\\n\", nsecs, comm, pid, args->sport, args->oldstate, args->newstate); }";

/// For the seed, and the last attachments.
const SETTLE: Duration = Duration::from_millis(500);

/// A way to be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracer {
    Nothing,
    Table,
    Agent,
    Log,
    Tcpstates,
    Bpftrace,
}

impl Tracer {
    pub(crate) const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Table,
        Self::Agent,
        Self::Log,
        Self::Tcpstates,
        Self::Bpftrace,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Table => "`netstat-bpf -c`",
            Self::Agent => "`netstat-bpf agent`",
            Self::Log => "`netstat-bpf log` to a file",
            Self::Tcpstates => "`tcpstates` to a file",
            Self::Bpftrace => "`bpftrace` to a file",
        }
    }

    fn command(self, bench: &Bench) -> Option<Command> {
        let mut command = match self {
            Self::Nothing => return None,
            Self::Table => {
                let mut ours = Command::new(&bench.program);
                ours.arg("-cant")
                    .env("NETSTAT_BPF_AGENT", crate::snapshot::NO_AGENT);
                ours
            }
            Self::Agent => {
                let mut ours = Command::new(&bench.program);
                ours.arg("agent").arg("--socket").arg(agent_socket(bench));
                ours
            }
            Self::Log => {
                let mut ours = Command::new(&bench.program);
                ours.arg("log");
                ours
            }
            Self::Tcpstates => Command::new(tcpstates()),
            Self::Bpftrace => {
                let mut peer = Command::new("bpftrace");
                peer.args(["-e", BPFTRACE]);
                peer
            }
        };
        command.env("LC_ALL", "C");
        Some(command)
    }
}

/// Where the agent listens.
pub(crate) fn agent_socket(bench: &Bench) -> PathBuf {
    bench.scratch.join("agent.sock")
}

/// Debian calls it `tcpstates`; others add a suffix.
fn tcpstates() -> &'static str {
    ["/usr/sbin/tcpstates", "/usr/sbin/libbpf-tcpstates"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("tcpstates")
}

/// A tracer that runs.
pub(crate) struct Running {
    child: Option<Child>,
    out: PathBuf,
    err: PathBuf,
}

/// What a tracer saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Lines that it wrote.
    pub(crate) lines: u64,
    /// Events that it says it lost.
    pub(crate) lost: u64,
}

/// Cost of one BPF program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) runs: u64,
    pub(crate) nanoseconds: u64,
}

impl Running {
    /// Starts a tracer and waits until its programs are attached.
    pub(crate) fn start(bench: &Bench, tracer: Tracer) -> Result<Self> {
        Self::start_in(bench, tracer, None)
    }

    /// As [`Running::start`], in a network namespace.
    pub(crate) fn start_in(bench: &Bench, tracer: Tracer, netns: Option<&File>) -> Result<Self> {
        let (out, err) = (
            bench.scratch.join("traced"),
            bench.scratch.join("traced.err"),
        );
        let mut running = Self {
            child: None,
            out,
            err,
        };
        let Some(mut command) = tracer.command(bench) else {
            // What the others get to rest the machine gets.
            thread::sleep(SETTLE);
            return Ok(running);
        };
        if let Some(netns) = netns {
            crate::measure::enter(&mut command, netns);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&running.out)?)
            .stderr(File::create(&running.err)?)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        running.child = Some(child);
        let begin = Instant::now();
        let wanted = if matches!(tracer, Tracer::Tcpstates | Tracer::Bpftrace) {
            1
        } else {
            5
        };
        while running.programs()?.len() < wanted {
            if let Some(status) = running.child.as_mut().and_then(|c| c.try_wait().ok()?) {
                let said = fs::read_to_string(&running.err).unwrap_or_default();
                running.child = None;
                let last = said.lines().last().unwrap_or_default();
                bail!("it ends at once ({status}): {last}");
            }
            if begin.elapsed() > Duration::from_secs(20) {
                bail!("it attached no BPF program in 20 s");
            }
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(SETTLE);
        Ok(running)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The BPF programs that the tracer holds, with what they have cost so far.
    pub(crate) fn programs(&self) -> Result<Vec<Program>> {
        let Some(pid) = self.pid() else {
            return Ok(Vec::new());
        };
        let mut found: Vec<Program> = Vec::new();
        let names: HashMap<u32, String> = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .map(|program| {
                let name = program.name_as_str().unwrap_or_default().to_owned();
                (program.id(), name)
            })
            .collect();
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
            return Ok(found);
        };
        for file in files.flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let field = |name: &str| -> Option<u64> {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse().ok()
            };
            // A link names its program too, without the times.
            let (Some(id), Some(nanoseconds), Some(runs)) =
                (field("prog_id:"), field("run_time_ns:"), field("run_cnt:"))
            else {
                continue;
            };
            let id = id as u32;
            if found.iter().all(|known| known.id != id) {
                found.push(Program {
                    name: names.get(&id).cloned().unwrap_or_default(),
                    id,
                    runs,
                    nanoseconds,
                });
            }
        }
        Ok(found)
    }

    /// Ends the tracer with SIGINT, as a user does, and counts what it saw.
    pub(crate) fn stop(mut self) -> Result<Seen> {
        let Some(mut child) = self.child.take() else {
            return Ok(Seen::default());
        };
        // SAFETY: our own child, which has not been waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        let begin = Instant::now();
        while child.try_wait()?.is_none() {
            if begin.elapsed() > Duration::from_secs(30) {
                child.kill()?;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let lines = BufReader::new(File::open(&self.out)?).split(b'\n').count() as u64;
        let said = fs::read_to_string(&self.err).unwrap_or_default();
        Ok(Seen {
            lines,
            lost: said.lines().map(lost).sum(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The number of lost events in a line of stderr: ours, tcpstates' and bpftrace's words.
fn lost(line: &str) -> u64 {
    if line.starts_with("netstat-bpf:") {
        // The last line sums up; what was said on the way is in it.
        let (_, losses) = line.split_once("; lost: ").unwrap_or_default();
        let words = losses.split_whitespace();
        return words.filter_map(|word| word.parse::<u64>().ok()).sum();
    }
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).collect();
    let at = words
        .iter()
        .position(|word| word.eq_ignore_ascii_case("lost"));
    let Some(at) = at else { return 0 };
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
    number(at + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_tracer_says_of_its_losses() {
        assert_eq!(lost("Lost 512 events"), 512);
        assert_eq!(lost("lost 33 events on CPU #1"), 33);
        assert_eq!(
            lost("netstat-bpf: 9 events, 8 lines; lost: 5 ring full, 1 unreadable, 1 undecoded"),
            7
        );
        assert_eq!(lost("netstat-bpf: 5 events lost since the start"), 0);
        assert_eq!(lost("nothing of the kind 5"), 0);
    }
}
