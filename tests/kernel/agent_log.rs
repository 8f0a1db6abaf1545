//! `netstat-bpf log` through the agent: the same lines as without it, whatever becomes of either.

use std::{
    fs::{self, File},
    io::Read as _,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use netstat_tests::{
    agent::Agent,
    log::{Event, Log},
    netns::{Net, within},
    oracle::ours_path,
    states::{Stack, Way, reach},
    storm::storm,
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// What a line says, but for the moments at which the programs of two tracers read the clock: each has
/// its own, so that lengths of time differ by some microseconds. Whether one is told stays.
fn said(event: &Event) -> Value {
    let mut line: Value = serde_json::from_str(&event.line).expect("JSON");
    for field in ["ts", "ts_ns"] {
        line[field].take();
    }
    for length in ["/in_old_ns", "/end/life_ns"] {
        if let Some(value) = line.pointer_mut(length) {
            *value = Value::Bool(value.is_u64());
        }
    }
    // How the owner of an accepted socket is known depends on when somebody looked.
    if let Some(owner) = line["owner"].as_object_mut()
        && matches!(
            owner["provenance"].as_str(),
            Some("seeded" | "resolved" | "listener")
        )
    {
        owner["provenance"].take();
    }
    line
}

fn sorted(events: &[Event]) -> Vec<String> {
    let mut lines: Vec<_> = events.iter().map(|event| said(event).to_string()).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_life_is_told_as_without_an_agent() {
    within(|net| {
        let agent = Agent::start(net);
        let mut through = Log::start_by_agent(net, &agent);
        let mut alone = Log::start(net);
        assert_eq!(agent.number("/clients/logs"), 1, "one of the two asks it");
        let ways = [
            Way::Listen,
            Way::SynSent,
            Way::SynRecv,
            Way::Unaccepted,
            Way::SentData,
            Way::FinWait1Orphan,
            Way::FinWait2Mini,
            Way::TimeWait,
            Way::LastAck,
            Way::Closing,
        ];
        let mut ports = Vec::new();
        for stack in [Stack::V4, Stack::V6, Stack::Dual] {
            for way in ways {
                // Dropped at once: its ends are told too.
                let scene = reach(net, way, stack);
                ports.extend(scene.rows.iter().map(|row| row.local.clone()));
            }
        }
        assert!(ports.len() >= 30, "{ports:?}");
        let mut logs = [Vec::new(), Vec::new()];
        let same = wait::try_until(|| {
            logs = [&mut through, &mut alone].map(|log| log.so_far(|_| true));
            (sorted(&logs[0]) == sorted(&logs[1])).then_some(())
        });
        let [through, alone] = logs.each_ref().map(|events| sorted(events));
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            let these = these.iter().filter(|line| !those.contains(line));
            these.cloned().collect()
        };
        assert!(
            same.is_some(),
            "only through the agent: {:#?}\nonly alone: {:#?}",
            only(&through, &alone),
            only(&alone, &through)
        );
        assert!(through.len() > 100, "{} lines", through.len());
        for [one, other] in [[&logs[0], &logs[1]], [&logs[1], &logs[0]]] {
            for event in one {
                let twin = other.iter().filter(|twin| said(twin) == said(event));
                // Wall time is made of the clock of the events by whoever tells it.
                let near = |twin: &Event| twin.ts_ns.abs_diff(event.ts_ns) < 1_000_000_000;
                assert!(twin.into_iter().any(near), "{}", event.line);
            }
        }
    });
}

/// The connections of `address`'s callers, from their side.
fn calls(address: SocketAddr) -> impl Fn(&Event) -> bool {
    move |event| event.remote == address
}

fn changes(events: &[Event]) -> Vec<(&str, &str)> {
    let changes = events.iter();
    changes
        .map(|event| (event.old.as_str(), event.new.as_str()))
        .collect()
}

#[test]
fn what_was_not_sent_before_is_no_gap() {
    within(|net| {
        let agent = Agent::start(net);
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        // The agent hears of the call and of nothing more: nobody follows.
        let (fd, _) = client.connect(address);
        let (half, _) = client.connect(address);
        let accepted = server.accept(listener);
        server.accept(listener);
        client.shut_down(half);
        let mut log = Log::start_by_agent(net, &agent);
        client.close(fd);
        server.close(accepted);
        let events = wait::until("the end of the connection", || {
            let events = log.so_far(calls(address));
            events
                .iter()
                .any(|event| event.new == "TIME_WAIT")
                .then_some(events)
        });
        assert_eq!(
            changes(&events),
            [
                ("ESTABLISHED", "FIN_WAIT1"),
                ("FIN_WAIT1", "FIN_WAIT2"),
                ("FIN_WAIT2", "TIME_WAIT")
            ]
        );
        let first: Value = serde_json::from_str(&events[0].line).expect("JSON");
        assert!(first["in_old_ns"].is_null(), "nobody saw it begin: {first}");
        assert_eq!(first["direction"], "out", "the call was seen: {first}");
        assert_eq!(first["owner"]["pid"], client.pid(), "{first}");
        // The other was shut down before anybody listened: its next line begins where it is.
        client.close(half);
        let server_pid = server.pid();
        drop(server);
        let ends = wait::until("the end of the other", || {
            let events = log.so_far(|event| event.local == address && event.new == "LAST_ACK");
            (events.len() >= 2).then_some(events)
        });
        let ends: Vec<_> = ends.iter().map(|event| event.old.as_str()).collect();
        assert_eq!(ends, ["CLOSE_WAIT", "CLOSE_WAIT"], "{server_pid}");
        drop(log);
        // The programs are told to stop, and the next who follows begins anew.
        wait::until("nobody to follow", || {
            (agent.number("/clients/logs") == 0).then_some(())
        });
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        let (fd, _) = client.connect(address);
        let accepted = server.accept(listener);
        let mut again = Log::start_by_agent(net, &agent);
        server.close(accepted);
        client.close(fd);
        let events = wait::until("its end", || {
            let events = again.so_far(calls(address));
            (events.len() >= 3).then_some(events)
        });
        assert_eq!(
            changes(&events),
            [
                ("ESTABLISHED", "CLOSE_WAIT"),
                ("CLOSE_WAIT", "LAST_ACK"),
                ("LAST_ACK", "CLOSE")
            ]
        );
        assert_eq!(agent.number("/mismatches"), 0);
        assert_eq!(agent.number("/lost/ring_full"), 0);
    });
}

#[test]
fn an_agent_that_dies_is_told_and_the_log_goes_on() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGSTOP] {
        within(|net| {
            let agent = Agent::start(net);
            let actor = net.actor_named("survivor");
            let (before, address) = actor.listen("127.0.0.1:0");
            let mut log = Log::start_by_agent(net, &agent);
            actor.close(before);
            let told = log.so_far(|event| event.local == address);
            assert_eq!(changes(&told), [("LISTEN", "CLOSE")]);
            agent.signal(signal);
            let gap = log.other("gap");
            assert!(
                gap["ts_ns"].as_u64() >= gap["since_ns"].as_u64(),
                "{signal}: {gap}"
            );
            let reason = gap["reason"].as_str().expect("a reason");
            let silent = signal == Signal::SIGSTOP;
            assert_eq!(reason.contains("silent"), silent, "{gap}");
            // Where the whole host is busy, events may be lost, which is told: not for ever.
            let told = wait::until("a life after the gap", || {
                let (after, address) = actor.listen("127.0.0.1:0");
                actor.close(after);
                let told = log.so_far(|event| event.local == address);
                let whole = [("CLOSE", "LISTEN"), ("LISTEN", "CLOSE")];
                (changes(&told) == whole).then_some(told)
            });
            let owners = told.iter().map(|event| event.owner.clone());
            assert!(
                owners.flatten().all(|(pid, _)| pid == actor.pid()),
                "{told:?}"
            );
        });
    }
}

