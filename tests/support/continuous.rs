//! One running `netstat-bpf -c`, read round by round.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use crate::{netns::Net, oracle::ours_path, procs, wait};

const FIRST_LINE: &str = "Active Internet connections";

/// A round whose first line arrives this soon may have been rendered before it was asked for.
const IN_FLIGHT: Duration = Duration::from_millis(200);

/// A round is written at once: after so long a silence it is complete. The next one, which proves
/// it, is a second away.
const QUIET: Duration = Duration::from_millis(300);

/// The running program; killed and reaped when dropped.
pub struct Continuous {
    child: Child,
    args: Vec<String>,
    lines: Receiver<(Instant, String)>,
    remarks: Receiver<String>,
    /// What was read and is not yet in a round that was handed out.
    pending: Vec<(Instant, String)>,
}

impl Continuous {
    /// Starts `netstat-bpf -c ARGS` and waits for its first line: from then on it is live.
    #[track_caller]
    pub fn start(net: &Net, args: &[&str]) -> Self {
        let mut command = net.command(ours_path());
        command.arg("-c").args(args);
        Self::adopt(command, args)
    }

    /// As [`start`](Self::start), for a command that ends up running it.
    #[track_caller]
    pub fn adopt(mut command: std::process::Command, args: &[&str]) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", command.get_program()));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let (teller, remarks) = channel();
        // Read at once: a full pipe would stop the program.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if teller.send(line).is_err() {
                    return;
                }
            }
        });
        let mut live = Self {
            child,
            remarks,
            args: args.iter().map(ToString::to_string).collect(),
            lines,
            pending: Vec::new(),
        };
        live.await_first_line();
        live
    }

    /// The options beside `-c`.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// What it has said on stderr since the last call.
    pub fn remarks(&mut self) -> Vec<String> {
        self.remarks.try_iter().collect()
    }

    /// Process number of what was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first complete round that began after this call.
    #[track_caller]
    pub fn next_round(&mut self) -> String {
        self.round_since(Instant::now())
    }

    /// The first complete round that began after `moment`.
    #[track_caller]
    pub fn round_since(&mut self, moment: Instant) -> String {
        self.await_some("round", |live| live.complete_round(moment + IN_FLIGHT))
    }

    #[track_caller]
    fn await_first_line(&mut self) {
        self.await_some("first line", |live| {
            live.pending.iter().position(|(_, line)| is_first(line))
        });
    }

    #[track_caller]
    fn await_some<T>(&mut self, what: &str, mut find: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + wait::DEADLINE;
        loop {
            self.pending.extend(self.lines.try_iter());
            if let Some(found) = find(self) {
                return found;
            }
            match self.lines.recv_timeout(QUIET / 4) {
                Ok(line) => self.pending.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.ended(),
            }
            assert!(
                Instant::now() < end,
                "netstat-bpf -c {}: no {what} in {} s, only {:?}",
                self.args.join(" "),
                wait::DEADLINE.as_secs(),
                self.pending
            );
        }
    }

    fn complete_round(&mut self, start: Instant) -> Option<String> {
        let begin = self
            .pending
            .iter()
            .position(|(read, line)| is_first(line) && *read >= start)?;
        let next = self.pending[begin + 1..]
            .iter()
            .position(|(_, line)| is_first(line))
            .map(|offset| begin + 1 + offset);
        let quiet = self.pending.last()?.0.elapsed() >= QUIET;
        let end = next.or(quiet.then_some(self.pending.len()))?;
        let lines = self.pending.drain(..end).skip(begin);
        Some(lines.map(|(_, line)| line + "\n").collect())
    }

    fn ended(&mut self) -> ! {
        let status = self.child.wait();
        let stderr = self.remarks.iter().collect::<Vec<_>>().join("\n");
        panic!(
            "netstat-bpf -c {} ended: {status:?}, stderr: {stderr}",
            self.args.join(" ")
        );
    }
}

fn is_first(line: &str) -> bool {
    line.starts_with(FIRST_LINE)
}

impl Drop for Continuous {
    fn drop(&mut self) {
        procs::end(&mut self.child);
    }
}
