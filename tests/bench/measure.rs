//! Running things and taking their time.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// What all measurements share.
pub(crate) struct Bench {
    /// netstat-bpf.
    pub(crate) program: PathBuf,
    /// A directory for outputs.
    pub(crate) scratch: PathBuf,
    pub(crate) quick: bool,
    pub(crate) most: usize,
}

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Seconds.
    pub(crate) wall: f64,
    /// Seconds in user and kernel mode.
    pub(crate) cpu: f64,
    /// Peak resident memory, bytes.
    pub(crate) rss: f64,
}

/// A workload that runs.
pub(crate) struct Load {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Load {
    /// Starts this program as a workload and waits until it stands.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("load")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a workload")?;
        let lines = BufReader::new(child.stdout.take().context("the workload's stdout")?);
        let mut load = Self { child, lines };
        if load.line()? != "ready" {
            bail!("the workload {arguments:?} did not get ready");
        }
        Ok(load)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Waits for the end; gives how often it did its thing, and in how many seconds. What it holds it
    /// lets go when this is dropped.
    pub(crate) fn finish(&mut self) -> Result<(f64, f64)> {
        let line = self.line()?;
        let (count, nanoseconds) = line
            .split_once(' ')
            .with_context(|| format!("the workload ended with {line:?}"))?;
        Ok((count.parse()?, nanoseconds.parse::<f64>()? / 1e9))
    }

    /// The file of its network namespace.
    pub(crate) fn netns(&self) -> Result<File> {
        File::open(format!("/proc/{}/ns/net", self.child.id())).context("the workload's namespace")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Makes a command run in a network namespace.
pub(crate) fn enter(command: &mut Command, netns: &File) {
    let fd = netns.as_raw_fd();
    // SAFETY: setns is async-signal-safe, and the file is open until the command has started.
    unsafe {
        command.pre_exec(move || {
            if libc::setns(fd, libc::CLONE_NEWNET) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Runs a command to its end, its stdout into `sink`.
pub(crate) fn cost(command: &mut Command, sink: &Path) -> Result<Cost> {
    let out = File::create(sink).context("make an output file")?;
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null());
    let begin = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    // SAFETY: zeroes are a valid rusage, and the pid is our child's, which nobody else waits for.
    let (status, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let mut status = 0;
        libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage);
        (status, usage)
    };
    let wall = begin.elapsed().as_secs_f64();
    if status != 0 {
        bail!("{command:?} ended with wait status {status}");
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Cost {
        wall,
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        rss: usage.ru_maxrss as f64 * 1024.0,
    })
}

/// How many system calls a command makes, all threads.
pub(crate) fn system_calls(command: &Command, netns: &File, scratch: &Path) -> Result<Option<u64>> {
    let counts = scratch.join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(&counts);
    strace.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            strace.env(key, value);
        }
    }
    enter(&mut strace, netns);
    cost(&mut strace, &scratch.join("strace.out"))?;
    let text = fs::read_to_string(&counts)?;
    let total = text.lines().find(|line| line.ends_with("total"));
    let calls = total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    Ok(calls)
}

/// CPU time of a process so far, all its threads, seconds.
pub(crate) fn cpu_of(pid: u32) -> Result<f64> {
    let mut clock = 0;
    // SAFETY: valid places for the answers.
    let time = unsafe {
        if libc::clock_getcpuclockid(pid as i32, &raw mut clock) != 0 {
            bail!("process {pid} has ended");
        }
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(clock, &raw mut time);
        time
    };
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// A number of /proc/PID/status in kilobytes, as bytes.
pub(crate) fn memory_of(pid: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    Ok(kilobytes
        .context("a line of /proc/PID/status")?
        .parse::<f64>()?
        * 1024.0)
}
