//! The agent under load and in need: many clients, storms, few descriptors, sudden death.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{self, Command},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use netstat_tests::{
    agent::Agent,
    netns::{Net, within},
    oracle::{assert_same_beside_agent, assert_same_by_agent, ours_path},
    states::{Stack, Way, reach},
    wait,
};
use nix::sys::signal::Signal;

const OWN: [u8; 8] = [0; 8];
const ALL: [u8; 8] = [2, 0, 0, 0, 0, 0, 0, 0];

/// What the agent answers to a request for tables and a scope: kinds and payloads.
fn ask(socket: &Path, tables: u8, scope: [u8; 8]) -> Vec<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket).expect("connect to the agent");
    stream
        .set_read_timeout(Some(wait::DEADLINE))
        .expect("set a timeout");
    let mut request = vec![12, 0, 0, 0, 1, 0, 1, 0, tables, 0, 0, 0];
    request.extend(scope);
    stream.write_all(&request).expect("ask the agent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read the answer");
    let mut rest = bytes.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (header, tail) = rest.split_at(8);
        let length = u32::from_le_bytes(header[..4].try_into().expect("4 bytes"));
        let (payload, tail) = tail.split_at(length as usize);
        let kind = u16::from_le_bytes(header[4..6].try_into().expect("2 bytes"));
        found.push((kind, payload.to_vec()));
        rest = tail;
    }
    found
}

/// An agent in the network namespace in which the tests were started.
fn outside(net: &Net) -> Agent {
    let mut command = net.command("/usr/bin/nsenter");
    command
        .arg(format!("--net=/proc/{}/ns/net", process::id()))
        .arg(ours_path());
    let mut agent = Agent::begin(command, &net.dir().join("outside.sock"), &[]);
    agent.await_service();
    agent
}

#[test]
fn an_agent_in_another_network_namespace() {
    within(|net| {
        let ways = [
            Way::Listen,
            Way::SynRecv,
            Way::SentData,
            Way::TimeWait,
            Way::LastAck,
        ];
        let scenes = |stack| ways.map(|way| reach(net, way, stack));
        let older = scenes(Stack::V4);
        let agent = outside(net);
        let younger = [scenes(Stack::V6), scenes(Stack::Dual)];
        let scenes = older.iter().chain(younger.iter().flatten());
        let promised: usize = scenes.map(|scene| scene.rows.len()).sum();
        for args in [["-anpt"].as_slice(), &["-tnpeo", "-a"]] {
            assert_eq!(
                assert_same_by_agent(net, &agent, args),
                promised,
                "{args:?}"
            );
        }
        // Nothing of this namespace is in the answer to a client of the other.
        let answer = ask(agent.socket(), 7, OWN);
        let netns = u32::try_from(net.inode()).expect("an inode number");
        for (_, rows) in answer.iter().filter(|(kind, _)| matches!(kind, 19 | 20)) {
            for row in rows.chunks(80) {
                assert_ne!(row[64..68], netns.to_le_bytes());
            }
        }
        let everywhere = ask(agent.socket(), 3, ALL);
        let rows = everywhere
            .iter()
            .filter(|(kind, _)| matches!(kind, 19 | 20));
        let here = rows
            .flat_map(|(_, rows)| rows.chunks(80))
            .filter(|row| row[64..68] == netns.to_le_bytes());
        assert_eq!(here.count(), promised, "root may ask for all");
    });
}

#[test]
fn a_user_who_asks_for_everything() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let agent = outside(net);
        let [own, all] = thread::scope(|scope| {
            let asked = scope.spawn(|| {
                // Of this thread alone: the system call knows no process.
                // SAFETY: no pointers; the thread ends after it.
                let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
                assert_eq!(result, 0, "become nobody");
                [ask(agent.socket(), 7, OWN), ask(agent.socket(), 7, ALL)]
            });
            asked.join().expect("the thread of nobody")
        });
        let kinds: Vec<_> = all.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [16, 24], "welcome, refused");
        assert_eq!(all[1].1[..4], 4u32.to_le_bytes(), "for want of rights");
        let head = own.iter().find(|(kind, _)| *kind == 17).expect("a head");
        assert_eq!(head.1[28..32], [0; 4], "it is not shown holders");
        assert!(own.iter().all(|(kind, _)| *kind != 18), "nor are any sent");
        assert_eq!(own.last().map(|(kind, _)| *kind), Some(21));
        // Root, in the same way, is.
        let root = ask(agent.socket(), 7, OWN);
        assert!(root.iter().any(|(kind, _)| *kind == 18));
    });
}