fn start(net: &Net, agent: &Agent, args: &[&str], out: &str) -> Child {
    let mut command = net.command(ours_path());
    agent.demand(&mut command);
    let file = |name: &str| File::create(net.dir().join(name)).expect("create a file");
    command.arg("log").args(args);
    command
        .stdout(file(out))
        .stderr(file(&format!("{out}.err")));
    command.spawn().expect("start netstat-bpf log")
}

fn read(net: &Net, name: &str) -> String {
    fs::read_to_string(net.dir().join(name)).expect("read what the log has said")
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, signal).expect("signal netstat-bpf log");
}

/// Listeners that come and go until a log shows one.
fn mark_until(net: &Net, shown: impl Fn() -> bool) {
    let marker = net.actor_named("marker");
    wait::until("the log's line about a listener", || {
        let (fd, _) = marker.listen("127.0.0.1:0");
        marker.close(fd);
        shown().then_some(())
    });
}

#[test]
fn text_and_filters_are_those_of_the_log_alone() {
    within(|net| {
        let agent = Agent::start(net);
        let args = ["--program=wanted", "--state=listening", "--netns=self"];
        let mut log = start(net, &agent, &args, "lines");
        let (wanted, other) = (net.actor_named("wanted"), net.actor_named("other"));
        wait::until("a line", || {
            for actor in [&other, &wanted] {
                let (fd, _) = actor.listen("127.0.0.1:0");
                actor.close(fd);
            }
            (read(net, "lines").lines().count() >= 2).then_some(())
        });
        signal(&log, Signal::SIGINT);
        assert!(log.wait().expect("the log ends").success());
        for line in read(net, "lines").lines() {
            assert!(
                line.contains(&format!(" {}/wanted seen", wanted.pid())),
                "{line}"
            );
            assert!(line.contains(" LISTEN"), "{line}");
            assert!(!line.contains("netns="), "it is the reader's own: {line}");
        }
        let summary = read(net, "lines.err");
        assert!(summary.contains("0 of them dropped"), "{summary}");
        assert!(summary.contains("0 not sent by the agent"), "{summary}");
    });
}

