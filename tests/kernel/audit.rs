//! `audit` finds what is wrong, and accuses nobody who is right.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use netstat_common::{
    event::{KIND_STATE, SockEvent},
    row::SockRow,
};
use netstat_tests::{agent::Agent, netns::within, oracle::ours_path, storm::storm, wait};
use netstat_user::{
    clock,
    conn::types::{Conn, Endpoint, Kind, Ktime, SockId, TcpState},
    kernel::{
        health::Doubt,
        object::Purpose,
        refresh::With,
        session::{News, SeedFrom, Session},
    },
    modes::audit::{Own, audit},
    view::audit::{Report, Summary},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn read(output: &Output) -> Report {
    let text = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout);
    report.unwrap_or_else(|error| panic!("{error}: {output:?} {text}"))
}

fn run(mut command: Command) -> Report {
    let output = command.output().expect("run netstat-bpf audit");
    let report = read(&output);
    assert_eq!(
        output.status.code(),
        Some(report.status().into()),
        "{report:?}"
    );
    report
}

/// By an agent: nothing is wrong, and our own namespace was compared.
#[track_caller]
pub(crate) fn assert_clean(agent: &Agent) -> Report {
    let mut command = Command::new(ours_path());
    command
        .args(["audit", "--json", "--socket"])
        .arg(agent.socket());
    let report = run(command);
    assert_eq!(report.mismatches(), 0, "{report:#?}");
    assert_eq!(report.table, "the agent");
    assert!(report.right > 0 && report.namespaces > 1, "{report:#?}");
    report
}

/// Ends a load, also when the test fails: its scope waits for the load's thread.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_busy_host_is_not_accused() {
    within(|net| {
        let actor = net.actor();
        let (listener, address) = actor.listen("127.0.0.1:0");
        net.actor().connect(address);
        actor.accept(listener);
        let agent = Agent::start(net);
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let ends = Ends(&ended);
            let load = || {
                while !ended.load(Ordering::Relaxed) {
                    storm(200);
                }
            };
            let inside = nix::sched::CloneFlags::CLONE_NEWNET;
            let own = std::fs::File::open("/proc/thread-self/ns/net").expect("our namespace");
            scope.spawn(move || {
                nix::sched::setns(own, inside).expect("enter the test's namespace");
                load();
            });
            let again: u64 = (0..5).map(|_| assert_clean(&agent).again).sum();
            assert!(again > 0, "the load was under way");
            let mut own = net.command(ours_path());
            own.args(["audit", "--json", "--no-agent", "--seconds", "1"]);
            let report = run(own);
            drop(ends);
            assert_eq!(report.mismatches(), 0, "{report:#?}");
            assert!(report.right > 0, "{report:#?}");
        });
        assert_eq!(agent.number("/mismatches"), 0);
    });
}

/// A table in this process that can be damaged, with a connection in it that is not young, which is
/// not judged.
fn with_table(test: impl Fn(&mut Session, Conn) + Sync) {
    within(|net| {
        let actor = net.actor();
        let (listener, address) = actor.listen("127.0.0.1:0");
        let client = net.actor();
        let (_, own) = client.connect(address);
        actor.accept(listener);
        let mut session = Session::start(Purpose::Log, SeedFrom::Kernel, false).expect("trace");
        let before = audit(&mut Own::new(&mut session)).expect("an audit");
        assert_eq!(before.mismatches(), 0, "{before:#?}");
        let netns = session.netns;
        let ours = |conn: &&Conn| {
            let local = SocketAddr::new(conn.local.ip(), conn.local.port);
            conn.netns == netns && local == own && conn.state == TcpState::Established
        };
        let conn = session.table.listed().find(ours).copied();
        let conn = conn.expect("the connection is in the table");
        thread::sleep(Duration::from_millis(50));
        test(&mut session, conn);
    });
}

/// What an audit finds after damage to a table. A second one finds nothing.
fn damaged(damage: impl Fn(&mut Session, Conn) + Sync) -> Report {
    let reports = Mutex::new(None);
    with_table(|session, conn| {
        damage(session, conn);
        let found = audit(&mut Own::new(session)).expect("an audit");
        assert_eq!(found.status(), 1, "{found:#?}");
        let after = audit(&mut Own::new(session)).expect("an audit");
        assert_eq!(after.mismatches(), 0, "it is right again: {after:#?}");
        *reports.lock().expect("nobody panicked") = Some(found);
    });
    let report = reports.into_inner().expect("nobody panicked");
    report.expect("the table was audited")
}