/// Connections that come and go for as long as `on` says.
fn storm(on: &AtomicBool) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("own address");
    let mut count = 0;
    while on.load(Ordering::Relaxed) {
        let called = TcpStream::connect(address).expect("connect");
        let (accepted, _) = listener.accept().expect("accept");
        // The server closes first, so that ports of the client are not used up.
        drop(accepted);
        drop(called);
        count += 1;
        if count % 4096 == 0 {
            // TIME_WAIT of so many would fill the ports.
            thread::yield_now();
        }
    }
    count
}

#[test]
fn many_clients_under_a_storm() {
    within(|net| {
        net.sysctl("ipv4/tcp_max_tw_buckets", "2000");
        let actor = net.actor();
        let (listener, address) = actor.listen("127.0.0.1:0");
        let mut lasting = vec![(address.to_string(), "0.0.0.0:*".to_owned())];
        for _ in 0..50 {
            let (_, local) = actor.connect(address);
            actor.accept(listener);
            lasting.push((local.to_string(), address.to_string()));
            lasting.push((address.to_string(), local.to_string()));
        }
        let agent = Agent::start(net);
        let on = AtomicBool::new(true);
        let storms = thread::scope(|scope| {
            let storms = scope.spawn(|| storm(&on));
            let clients: Vec<_> = (0..6)
                .map(|_| {
                    let (agent, lasting) = (&agent, &lasting);
                    scope.spawn(move || {
                        for _ in 0..10 {
                            let mut command = net_command();
                            agent.demand(&mut command);
                            let output = command.arg("-anpt").output().expect("run netstat-bpf");
                            assert!(output.stderr.is_empty(), "{output:?}");
                            let text = String::from_utf8_lossy(&output.stdout);
                            for (local, remote) in lasting {
                                let rows = text.lines().filter(|line| {
                                    let words: Vec<_> = line.split_whitespace().collect();
                                    words.get(3) == Some(&local.as_str())
                                        && words.get(4) == Some(&remote.as_str())
                                });
                                assert_eq!(rows.count(), 1, "{local} {remote} in\n{text}");
                            }
                        }
                    })
                })
                .collect();
            for client in clients {
                client.join().expect("a client");
            }
            on.store(false, Ordering::Relaxed);
            storms.join().expect("the storm")
        });
        assert!(storms > 1000, "{storms} connections are no storm");
        assert_same_by_agent(net, &agent, &["-anpt"]);
    });
}

/// netstat-bpf in the network namespace of this thread.
fn net_command() -> Command {
    let mut command = Command::new(ours_path());
    command.env("LC_ALL", "C");
    command
}

#[test]
fn ten_thousand_clients_leave_nothing_behind() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let agent = outside(net);
        let crowd = |each: usize| {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for number in 0..each {
                            let answer =
                                ask(agent.socket(), 3 + 4 * u8::from(number % 100 == 0), OWN);
                            assert_eq!(answer.last().map(|(kind, _)| *kind), Some(21));
                        }
                    });
                }
            });
        };
        let rest = || {
            wait::until("the clients' threads to end", || {
                (agent.number("/clients/connected") == 1).then_some(())
            });
            ["descriptors", "threads", "rss_bytes"]
                .map(|name| agent.number(&format!("/process/{name}")))
        };
        crowd(100);
        let before = rest();
        crowd(2500);
        let after = rest();
        assert_eq!(after[..2], before[..2], "descriptors and threads");
        let grown = after[2].saturating_sub(before[2]);
        assert!(grown < 4 << 20, "{grown} bytes more than before");
        assert_eq!(agent.number("/answers_bytes"), 0);
    });
}

