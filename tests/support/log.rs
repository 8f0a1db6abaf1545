//! One running `netstat-bpf log --json`, read event by event.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    agent::Agent,
    netns::Net,
    oracle::ours_path,
    procs::{self, Actor},
    wait,
};

/// Where markers listen, and nothing else: the kernel may give one the port that a socket of the test
/// had or will have.
const MARKERS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1));

/// No state's name.
pub const UNKNOWN: &str = "?";

/// One change of one socket's state.
#[derive(Clone, Debug)]
pub struct Event {
    /// `tcp` or `tcp6`.
    pub proto: String,
    /// Its own end.
    pub local: SocketAddr,
    /// The other end; unspecified for a listener.
    pub remote: SocketAddr,
    /// State before; [`UNKNOWN`] for a socket that the log has not seen before, as in a namespace
    /// that was busy when it started.
    pub old: String,
    /// State after.
    pub new: String,
    /// PID of the owner, and how it is known.
    pub owner: Option<(u32, String)>,
    /// How long it was in the state before, if known.
    pub in_old_ns: Option<u64>,
    /// When, since 1970.
    pub ts_ns: u64,
    /// Nobody saw it.
    pub inferred: bool,
    /// The line.
    pub line: String,
}

impl Event {
    /// Reads a line of schema version 3; `None` for other events than changes of state.
    ///
    /// # Panics
    /// On a line that is not of that schema.
    pub fn parse(line: &str) -> Option<(u64, Self)> {
        let value: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("not JSON: {error}: {line:?}"));
        assert_eq!(value["v"], 3, "schema version of {line}");
        if value["event"] != "state" {
            return None;
        }
        let event = Self::of(&value, line);
        Some(event.unwrap_or_else(|| panic!("a field is missing or has the wrong type: {line}")))
    }

    /// How the owner is known.
    #[must_use]
    pub fn provenance(&self) -> Option<&str> {
        self.owner
            .as_ref()
            .map(|(_, provenance)| provenance.as_str())
    }

    fn of(value: &Value, line: &str) -> Option<(u64, Self)> {
        let owner = match &value["owner"] {
            Value::Null => None,
            owner => {
                owner["program"].as_str()?;
                let pid = owner["pid"].as_u64()?.try_into().ok()?;
                Some((pid, owner["provenance"].as_str()?.to_owned()))
            }
        };
        let in_old_ns = match &value["in_old_ns"] {
            Value::Null => None,
            nanoseconds => Some(nanoseconds.as_u64()?),
        };
        value["ts"].as_str()?;
        let event = Self {
            proto: value["proto"].as_str()?.to_owned(),
            local: address(&value["local"])?,
            remote: address(&value["remote"])?,
            old: match &value["old"] {
                Value::Null => UNKNOWN.to_owned(),
                old => old.as_str()?.to_owned(),
            },
            new: value["new"].as_str()?.to_owned(),
            owner,
            in_old_ns,
            ts_ns: value["ts_ns"].as_u64()?,
            inferred: value["inferred"].as_bool()?,
            line: line.to_owned(),
        };
        // An IPv6 socket that speaks IPv4 is tcp6 as in netstat; its addresses are IPv4.
        let right = match value["family"].as_str()? {
            "ipv4" => value["proto"] == "tcp" && event.local.is_ipv4(),
            "ipv6" => value["proto"] == "tcp6",
            _ => false,
        };
        right.then_some((value["netns"].as_u64()?, event))
    }
}

fn address(value: &Value) -> Option<SocketAddr> {
    let ip: IpAddr = value["addr"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(
        ip,
        value["port"].as_u64()?.try_into().ok()?,
    ))
}

/// The running program; killed and reaped when dropped.
pub struct Log {
    child: Child,
    lines: Receiver<String>,
    /// In the order of the output.
    read: Vec<String>,
    namespace: u64,
    events: Vec<Event>,
    /// Lines that are not about a state: losses, say.
    others: Vec<String>,
    /// Makes the events that show how far the log has come.
    marker: Actor,
    /// Where: an address that comes again would show less.
    marked: HashSet<SocketAddr>,
}

impl Log {
    /// Starts `log --json` and waits until it shows what happens now.
    #[track_caller]
    pub fn start(net: &Net) -> Self {
        Self::start_by(net, |_| {})
    }