/// An event that never was, of long ago.
fn forged(conn: &Conn, states: [TcpState; 2]) -> SockEvent {
    SockEvent {
        kind: KIND_STATE,
        flags: 0,
        ktime_ns: conn.since.map_or(1, |since| since.0),
        skaddr: conn.id.kernel().expect("a kernel's socket"),
        listener: 0,
        netns: conn.netns,
        tgid: 0,
        saddr: conn.local.addr,
        daddr: conn.remote.addr,
        sport: conn.local.port,
        dport: conn.remote.port,
        family: conn.family,
        oldstate: states[0].number(),
        newstate: states[1].number(),
        comm: [0; 16],
    }
}

/// The birth of a socket that never was.
fn never_born(like: &Conn) -> SockEvent {
    let nowhere = Conn {
        id: SockId::Kernel(0xffff_8880_0000_0040),
        local: Endpoint {
            port: 1,
            ..like.local
        },
        ..*like
    };
    forged(&nowhere, [TcpState::Close, TcpState::SynSent])
}

#[test]
fn a_row_that_the_table_lacks_is_found() {
    let found = damaged(|session, conn| {
        session
            .table
            .forget(conn.id, conn.since.unwrap_or_default(), &mut Vec::new());
    });
    assert_eq!(found.missing, 1, "by /proc: {found:#?}");
    assert_eq!(found.walked.missing, 1, "by the walk: {found:#?}");
    assert_eq!(found.wrong[0].fault, "missing");
    assert_eq!(found.wrong[0].state, "ESTABLISHED");
}

#[test]
fn a_row_that_the_kernel_lacks_is_found() {
    let found = damaged(|session, conn| {
        // A birth contradicts nothing: only the audit can find it.
        session.table.apply(&never_born(&conn), &mut Vec::new());
    });
    // It is not printed: its memory is looked at first.
    assert_eq!((found.extra, found.walked.extra), (0, 1), "{found:#?}");
    assert_eq!(found.walked.wrong[0].fault, "extra");
}

#[test]
fn a_state_that_was_missed_is_found() {
    let found = damaged(|session, conn| {
        let event = forged(&conn, [TcpState::Established, TcpState::CloseWait]);
        session.table.apply(&event, &mut Vec::new());
    });
    assert_eq!((found.state, found.walked.state), (0, 1), "{found:#?}");
    assert_eq!(found.walked.wrong[0].state, "CLOSE_WAIT");
}

#[test]
fn another_socket_at_the_same_address_is_found() {
    let found = damaged(|session, conn| {
        let id = conn.id;
        session
            .table
            .forget(id, conn.since.unwrap_or_default(), &mut Vec::new());
        let other = Conn {
            remote: Endpoint {
                port: 1,
                ..conn.remote
            },
            kind: Kind::Full,
            ..conn
        };
        let event = forged(&other, [TcpState::Close, TcpState::SynSent]);
        session.table.apply(&event, &mut Vec::new());
    });
    assert_eq!(found.walked.replaced, 1, "{found:#?}");
}

/// An event comes before its effect, so a healing can be too early for what is newest. Until that is
/// looked at again the table says so, printed rows are right all the same, and what is found then is of
/// the loss that was told.
#[test]
fn what_a_healing_has_left_is_in_doubt_and_no_mismatch() {
    with_table(|session, conn| {
        let mut news = News::default();
        // Young for as long as a slow machine needs to heal.
        let young = Duration::from_secs(1);
        let ghost = SockEvent {
            ktime_ns: clock::ktime().0 + u64::try_from(young.as_nanos()).expect("a second"),
            ..never_born(&conn)
        };
        session.table.apply(&ghost, &mut news.changes);
        let event = forged(&conn, [TcpState::FinWait1, TcpState::FinWait2]);
        session.table.apply(&event, &mut news.changes);
        session.drain(&mut news).expect("drain");
        let healed = session.health();
        assert_eq!(
            (healed.in_doubt, healed.healings),
            (Some(Doubt::Newest), 1),
            "healed but for the newest"
        );
        // As if the event had been lost, and the healing had come before its effect.
        let forget = |session: &mut Session, news: &mut News| {
            session.table.forget(conn.id, Ktime(1), &mut news.changes);
            assert_eq!(session.table.get(conn.id), None);
        };
        forget(session, &mut news);
        let mut listed = 0;
        let count = |row: &SockRow| {
            listed += u32::from((row.sport, row.dport) == (conn.local.port, conn.remote.port));
        };
        session.rows(With::LEAST, count).expect("rows");
        assert_eq!(listed, 1, "the printed rows are complete");
        forget(session, &mut news);
        thread::sleep(young + Duration::from_millis(100));
        let found = session.audit(&mut news).expect("an audit");
        assert_eq!(found.mismatches, [], "of the loss that was told");
        for left in [conn.id, SockId::Kernel(ghost.skaddr)] {
            let left = left.kernel().expect("a kernel's socket");
            assert!(found.undecided.contains(&left), "{left:x}: {found:#?}");
        }
        assert_eq!(session.health().in_doubt, Some(Doubt::Newest), "until then");
        wait::until("the doubt to end", || {
            session.drain(&mut news).expect("drain");
            session.health().in_doubt.is_none().then_some(())
        });
        let health = session.health();
        assert_eq!((health.healings, health.mismatches), (1, 0), "the same one");
        assert_ne!(health.exact_since, healed.exact_since, "exact since then");
        assert_eq!(session.table.get(SockId::Kernel(ghost.skaddr)), None);
        assert!(session.table.get(conn.id).is_some());
        // From now on what is wrong is a mismatch.
        thread::sleep(Duration::from_millis(50));
        forget(session, &mut news);
        let found = session.audit(&mut news).expect("an audit");
        assert_eq!(found.mismatches.len(), 1, "{found:#?}");
    });
}