#[test]
fn few_descriptors() {
    within(|net| {
        let limited = |limit: &str| {
            let mut command = net.command("/usr/bin/prlimit");
            command
                .arg(format!("--nofile={limit}:{limit}"))
                .arg(ours_path());
            command
        };
        let mut starved = Agent::begin(limited("100"), &net.dir().join("starved.sock"), &[]);
        assert_eq!(starved.ended().code(), Some(1));
        let said = starved.stderr();
        assert!(
            said.contains("open files") && said.contains("ulimit -n"),
            "{said}"
        );

        let small = ["--max-clients", "4"];
        let mut agent = Agent::begin(limited("140"), &net.dir().join("small.sock"), &small);
        agent.await_service();
        let idle: Vec<_> = (0..100)
            .map(|_| UnixStream::connect(agent.socket()).expect("connect"))
            .collect();
        assert_same_beside_agent(net, &agent, &["-anpt"]);
        drop(idle);
        wait::until("the agent to have room again", || {
            (agent.number("/clients/connected") == 1).then_some(())
        });
        assert!(agent.number("/clients/refused_busy") >= 90);
        assert_eq!(agent.number("/clients/accept_errors"), 0);
        assert_same_by_agent(net, &agent, &["-anpt"]);
    });
}

/// Whenever the agent dies, a client prints what netstat prints.
#[test]
fn an_agent_that_dies_again_and_again() {
    within(|net| {
        let actor = net.actor();
        let (listener, address) = actor.listen("127.0.0.1:0");
        for _ in 0..300 {
            actor.connect(address);
            actor.accept(listener);
        }
        let sorted = |text: &[u8]| {
            let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
            lines.sort_unstable();
            lines.join(&b'\n')
        };
        let run = |program: &Path, agent: Option<&Path>| {
            let mut command = net.command(program);
            if let Some(socket) = agent {
                command.env("NETSTAT_BPF_AGENT", socket);
            }
            let output = command.arg("-anpt").output().expect("run it");
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{output:?}"
            );
            sorted(&output.stdout)
        };
        let expected = run(Path::new(netstat_tests::oracle::REAL), None);
        let socket = net.dir().join("mortal.sock");
        let ours = ours_path();
        let mut by_agent = 0;
        for round in 0..8 {
            let mut agent = Agent::start_at(net, &socket, &[]);
            let before = agent.number("/clients/snapshots");
            thread::scope(|scope| {
                let client = scope.spawn(|| {
                    for _ in 0..4 {
                        let found = sorted(
                            &Command::new(&ours)
                                .arg("-anpt")
                                .env("NETSTAT_BPF_AGENT", &socket)
                                .output()
                                .expect("run netstat-bpf")
                                .stdout,
                        );
                        assert!(found == expected, "{}", String::from_utf8_lossy(&found));
                    }
                });
                // At another stage of an answer each time.
                thread::sleep(std::time::Duration::from_micros(1000 * round));
                agent.kill();
                client.join().expect("the client");
            });
            by_agent += u64::from(before == 0);
            assert_eq!(run(&ours, Some(&socket)), expected, "a stale socket");
        }
        assert_eq!(by_agent, 8, "each agent was a new one");
        let mut last = Agent::start_at(net, &socket, &[]);
        assert_same_by_agent(net, &last, &["-anpt"]);
        last.signal(Signal::SIGINT);
        assert!(last.ended().success());
    });
}

/// What systemd asks of a service, asked by a socket of our own.
#[test]
fn a_service_manager_hears_of_it() {
    within(|net| {
        let path = net.dir().join("notify");
        let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a datagram socket");
        manager
            .set_read_timeout(Some(wait::DEADLINE))
            .expect("set a timeout");
        let hear = || {
            let mut words = [0; 256];
            let length = manager.recv(&mut words).expect("words to the manager");
            String::from_utf8_lossy(&words[..length]).into_owned()
        };
        let mut command = net.command(ours_path());
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000");
        let mut agent = Agent::begin(command, &net.dir().join("managed.sock"), &[]);
        assert!(hear().starts_with("READY=1"));
        for _ in 0..3 {
            assert_eq!(hear(), "WATCHDOG=1");
        }
        agent.signal(Signal::SIGTERM);
        while hear() != "STOPPING=1" {}
        assert!(agent.ended().success());
    });
}