    /// As [`Log::start`], through an agent.
    #[track_caller]
    pub fn start_by_agent(net: &Net, agent: &Agent) -> Self {
        Self::start_by(net, |command| agent.demand(command))
    }

    /// As [`Log::start`], with a command that ends up running netstat-bpf with the arguments after it.
    #[track_caller]
    pub fn start_with(net: &Net, command: Command, change: impl FnOnce(&mut Command)) -> Self {
        Self::ready(Self::run(net, command, &["log", "--json"], change))
    }

    #[track_caller]
    fn start_by(net: &Net, change: impl FnOnce(&mut Command)) -> Self {
        Self::ready(Self::spawn(net, &["log", "--json"], change))
    }

    #[track_caller]
    fn ready(mut log: Self) -> Self {
        // Nothing tells that the log is attached but an event.
        wait::until("the first event of netstat-bpf log", || {
            log.mark();
            log.parse();
            (!log.events.is_empty()).then_some(())
        });
        log
    }

    /// Starts `log`, for people, and waits until it shows what happens now.
    #[track_caller]
    pub fn start_text(net: &Net) -> Self {
        let mut log = Self::spawn(net, &["log"], |_| {});
        wait::until("the first line of netstat-bpf log", || {
            log.mark();
            log.read();
            (!log.read.is_empty()).then_some(())
        });
        log
    }

    fn spawn(net: &Net, args: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        Self::run(net, net.command(ours_path()), args, change)
    }

    fn run(
        net: &Net,
        mut command: Command,
        args: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        // No agent of the host: those that a test wants are named to it.
        command.env("NETSTAT_BPF_AGENT", net.dir().join("no-agent.sock"));
        change(&mut command);
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start netstat-bpf log");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            read: Vec::new(),
            namespace: net.inode(),
            events: Vec::new(),
            others: Vec::new(),
            marker: net.actor_named("marker"),
            marked: HashSet::new(),
        }
    }

    /// A listener that comes and goes, at a port of its own.
    fn mark(&mut self) -> SocketAddr {
        loop {
            let (fd, address) = self.marker.listen(format_args!("{MARKERS}:0"));
            self.marker.close(fd);
            if self.marked.insert(address) {
                return address;
            }
        }
    }

    /// The first line that is no change of state and has this event's name.
    #[track_caller]
    pub fn other(&mut self, event: &str) -> Value {
        wait::until(&format!("a line about {event}"), || {
            self.parse();
            let lines = self.others.iter();
            let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["event"] == event)
        })
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process number"));
        kill(pid, signal).expect("signal netstat-bpf log");
    }

    /// The first line that has all of these in it.
    #[track_caller]
    pub fn line_with(&mut self, parts: &[&str]) -> String {
        wait::until(&format!("a line with {parts:?}"), || {
            self.read();
            let wanted = |line: &&String| parts.iter().all(|part| line.contains(part));
            self.read.iter().find(wanted).cloned()
        })
    }

    /// All that is `wanted` among what has happened in this namespace up to now, but for what
    /// markers did.
    #[track_caller]
    pub fn so_far(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let marker = self.mark();
        let seen = wait::try_until(|| {
            self.parse();
            let mut events = self.events.iter();
            let closed = |event: &Event| event.local == marker && event.new == "CLOSE";
            events.any(closed).then_some(())
        });
        if seen.is_none() {
            let last: Vec<_> = self.events.iter().rev().take(6).collect();
            panic!(
                "a listener at {marker} came and went, and the log did not say so.\n\
                 Other lines: {:#?}\nThe last events here: {last:#?}",
                self.others
            );
        }
        self.events
            .iter()
            .filter(|event| event.local.ip() != MARKERS && wanted(event))
            .cloned()
            .collect()
    }

    fn read(&mut self) {
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.read.push(line),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.ended(),
            }
        }
    }

    fn parse(&mut self) {
        self.read();
        let events = self.read.drain(..).filter_map(|line| {
            let event = Event::parse(&line);
            if event.is_none() {
                self.others.push(line);
            }
            event
        });
        let here = events.filter(|(namespace, _)| *namespace == self.namespace);
        self.events.extend(here.map(|(_, event)| event));
    }

    fn ended(&mut self) -> ! {
        let status = self.child.wait();
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let _ = pipe.read_to_string(&mut stderr);
        }
        panic!("netstat-bpf log ended: {status:?}, stderr: {stderr}");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        procs::end(&mut self.child);
    }
}