/// Contradictions that come while a healing is not due yet put the table in doubt. A comparison of
/// everything, whoever asked for it, ends the doubt: nothing is left to heal, and so nothing would.
#[test]
fn an_audit_ends_the_doubt_of_a_healing_that_was_put_off() {
    with_table(|session, conn| {
        let mut news = News::default();
        // Whoever is ESTABLISHED does not leave FIN_WAIT1 without an event in between.
        let contradict = |session: &mut Session, news: &mut News| {
            let event = forged(&conn, [TcpState::FinWait1, TcpState::FinWait2]);
            session.table.apply(&event, &mut news.changes);
            session.drain(news).expect("drain");
        };
        contradict(session, &mut news);
        let health = session.health();
        assert_eq!((health.in_doubt, health.healings), (None, 1), "healed");
        contradict(session, &mut news);
        let health = session.health();
        let everything = Some(Doubt::Everything);
        assert_eq!((health.in_doubt, health.healings), (everything, 1), "soon");
        let told = health.exact_since;
        session.audit(&mut news).expect("an audit");
        session.drain(&mut news).expect("drain");
        let health = session.health();
        assert_eq!((health.in_doubt, health.healings), (None, 1), "compared");
        assert_ne!(health.exact_since, told, "exact since the comparison");
        assert_eq!(
            session.table.get(conn.id).map(|conn| conn.state),
            Some(TcpState::Established)
        );
    });
}

#[test]
fn who_may_not_see_all_is_told_so() {
    within(|net| {
        let agent = Agent::start(net);
        let copy = net.dir().join("netstat-bpf");
        std::fs::copy(ours_path(), &copy).expect("copy netstat-bpf to where every user can run it");
        let output = Command::new("/usr/bin/setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .args(["audit", "--socket"])
            .arg(agent.socket())
            .current_dir("/")
            .output()
            .expect("run setpriv");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("an audit is for root"), "{said}");
        // An agent that was named and is not there is not replaced by another table.
        let mut command = Command::new(ours_path());
        let output = command.args(["audit", "--socket", "/nonexistent"]).output();
        let output = output.expect("run netstat-bpf");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("/nonexistent"), "{said}");
    });
}

#[test]
fn watching_goes_on_until_it_is_interrupted() {
    within(|net| {
        net.actor().listen("127.0.0.1:0");
        let agent = Agent::start(net);
        let mut command = Command::new(ours_path());
        command
            .args(["audit", "--watch", "--json", "--seconds", "1", "--socket"])
            .arg(agent.socket())
            .stdout(Stdio::piped());
        let mut watch = command.spawn().expect("start netstat-bpf audit");
        let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
        let mut line = || lines.next().expect("a line").expect("text");
        for _ in 0..2 {
            let report: Report = serde_json::from_str(&line()).expect("a report");
            assert_eq!(report.mismatches(), 0, "{report:#?}");
        }
        let pid = Pid::from_raw(i32::try_from(watch.id()).expect("a process id"));
        kill(pid, Signal::SIGINT).expect("interrupt the audit");
        let summary = wait::until("the summary", || {
            serde_json::from_str::<Summary>(&line()).ok()
        });
        let status = watch.wait().expect("it ends");
        assert!(
            summary.audits >= 2 && summary.mismatches == 0,
            "{summary:?}"
        );
        let expected = if summary.incomplete > 0 { 2 } else { 0 };
        assert_eq!(status.code(), Some(expected), "{summary:?}");
    });
}
