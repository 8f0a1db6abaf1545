//! The agent and its clients: the same bytes as netstat, for whoever asks, whatever becomes of it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use netstat_tests::{
    agent::Agent,
    netns::{Net, within},
    oracle::{
        assert_same_as_user_by_agent, assert_same_beside_agent, assert_same_by_agent, ours_path,
    },
    states::{Stack, Way, reach},
    wait,
};
use nix::sys::signal::Signal;

const NOBODY: u32 = 65534;
const ALL: [&[&str]; 8] = [
    &["-anpt"],
    &["-tnpeo", "-a"],
    &["-ant"],
    &["-lntp"],
    &["-anp"],
    &["-anpx"],
    &["-anpu"],
    &["-n4pt"],
];

#[test]
fn every_state_older_and_younger_than_the_agent() {
    within(|net| {
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
        let scenes = |stack| ways.map(|way| reach(net, way, stack));
        let older = scenes(Stack::V4);
        let agent = Agent::start(net);
        let younger = [scenes(Stack::V6), scenes(Stack::Dual)];
        let scenes = older.iter().chain(younger.iter().flatten());
        let promised: usize = scenes.map(|scene| scene.rows.len()).sum();
        assert_eq!(assert_same_by_agent(net, &agent, &["-anpt"]), promised);
        for args in ALL {
            assert_same_by_agent(net, &agent, args);
        }
    });
}

#[test]
fn a_user_without_rights_sees_what_proc_shows() {
    within(|net| {
        let (own, other) = (net.actor(), net.actor());
        own.tell(format_args!("setgid {NOBODY}"));
        own.tell(format_args!("setuid {NOBODY}"));
        own.exec("nobodys-own");
        own.listen("127.0.0.1:0");
        other.listen("[::]:0");
        let agent = Agent::start(net);
        for args in ALL {
            assert_same_as_user_by_agent(net, &agent, NOBODY, args);
        }
    });
}

#[test]
fn an_agent_that_is_killed_leaves_a_socket_that_the_next_one_takes_over() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let mut first = Agent::start(net);
        assert_same_by_agent(net, &first, &["-anpt"]);
        first.kill();
        assert!(first.socket().exists(), "nobody has tidied up");
        assert_same_beside_agent(net, &first, &["-anpt"]);
        let mut second = Agent::start_at(net, first.socket(), &[]);
        assert_same_by_agent(net, &second, &["-anpt"]);
        second.signal(Signal::SIGTERM);
        assert!(second.ended().success(), "{}", second.stderr());
        assert!(!second.socket().exists(), "it tidies up when it can");
        assert_same_beside_agent(net, &second, &["-anpt"]);
    });
}

#[test]
fn two_agents_on_one_socket() {
    within(|net| {
        let first = Agent::start(net);
        let mut second = Agent::begin(net.command(ours_path()), first.socket(), &[]);
        assert_eq!(second.ended().code(), Some(1));
        let said = second.stderr();
        assert!(
            said.contains("another agent") && said.contains(&first.pid().to_string()),
            "{said}"
        );
        assert_same_by_agent(net, &first, &["-anpt"]);
    });
}

/// What answers, or does not, where an agent should be.
fn beside_a_fake(net: &Net, answer: impl Fn(UnixStream) + Send + 'static) -> (String, Duration) {
    let path = net.dir().join("fake.sock");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("listen");
    let fake = thread::spawn(move || {
        // Kept: a client must not be helped by the end of the connection.
        let (stream, _) = listener.accept().expect("accept");
        answer(stream.try_clone().expect("a second handle"));
        (stream, listener)
    });
    let begin = Instant::now();
    let output = net
        .command(ours_path())
        .arg("-ant")
        .env("NETSTAT_BPF_AGENT", &path)
        .env("NETSTAT_BPF_DEBUG", "1")
        .output()
        .expect("run netstat-bpf");
    let took = begin.elapsed();
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(" LISTEN "), "goes on alone:\n{text}");
    fake.join().expect("the fake agent");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("without the agent"), "{said}");
    (said, took)
}

#[test]
fn what_is_not_an_agent_is_noticed_and_done_without() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let (said, took) = beside_a_fake(net, |_| {});
        assert!(said.contains("no answer in 200 ms"), "{said}");
        // The bound is the client's own; what is on top of it is this machine's load.
        assert!(took < Duration::from_secs(5), "{took:?}");

        let version = |mut stream: UnixStream| {
            let mut request = [0; 20];
            stream.read_exact(&mut request).expect("a request");
            // A welcome of version 2, 0 bytes long.
            let words = [0, 0, 0, 0, 16, 0, 2, 0];
            stream.write_all(&words).expect("a welcome");
        };
        let (said, _) = beside_a_fake(net, version);
        assert!(said.contains("version 2"), "{said}");

        let half_way = |mut stream: UnixStream| {
            let mut request = [0; 20];
            stream.read_exact(&mut request).expect("a request");
            let welcome = [0, 0, 0, 0, 16, 0, 1, 0];
            let rows = [80, 0, 0, 0, 19, 0, 1, 0];
            let mut head = vec![40, 0, 0, 0, 17, 0, 1, 0];
            head.extend([0; 40]);
            let words = [&welcome[..], &head, &rows, &[7; 50]].concat();
            stream.write_all(&words).expect("half an answer");
        };
        let (said, _) = beside_a_fake(net, half_way);
        assert!(said.contains("no answer in 200 ms"), "{said}");

        let ends = move |stream: UnixStream| {
            half_way(stream.try_clone().expect("a second handle"));
            let _ = stream.shutdown(std::net::Shutdown::Both);
        };
        let (said, _) = beside_a_fake(net, ends);
        assert!(said.contains("gone away"), "{said}");

        for garbage in [&[0xff_u8; 64][..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
            beside_a_fake(net, move |mut stream| {
                stream.write_all(garbage).expect("garbage");
            });
        }
    });
}

