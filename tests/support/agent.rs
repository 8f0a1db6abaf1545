//! A running `netstat-bpf agent`.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{mounted::outside, netns::Net, oracle::ours_path, wait};

/// The agent; killed and reaped when dropped.
pub struct Agent {
    child: Child,
    socket: PathBuf,
    errors: PathBuf,
}

impl Agent {
    /// Starts an agent in the namespace and waits until it serves.
    #[track_caller]
    pub fn start(net: &Net) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::start_at(net, &net.dir().join(format!("agent-{number}.sock")), &[])
    }

    /// Starts an agent outside of the test's namespace and waits until it serves.
    #[track_caller]
    pub fn begin_outside(net: &Net) -> Self {
        let socket = net.dir().join("agent-outside.sock");
        let mut agent = Self::begin(outside(ours_path()), &socket, &[]);
        agent.await_service();
        agent
    }

    /// Starts an agent on a socket, with more arguments, and waits until it serves.
    #[track_caller]
    pub fn start_at(net: &Net, socket: &Path, args: &[&str]) -> Self {
        let mut agent = Self::begin(net.command(ours_path()), socket, args);
        agent.await_service();
        agent
    }

    /// Starts an agent by a command that ends up running netstat-bpf with the arguments after it.
    #[track_caller]
    pub fn begin(mut command: Command, socket: &Path, args: &[&str]) -> Self {
        let errors = socket.with_extension("stderr");
        let file = File::create(&errors).expect("create a file for the agent's stderr");
        command.arg("agent").arg("--socket").arg(socket).args(args);
        command.stdin(Stdio::null()).stderr(file);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", command.get_program()));
        Self {
            child,
            socket: socket.to_owned(),
            errors,
        }
    }

    /// Waits until the agent answers.
    #[track_caller]
    pub fn await_service(&mut self) {
        wait::until("the agent to serve", || {
            if let Some(status) = self.child.try_wait().expect("wait for the agent") {
                panic!("the agent ended with {status}: {}", self.stderr());
            }
            self.try_status()
        });
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.errors).expect("read the agent's stderr")
    }

    /// Makes a command use this agent, and say so on stderr if it cannot.
    pub fn demand(&self, command: &mut Command) {
        self.offer(command);
        command.env("NETSTAT_BPF_SOURCE", "agent");
    }

    /// Makes a command find this agent.
    pub fn offer(&self, command: &mut Command) {
        command.env("NETSTAT_BPF_AGENT", &self.socket);
    }

    /// Its answer to `netstat-bpf status --json`.
    #[track_caller]
    #[must_use]
    pub fn status(&self) -> Value {
        self.try_status().expect("the agent tells its status")
    }

    /// A number of its status, by JSON pointer.
    #[track_caller]
    #[must_use]
    pub fn number(&self, pointer: &str) -> u64 {
        let status = self.status();
        let number = status.pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no number {pointer} in {status}"))
    }

    fn try_status(&self) -> Option<Value> {
        let output = Command::new(ours_path())
            .args(["status", "--json", "--socket"])
            .arg(&self.socket)
            .output()
            .expect("run netstat-bpf status");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process number"));
        kill(pid, signal).expect("signal the agent");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        wait::until("the agent to end", || {
            self.child.try_wait().expect("wait for the agent")
        })
    }

    /// Kills it, as nothing can be done about.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.ended().signal(), Some(libc::SIGKILL));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only for a process that is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