/// What a log of all network namespaces has told so far.
struct Told {
    out: File,
    /// The beginning of a line, whose rest is to come.
    rest: Vec<u8>,
    /// Changes that were told.
    lines: u64,
    /// Changes of which it was told that they are missing.
    dropped: u64,
    /// Ports of [`MARKS`] whose listener has come, in their order.
    marks: Vec<u64>,
    /// How many changes there were before each of these marks.
    at_mark: Vec<u64>,
}

/// Ports that nobody is given by chance.
const MARKS: std::ops::Range<u16> = 20_000..30_000;

impl Told {
    fn by(net: &Net, out: &str) -> Self {
        Self {
            out: File::open(net.dir().join(out)).expect("open what the log says"),
            rest: Vec::new(),
            lines: 0,
            dropped: 0,
            marks: Vec::new(),
            at_mark: Vec::new(),
        }
    }

    /// Changes up to now, told or told to be missing.
    fn all(&self) -> u64 {
        self.lines + self.dropped
    }

    /// Reads what has come since.
    fn read(&mut self, net: &Net) {
        self.out.read_to_end(&mut self.rest).expect("read it");
        let text = std::mem::take(&mut self.rest);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if line.ends_with(b"\n") {
                let line = serde_json::from_slice(line).expect("JSON");
                self.take(&line, net);
            } else {
                self.rest = line.to_owned();
            }
        }
    }

    fn take(&mut self, line: &Value, net: &Net) {
        match line["event"].as_str() {
            Some("state") => {}
            Some("dropped") => {
                self.dropped += line["lines"].as_u64().expect("how many");
                return;
            }
            // What the kernel did not tell the agent, nobody was to be told.
            Some("lost" | "flood") => return,
            _ => panic!("not through the agent any more: {line}"),
        }
        let port = line["local"]["port"].as_u64().expect("a port");
        let mark = line["netns"] == net.inode()
            && line["new"] == "LISTEN"
            && MARKS.contains(&u16::try_from(port).expect("16 bits"));
        if mark {
            self.marks.push(port);
            self.at_mark.push(self.all());
        }
        self.lines += 1;
    }

    /// How many changes there were from one mark to another.
    fn between(&self, from: u64, to: u64) -> Option<u64> {
        let at = |port| {
            let place = self.marks.iter().position(|mark| *mark == port)?;
            Some(self.at_mark[place])
        };
        Some(at(to)? - at(from)?)
    }
}

/// Makes marks until both logs have told one of them; gives its port.
fn mark(net: &Net, next: &mut std::ops::Range<u16>, logs: [&mut Told; 2]) -> u64 {
    let marker = net.actor_named("marker");
    let first = u64::from(next.start);
    let [one, other] = logs;
    wait::until("both logs to tell a mark", || {
        let port = next.next().expect("a port that no mark has had");
        let (fd, _) = marker.listen(format_args!("127.0.0.1:{port}"));
        marker.close(fd);
        one.read(net);
        other.read(net);
        let mut common = one.marks.iter().filter(|port| other.marks.contains(port));
        common.find(|port| **port >= first).copied()
    })
}

/// Bytes of changes that wait for a client that is stopped: in the queue, in the socket, and in the client.
const WAITING: u64 = 3 << 20;
/// A change in the queue.
const CHANGE: u64 = 136;
/// Longer than an agent may be silent.
const SILENCE_NS: u64 = 11_000_000_000;