#[test]
fn an_agent_that_is_stopped_is_done_without() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let agent = Agent::start(net);
        agent.signal(Signal::SIGSTOP);
        assert_same_beside_agent(net, &agent, &["-anpt"]);
        agent.signal(Signal::SIGCONT);
        assert_same_by_agent(net, &agent, &["-anpt"]);
    });
}

#[test]
fn no_agent_is_obeyed() {
    within(|net| {
        let agent = Agent::start(net);
        let snapshots = || agent.number("/clients/snapshots");
        let run = |args: &[&str]| {
            let mut command = net.command(ours_path());
            agent.offer(&mut command);
            let output = command.args(args).output().expect("run netstat-bpf");
            assert!(output.status.success(), "{output:?}");
        };
        let before = snapshots();
        run(&["-ant", "--no-agent"]);
        assert_eq!(snapshots(), before);
        run(&["-ant"]);
        assert_eq!(snapshots(), before + 1);
    });
}

/// Words of every kind on the agent's socket; afterwards it serves as before.
#[test]
fn requests_that_are_none() {
    within(|net| {
        let agent = Agent::start(net);
        let bad = agent.number("/clients/refused_bad_request");
        let ask = |bytes: &[u8]| {
            let mut stream = UnixStream::connect(agent.socket()).expect("connect");
            let _ = stream.write_all(bytes);
            let mut answer = Vec::new();
            stream
                .set_read_timeout(Some(wait::DEADLINE))
                .expect("set a timeout");
            // It may have closed with our words unread.
            let _ = stream.read_to_end(&mut answer);
            answer
        };
        let refused = |answer: &[u8]| answer.get(4..6) == Some(&[24, 0]);
        // Too long, another version, no such kind, a wrong length, unknown bits, text.
        for words in [
            [255, 255, 255, 255, 1, 0, 1, 0].to_vec(),
            [12, 0, 0, 0, 1, 0, 9, 0].to_vec(),
            [0, 0, 0, 0, 99, 0, 1, 0].to_vec(),
            [3, 0, 0, 0, 1, 0, 1, 0, 1, 2, 3].to_vec(),
            [vec![12, 0, 0, 0, 1, 0, 1, 0], vec![255; 12]].concat(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let answer = ask(&words);
            assert!(refused(&answer), "{words:?} gives {answer:?}");
        }
        assert_eq!(agent.number("/clients/refused_bad_request"), bad + 6);
        // Half a request, and none at all: given up after a second.
        let slow = agent.number("/clients/given_up_slow");
        assert!(ask(&[12, 0, 0, 0, 1, 0]).is_empty());
        assert!(ask(&[]).is_empty());
        assert_eq!(agent.number("/clients/given_up_slow"), slow + 2);
        assert_same_by_agent(net, &agent, &["-anpt"]);
    });
}

/// Whoever connects and does not read is dropped, and keeps nobody waiting.
#[test]
fn a_client_that_does_not_read() {
    within(|net| {
        // More rows than a socket buffer takes.
        let actor = net.actor();
        let (listener, address) = actor.listen("127.0.0.1:0");
        let mut held = Vec::new();
        for _ in 0..2500 {
            held.push(std::net::TcpStream::connect(address).expect("connect"));
            held.push(std::net::TcpStream::connect(address).expect("connect"));
            actor.accept(listener);
            actor.accept(listener);
        }
        let agent = Agent::start(net);
        // This thread's namespace, by number: that of a client is its main thread's.
        let netns = u32::try_from(net.inode()).expect("an inode number");
        let mut request = vec![12, 0, 0, 0, 1, 0, 1, 0, 7, 0, 0, 0, 1, 0, 0, 0];
        request.extend(netns.to_le_bytes());
        let idle: Vec<_> = (0..8)
            .map(|_| {
                let mut stream = UnixStream::connect(agent.socket()).expect("connect");
                stream.write_all(&request).expect("ask");
                stream
            })
            .collect();
        assert_same_by_agent(net, &agent, &["-anpt"]);
        wait::until("the idle clients to be given up", || {
            (agent.number("/clients/given_up_slow") == 8).then_some(())
        });
        assert_eq!(agent.number("/answers_bytes"), 0, "their memory is free");
        drop((idle, held));
    });
}

#[test]
fn the_status_is_told_to_everybody_and_names_no_process() {
    within(|net| {
        let agent = Agent::start(net);
        let mut command = Command::new("/usr/bin/setpriv");
        let copy = net.dir().join("netstat-bpf");
        fs::copy(ours_path(), &copy).expect("copy netstat-bpf to where every user can run it");
        let output = command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copy)
            .args(["status", "--json", "--socket"])
            .arg(agent.socket())
            .current_dir("/")
            .output()
            .expect("run setpriv");
        assert!(output.status.success(), "{output:?}");
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(status["lost"]["ring_full"], 0, "{status}");
        let maps = status["process"]["maps_bytes"].as_u64();
        assert!(maps >= Some(16 << 20), "the ring alone: {status}");
    });
}
