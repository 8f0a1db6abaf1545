//! Losses that are forced on an agent: told by cause, healed, and the table is exact again.

use std::{
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use netstat_tests::{
    agent::Agent,
    continuous::Continuous,
    netns::{Net, within},
    oracle::{assert_live, assert_same_by_agent, ours_path},
    packet::{SYN, Segment},
    procs::Actor,
    storm::storm,
    tun::{KERNEL_V4, PEER_V4},
    wait,
};
use netstat_user::view::snapshot::Head;
use nix::sys::signal::Signal;

use crate::audit::assert_clean;

const RING: &str = "NETSTAT_BPF_RING_BYTES";
const BUDGET: &str = "NETSTAT_BPF_HALF_OPEN_BUDGET";

fn begin(net: &Net, settings: &[(&str, &str)]) -> Agent {
    let mut command = net.command(ours_path());
    command.envs(settings.iter().copied());
    Agent::begin(command, &net.dir().join("agent.sock"), &[])
}

/// The losses of a cause are told, and the table is right and says since when.
#[track_caller]
fn assert_healed(net: &Net, agent: &Agent, cause: &str, exact_before: u64) {
    assert_same_by_agent(net, agent, &["-anpt"]);
    // A storm has more half-open connections than the budget, too: that doubt ends a moment later.
    let status = wait::until("the doubt to end", || {
        let status = agent.status();
        status["in_doubt"].is_null().then_some(status)
    });
    let number = |pointer| status.pointer(pointer).and_then(serde_json::Value::as_u64);
    assert!(number(cause) > Some(0), "{cause}: {status}");
    assert!(number("/healings") > Some(0), "{status}");
    assert!(number("/exact_since_ns") > Some(exact_before), "{status}");
    assert_eq!(status["mismatches"], 0, "a loss is no mismatch: {status}");
    assert_clean(agent);
}

/// Sockets of before a loss, of which some go in it; gives those who hold the others.
fn neighbours(net: &Net) -> impl FnOnce() -> [Actor; 2] {
    let (server, client) = (net.actor(), net.actor());
    let (listener, address) = server.listen("127.0.0.1:0");
    let (going, _) = client.connect(address);
    let accepted = server.accept(listener);
    client.connect(address);
    move || {
        client.close(going);
        server.close(accepted);
        server.listen("127.0.0.1:0");
        [server, client]
    }
}

#[test]
fn a_ring_that_is_too_small_for_a_storm() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        let mut agent = begin(net, &[(RING, "4096")]);
        agent.await_service();
        let before = agent.number("/exact_since_ns");
        storm(5000);
        assert_healed(net, &agent, "/lost/ring_full", before);
    });
}

#[test]
fn an_agent_that_is_stopped_while_sockets_come_and_go() {
    within(|net| {
        let (server, client) = (net.actor(), net.actor());
        let (listener, address) = server.listen("127.0.0.1:0");
        let (going, _) = client.connect(address);
        let accepted = server.accept(listener);
        client.connect(address);
        let mut agent = begin(net, &[(RING, "65536")]);
        agent.await_service();
        let before = agent.number("/exact_since_ns");
        agent.signal(Signal::SIGSTOP);
        let begun = std::time::Instant::now();
        client.close(going);
        storm(2000);
        server.close(accepted);
        server.listen("127.0.0.1:0");
        while begun.elapsed() < std::time::Duration::from_secs(2) {
            storm(200);
        }
        agent.signal(Signal::SIGCONT);
        assert_healed(net, &agent, "/lost/ring_full", before);
    });
}

#[test]
fn a_seed_into_a_ring_that_overflows_meanwhile() {
    within(|net| {
        let actor = net.actor();
        let (listener, address) = actor.listen("127.0.0.1:0");
        let held: Vec<_> = (0..300)
            .map(|_| {
                let stream = std::net::TcpStream::connect(address).expect("connect");
                actor.accept(listener);
                stream
            })
            .collect();
        let ended = AtomicBool::new(false);
        let agent = thread::scope(|scope| {
            let own = std::fs::File::open("/proc/thread-self/ns/net").expect("our namespace");
            let load = scope.spawn(|| {
                nix::sched::setns(own, nix::sched::CloneFlags::CLONE_NEWNET)
                    .expect("enter the test's namespace");
                while !ended.load(Ordering::Relaxed) {
                    storm(200);
                }
            });
            let mut agent = begin(net, &[(RING, "4096")]);
            agent.await_service();
            wait::until("a loss", || {
                (agent.number("/lost/ring_full") > 0).then_some(())
            });
            ended.store(true, Ordering::Relaxed);
            load.join().expect("the load ends");
            agent
        });
        assert_healed(net, &agent, "/lost/ring_full", 0);
        drop(held);
        assert_same_by_agent(net, &agent, &["-anpt"]);
    });
}

