//! A SYN flood: what is established stays exact, the half-open rows are read when they are printed,
//! and that is said; nothing of full sockets is lost.
//!
//! Each test prints what a SYN cost, without us and with us, and in our BPF programs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use aya::sys::{Stats, enable_stats};
use netstat_tests::{
    agent::Agent,
    continuous::Continuous,
    flood::Flood,
    netns::{Net, within},
    oracle::{assert_live, assert_same_by_agent, ours_path, real},
    wait,
};

/// SYNs without a tracer.
const BARE: u32 = 100_000;
/// Events of half-open connections for each CPU and 134 ms that a table has of itself.
const BUDGET: u32 = 1024;
/// SYNs that are sent as fast as they can be.
const BURST: u32 = 4 * BUDGET;
/// Rounds that are compared during the flood, at least.
const ROUNDS: usize = 3;
/// After so many, one of each tracer has fallen into the flood or never will.
const MOST_ROUNDS: usize = 30;

/// How the listener meets a flood.
struct Defence {
    cookies: &'static str,
    /// Half-open connections that there may be.
    backlog: u32,
    /// From one burst to the next. With room for every SYN, a backlog (of 65,536, whatever is asked
    /// for) that is full ends the flood for a tracer.
    every: Duration,
    /// Whether more events come than the budget of half-open connections lets through.
    over_budget: bool,
}

/// Every SYN beyond the backlog is answered with a cookie and forgotten.
#[test]
fn with_syncookies() {
    flood(&Defence {
        cookies: "1",
        backlog: 128,
        every: Duration::from_millis(60),
        over_budget: false,
    });
}

/// Every SYN beyond the backlog is dropped.
#[test]
fn without_syncookies() {
    flood(&Defence {
        cookies: "0",
        backlog: 128,
        every: Duration::from_millis(60),
        over_budget: false,
    });
}

/// Every SYN makes a half-open connection, which is the most that one can cost.
#[test]
fn with_room_for_every_syn() {
    flood(&Defence {
        cookies: "0",
        backlog: 1 << 17,
        every: Duration::from_millis(250),
        over_budget: true,
    });
}

fn flood(defence: &Defence) {
    within(|net| {
        net.tun();
        net.sysctl("ipv4/tcp_syncookies", defence.cookies);
        let backlog = defence.backlog.to_string();
        net.sysctl("ipv4/tcp_max_syn_backlog", &backlog);
        net.sysctl("core/somaxconn", &backlog);
        let (server, client) = (net.actor(), net.actor());
        let listen = || {
            let values = server.tell(format_args!("listen 0.0.0.0:0 {backlog}"));
            let address: std::net::SocketAddr = values[1].parse().expect("an address");
            (values[0].clone(), address.port())
        };
        let (listener, address) = server.listen("127.0.0.1:0");
        for _ in 0..20 {
            client.connect(address);
            server.accept(listener);
        }
        // And one that nobody accepts.
        client.connect(server.listen("127.0.0.1:0").1);

        // Without us; what is half open of it goes with its listener.
        let (fd, port) = listen();
        let bare = Flood::new(net, port).send(BARE);
        server.tell(format_args!("close {fd}"));

        let (fd, port) = listen();
        nobody_floods(net);
        let agent = Agent::start(net);
        let json = net.dir().join("json");
        let traced = net
            .command(ours_path())
            .args(["-c", "-ant", "--json-lines"])
            // It hears every change and would have the budget of the log, which is more than this flood.
            .env("NETSTAT_BPF_HALF_OPEN_BUDGET", BUDGET.to_string())
            .stdin(Stdio::null())
            .stdout(File::create(&json).expect("create a file"))
            .spawn()
            .expect("start netstat-bpf -c --json-lines");
        let traced = Traced(traced);
        let mut live = [Continuous::start(net, &["-antp"])];
        let rounds = || fs::read_to_string(&json).expect("read the rounds");
        wait::until("its first round", || (!rounds().is_empty()).then_some(()));
        let statistics = enable_stats(Stats::RunTime).expect("BPF statistics");
        let before = costs(&agent);
        let doubted = || rounds().contains("\"in_doubt\":true");
        let enough = || !defence.over_budget || doubted();
        let flood = Flood::new(net, port);
        let (took, sent) = while_flooded(net, flood, defence.every, enough, || {
            let round = live[0].next_round();
            // Others come and go meanwhile.
            let (called, _) = client.connect(address);
            let accepted = server.accept(listener);
            client.abort(called);
            server.close(accepted);
            round
        });
        let after = costs(&agent);
        drop(statistics);

        // At rest: all rows, those half open too.
        let rows = assert_live(net, &mut live);
        assert_same_by_agent(net, &agent, &["-antp"]);
        let settled: usize = settled(&real(net, &["-antp"]).stdout).values().sum();
        assert!(rows > settled, "{rows} rows: half-open ones are there");
        let status = agent.status();
        assert_eq!(status["lost"]["ring_full"], 0, "{status}");
        let over_budget = agent.number("/over_budget");
        assert_eq!(over_budget > 0, defence.over_budget, "{over_budget}");
        let remarks = live[0].remarks().join("\n");
        assert!(!remarks.contains("events lost"), "{remarks}");
        assert_eq!(
            remarks.contains("half-open"),
            defence.over_budget,
            "{remarks}"
        );
        wait::until("the end of the doubt", || {
            agent.status()["in_doubt"].is_null().then_some(())
        });
        assert_eq!(doubted(), defence.over_budget);
        wait::until("a round without doubt", || {
            let told = rounds();
            let last = told.rfind("\"in_doubt\":")?;
            told[last..].starts_with("\"in_doubt\":false").then_some(())
        });
        drop(traced);

        // What is half open ends with its next timer, and in a namespace that is gone nobody sees it:
        // its events would be the next test's.
        server.tell(format_args!("close {fd}"));
        nobody_floods(net);
        println!(
            "{sent} SYNs, cookies {}, backlog {backlog}: {:.0} ns a SYN without us, {:.0} with three \
             tracers and their readers; {:.0} in the agent's BPF programs; {over_budget} events over \
             the budget",
            defence.cookies,
            bare.as_nanos() as f64 / f64::from(BARE),
            took.as_nanos() as f64 / f64::from(sent),
            (after - before) as f64 / f64::from(sent),
        );
    });
}