#[test]
fn a_client_that_is_stopped_holds_up_nobody_and_is_told_what_it_missed() {
    within(|net| {
        net.sysctl("ipv4/tcp_max_tw_buckets", "1000");
        let agent = Agent::start_at(net, &net.dir().join("log.sock"), &["--log-queue=1"]);
        let [mut stopped, mut other] = ["stopped", "other"]
            .map(|name| killed_in_the_end(start(net, &agent, &["--json"], name)));
        let [mut slow, mut fast] = ["stopped", "other"].map(|name| Told::by(net, name));
        let mut ports = MARKS;
        let begin = mark(net, &mut ports, [&mut slow, &mut fast]);
        assert_eq!(agent.number("/clients/logs"), 2);
        signal(&stopped.0, Signal::SIGSTOP);
        let stopped_at = agent.number("/uptime_ns");
        // The table answers others meanwhile. The other log is told all, or how much of it is missing, where
        // the rest of the host, which the queue holds too, has pushed something out.
        let since = fast.all();
        while (fast.all() - since) * CHANGE < WAITING {
            let before = fast.all();
            storm(300);
            wait::until("the other log to tell the storm", || {
                fast.read(net);
                (fast.all() >= before + 300).then_some(())
            });
        }
        wait::until("the time after which an agent is called silent", || {
            (agent.number("/uptime_ns") > stopped_at + SILENCE_NS).then_some(())
        });
        assert_eq!(agent.number("/clients/logs"), 2, "it is waited for");
        signal(&stopped.0, Signal::SIGCONT);
        // What was dropped is told with the next that is sent.
        let end = mark(net, &mut ports, [&mut slow, &mut fast]);
        assert!(slow.dropped > 0, "the queue was full");
        let [between, expected] = [&slow, &fast].map(|told| told.between(begin, end));
        assert_eq!(
            between, expected,
            "each change is told, or told to be missing"
        );
        assert!(expected > Some(WAITING / CHANGE), "{expected:?}");
        for log in [&mut stopped, &mut other] {
            signal(&log.0, Signal::SIGINT);
            assert!(log.0.wait().expect("the log ends").success());
        }
        for (told, name) in [(&mut slow, "stopped.err"), (&mut fast, "other.err")] {
            told.read(net);
            let said = read(net, name);
            assert!(
                said.contains(&format!("{} not sent", told.dropped)),
                "{said}"
            );
            let dropped = told.dropped > 0;
            assert_eq!(
                said.contains(" lines dropped: the output"),
                dropped,
                "{said}"
            );
        }
        let told = slow.dropped + fast.dropped;
        // What the two were not sent after the last line that they read, only the agent knows.
        assert!(agent.number("/clients/log_dropped") >= told);
    });
}

/// A program that is killed when a test fails.
struct Running(Child);

fn killed_in_the_end(child: Child) -> Running {
    Running(child)
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that is gone, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_may_not_see_everything_is_told_nothing() {
    within(|net| {
        let agent = Agent::start(net);
        let copy = net.dir().join("netstat-bpf");
        fs::copy(ours_path(), &copy).expect("copy netstat-bpf to where every user can run it");
        let run = |mut command: Command| {
            agent.demand(&mut command);
            let output = command.stdin(Stdio::null()).output();
            let output = output.expect("run netstat-bpf log");
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(output.stdout.is_empty(), "{output:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("refused (Rights)"), "{said}");
            assert!(said.contains("log: missing CAP_BPF"), "{said}");
        };
        let mut nobody = net.command(&copy);
        nobody.arg("log").uid(65534).gid(65534).current_dir("/");
        run(nobody);
        // Root by name only.
        let mut bare = net.command("/usr/bin/setpriv");
        let drop_all = ["--bounding-set=-all", "--inh-caps=-all", "--"];
        bare.args(drop_all).arg(&copy).arg("log");
        run(bare);
        assert_eq!(agent.number("/clients/logs"), 0);
        assert_eq!(agent.number("/clients/refused_rights"), 2);
    });
}

#[test]
fn no_more_follow_than_there_is_room_for() {
    within(|net| {
        let agent = Agent::start(net);
        let following: Vec<_> = (0..16)
            .map(|number| {
                killed_in_the_end(start(net, &agent, &["--json"], &format!("log{number}")))
            })
            .collect();
        wait::until("sixteen to follow", || {
            (agent.number("/clients/logs") == 16).then_some(())
        });
        let mut alone = killed_in_the_end(start(net, &agent, &["--json"], "alone"));
        mark_until(net, || !read(net, "alone").is_empty());
        let said = read(net, "alone.err");
        assert!(said.contains("too many follow the log"), "{said}");
        signal(&alone.0, Signal::SIGINT);
        assert!(alone.0.wait().expect("the log ends").success());
        drop(following);
        wait::until("nobody to follow", || {
            (agent.number("/clients/logs") == 0).then_some(())
        });
    });
}