#[test]
fn more_half_open_connections_than_the_budget() {
    within(|net| {
        let tun = net.tun();
        net.sysctl("ipv4/tcp_syncookies", "0");
        // They go by themselves soon: after 1, 2 and 4 seconds without an answer.
        net.sysctl("ipv4/tcp_synack_retries", "1");
        let actor = net.actor();
        let (_, address) = actor.listen(SocketAddr::new(KERNEL_V4.into(), 0));
        let other = actor.listen("127.0.0.1:0").1;
        net.actor().connect(other);
        let mut agent = begin(net, &[(BUDGET, "10")]);
        agent.await_service();
        let before = agent.number("/exact_since_ns");
        let mut port = 2000;
        let doubt = wait::until("the flood to be noticed", || {
            for _ in 0..200 {
                port = if port == 60_000 { 2000 } else { port + 1 };
                tun.send(&Segment {
                    src: SocketAddr::new(PEER_V4.into(), port),
                    dst: address,
                    seq: 1,
                    ack: 0,
                    flags: SYN,
                    window: 1000,
                    payload: Vec::new(),
                });
            }
            let status = agent.status();
            status["in_doubt"].as_str().map(str::to_owned)
        });
        assert_eq!(doubt, "half-open connections");
        let over = agent.number("/over_budget");
        assert!(over > 0);
        // Rows of half-open connections are read from the kernel's hash tables meanwhile.
        assert_same_by_agent(net, &agent, &["-ant"]);
        wait::until("the flood to end", || {
            agent.status()["in_doubt"].is_null().then_some(())
        });
        assert_same_by_agent(net, &agent, &["-ant"]);
        assert!(agent.number("/exact_since_ns") > before);
        assert_clean(&agent);
        wait::until("the half-open connections to go", || {
            let rows = assert_same_by_agent(net, &agent, &["-ant"]);
            (rows == 4).then_some(())
        });
        assert_eq!(agent.number("/mismatches"), 0);
    });
}

/// The kernel counts what it does not give to a hook that is active already: this is read, and is
/// part of the losses.
#[test]
fn misses_of_single_hooks_are_read() {
    within(|net| {
        let mut agent = begin(net, &[]);
        agent.await_service();
        storm(2000);
        wait::until("the numbers to agree", || {
            let status = agent.status();
            let programs = status["programs"].as_array().expect("programs");
            let misses = |name: &str| {
                let of = programs.iter().find(|program| program["program"] == name);
                of.map(|program| program["recursion_misses"].as_u64().expect("a number"))
            };
            let single = ["tcp_destroy", "timer_start", "timer_cancel"].map(misses);
            assert!(single.iter().all(Option::is_some), "{status}");
            let sum: u64 = single.into_iter().flatten().sum();
            (status["lost"]["skipped"] == sum).then_some(())
        });
    });
}

#[test]
fn a_loss_is_in_the_json_of_every_round_after_it() {
    within(|net| {
        let changes = neighbours(net);
        let mut command = Command::new(ours_path());
        command
            .env(RING, "4096")
            .args(["-c", "-ant", "--json-lines", "--no-agent"])
            .stdout(std::process::Stdio::piped());
        let mut live = command.spawn().expect("start netstat-bpf");
        let lines = std::io::BufReader::new(live.stdout.take().expect("a pipe"));
        let mut heads = std::io::BufRead::lines(lines).filter_map(|line| {
            let line = line.expect("text");
            let head = line.contains("\"event\":\"snapshot\"");
            head.then(|| serde_json::from_str::<Head>(&line).expect("a head"))
        });
        let first = heads.next().expect("a round");
        let _held = changes();
        storm(5000);
        let after = heads.find(|head| head.lost > Some(0)).expect("a round");
        assert!(after.healings > first.healings, "{after:?}");
        assert!(after.exact_since_ns > first.exact_since_ns, "{after:?}");
        assert_eq!(after.in_doubt, Some(false), "{after:?}");
        // Both fail only for a process that is gone.
        let _ = live.kill();
        let _ = live.wait();
    });
}

/// Healing reads what is in doubt from the kernel's hash tables.
#[test]
fn healing_walks_no_descriptors() {
    within(|net| {
        let changes = neighbours(net);
        let (mut command, trace) = crate::rescans::traced(net, "healing");
        command
            .env(RING, "4096")
            .args(["-c", "-anpt", "--no-agent"]);
        let mut live = [Continuous::adopt(command, &["-anpt"])];
        assert_live(net, &mut live);
        let seeded = std::fs::read_to_string(&trace).expect("the trace").len();
        let _held = changes();
        storm(3000);
        assert_live(net, &mut live);
        wait::until("the loss to be told", || {
            let told = live[0].remarks();
            told.iter()
                .any(|line| line.contains("events lost"))
                .then_some(())
        });
        crate::rescans::assert_none(&trace, seeded);
    });
}