/// A program that ends with the test, however it ends.
struct Traced(Child);

impl Drop for Traced {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the half-open connections of a flood before are gone: the budget is the host's.
fn nobody_floods(net: &Net) {
    let agent = Agent::start(net);
    wait::until("a host without half-open connections", || {
        let status = agent.status();
        let half_open = status["states"]["SYN_RECV"].as_u64().unwrap_or(0);
        (half_open == 0 && status["in_doubt"].is_null()).then_some(())
    });
}

/// Floods on a thread of its own for as long as rounds are compared, at least [`ROUNDS`] and until it
/// is `enough`: what is not half open must be what netstat showed before. Gives how long the SYNs took,
/// and how many it were.
fn while_flooded(
    net: &Net,
    mut flood: Flood,
    every: Duration,
    enough: impl Fn() -> bool,
    mut round: impl FnMut() -> String,
) -> (Duration, u32) {
    // Asked before: under the flood the reference's own file skips rows.
    let expected = settled(&real(net, &["-antp"]).stdout);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut took, mut sent) = (Duration::ZERO, 0);
            while !done.load(Ordering::Relaxed) {
                let burst = flood.send(BURST);
                took += burst;
                sent += BURST;
                thread::sleep(every.saturating_sub(burst));
            }
            (took, sent)
        });
        let mut rounds = Vec::new();
        while rounds.len() < ROUNDS || (!enough() && rounds.len() < MOST_ROUNDS) {
            rounds.push(settled(&round()));
        }
        // Said before anything can fail: the thread is waited for in any case.
        done.store(true, Ordering::Relaxed);
        let flooded = sender.join().expect("the flood ends");
        for ours in rounds {
            assert_eq!(ours, expected, "rows that are not half open");
        }
        flooded
    })
}

/// How often each row that is not half open is there.
fn settled(stdout: &str) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for line in stdout.lines().filter(|line| line.starts_with("tcp")) {
        if !line.contains(" SYN_RECV ") {
            *rows.entry(line.to_owned()).or_default() += 1;
        }
    }
    rows
}

/// What the agent's programs have cost by now, nanoseconds.
fn costs(agent: &Agent) -> u64 {
    let status = agent.status();
    let programs = status["programs"].as_array().expect("a list of programs");
    let costs = programs
        .iter()
        .map(|program| program["run_time_ns"].as_u64());
    costs.map(|ns| ns.expect("a number")).sum()
}
