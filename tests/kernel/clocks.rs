//! Clocks that jump: only the kernel's own monotonic clock decides, and wall time is made of it.
//!
//! The wall clock of the host is not a test's to set. A time namespace has a monotonic clock of its own,
//! which is as far from the kernel's as a jump can take it.

use std::{
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use netstat_tests::{
    agent::Agent,
    log::Log,
    netns::{Net, within},
    oracle::{assert_same_by_agent, ours_path},
};

/// Two clocks are read one after the other, under load.
const SLACK_NS: u64 = 1_000_000_000;

/// netstat-bpf where the monotonic clock is so many seconds ahead.
fn ahead(net: &Net, seconds: i64) -> Command {
    let mut command = net.command("/usr/bin/unshare");
    command
        .arg("--time")
        .arg(format!("--monotonic={seconds}"))
        .arg(ours_path());
    command
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("the clock is after 1970").as_nanos();
    u64::try_from(now).expect("a time of this age")
}

/// A listener's life and a connection's are told with their times.
#[track_caller]
fn assert_times(net: &Net, log: &mut Log) {
    let actor = net.actor_named("actor");
    let before = now_ns();
    let (listener, address) = actor.listen("127.0.0.1:0");
    let (fd, _) = actor.connect(address);
    let accepted = actor.accept(listener);
    actor.close(fd);
    actor.close(accepted);
    actor.close(listener);
    let events = log.so_far(|event| event.local.port() == address.port());
    let after = now_ns();
    assert!(events.len() >= 6, "{events:?}");
    for event in &events {
        let range = before - SLACK_NS..after + SLACK_NS;
        assert!(range.contains(&event.ts_ns), "{range:?}: {}", event.line);
        let in_old = event.in_old_ns.unwrap_or(0);
        assert!(in_old < after - before + SLACK_NS, "{}", event.line);
    }
}

#[test]
fn a_log_whose_clock_is_another() {
    for seconds in [1_000_000, -1000] {
        within(|net| {
            let mut log = Log::start_with(net, ahead(net, seconds), |_| {});
            assert_times(net, &mut log);
        });
    }
}

#[test]
fn an_agent_and_a_client_whose_clocks_differ() {
    within(|net| {
        let actor = net.actor();
        let (listener, address) = actor.listen("127.0.0.1:0");
        actor.connect(address);
        actor.accept(listener);
        for (agents, clients) in [(1_000_000, -1000), (0, 1_000_000), (-1000, 0)] {
            let socket = net.dir().join("agent.sock");
            let mut agent = Agent::begin(ahead(net, agents), &socket, &[]);
            agent.await_service();
            assert_same_by_agent(net, &agent, &["-anptoe"]);
            let mut log = Log::start_with(net, ahead(net, clients), |command| {
                agent.demand(command);
            });
            assert_eq!(agent.number("/clients/logs"), 1);
            assert_times(net, &mut log);
            let status = agent.status();
            let since = status["exact_since_wall_ns"].as_u64().expect("a time");
            assert!((now_ns() - since) < 3600 * SLACK_NS, "{status}");
        }
    });
}
