//! What can go wrong around an agent: noise on its socket, no descriptors left, death while it starts.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::Command,
    thread,
    time::Duration,
};

use netstat_tests::{
    agent::Agent,
    netns::within,
    oracle::{assert_same_beside_agent, assert_same_by_agent, ours_path},
    wait,
    workload::Dice,
};

/// Requests that are right, to be damaged.
const REQUESTS: [&[u8]; 3] = [
    &[12, 0, 0, 0, 1, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0, 0, 0, 0, 2, 0, 1, 0],
    &[0, 0, 0, 0, 4, 0, 1, 0],
];
const ROUNDS: usize = 400;
/// Where the next one begins that is cut short, and waited for by the agent for a second.
const CUT_EACH: usize = 40;

/// Bytes drawn anew each time: noise, requests with a byte changed, requests cut short.
#[test]
fn noise_on_the_socket() {
    within(|net| {
        let seed = 20_261_126;
        let mut dice = Dice::new(seed);
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let agent = Agent::start(net);
        let pid = agent.pid();
        for round in 0..ROUNDS {
            let mut words = if round % 4 == 0 {
                (0..1 + dice.below(96))
                    .map(|_| dice.below(256) as u8)
                    .collect()
            } else {
                REQUESTS[dice.below(REQUESTS.len())].to_vec()
            };
            let at = dice.below(words.len());
            if round % CUT_EACH == 0 {
                words.truncate(at);
            } else {
                words[at] = dice.below(256) as u8;
            }
            let mut stream = UnixStream::connect(agent.socket()).expect("connect");
            // The agent may have closed already.
            let _ = stream.write_all(&words);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            stream
                .set_read_timeout(Some(wait::DEADLINE))
                .expect("set a timeout");
            let mut first = [0; 8];
            match stream.read_exact(&mut first) {
                // Welcome or refused, of this version.
                Ok(()) => assert!(
                    matches!(first[4..6], [16 | 24, 0]) && first[6..] == [1, 0],
                    "{words:?} is answered with {first:?}"
                ),
                // Less than a request: there is nothing to answer.
                Err(error) => assert_ne!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock,
                    "{words:?} is left without an answer"
                ),
            }
        }
        wait::until("all of them to be gone", || {
            (agent.number("/clients/connected") == 1).then_some(())
        });
        let status = agent.status();
        assert_eq!(status["pid"], pid, "it is the same agent");
        assert_eq!(status["answers_bytes"], 0, "{status}");
        wait::until("nobody to follow", || {
            (agent.number("/clients/logs") == 0).then_some(())
        });
        assert_same_by_agent(net, &agent, &["-anpt"]);
    });
}

#[test]
fn no_descriptor_is_left() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let agent = Agent::start(net);
        let limit = |soft: u64| {
            let limited = Command::new("/usr/bin/prlimit")
                .arg(format!("--pid={}", agent.pid()))
                .arg(format!("--nofile={soft}:"))
                .status();
            assert!(limited.expect("run prlimit").success());
        };
        let files = fs::read_dir(format!("/proc/{}/fd", agent.pid()));
        let open = files.expect("list the agent's descriptors").count() as u64;
        // One more than it has: a client's socket, but nothing that is read about the client.
        for spare in [0, 1, 2] {
            limit(open + spare);
            let idle: Vec<_> = (0..4)
                .map(|_| UnixStream::connect(agent.socket()).expect("connect"))
                .collect();
            assert_same_beside_agent(net, &agent, &["-anpt"]);
            drop(idle);
        }
        limit(1024);
        wait::until("the agent to have room again", || {
            (agent.number("/clients/connected") == 1).then_some(())
        });
        assert!(agent.number("/clients/accept_errors") > 0);
        assert_same_by_agent(net, &agent, &["-anpt"]);
    });
}

/// Whenever an agent is killed while it starts, the next one starts.
#[test]
fn an_agent_that_dies_while_it_starts() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let socket = net.dir().join("mortal.sock");
        for round in 0..10 {
            let mut agent = Agent::begin(net.command(ours_path()), &socket, &[]);
            // At another stage each time: lock, types, programs, hooks, seed, socket.
            thread::sleep(Duration::from_millis(20 * round));
            agent.kill();
            assert_same_beside_agent(net, &agent, &["-anpt"]);
        }
        let agent = Agent::start_at(net, &socket, &[]);
        assert_same_by_agent(net, &agent, &["-anpt"]);
        assert_eq!(agent.number("/lost/ring_full"), 0);
    });
}
