//! Other network namespaces: listed, seeded, born and torn down.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use netstat_tests::{
    agent::Agent,
    mounted::{Mounted, in_a_new_one, nsenter, outside},
    netns::{Net, within},
    oracle::{REAL, assert_same_by, ours_path, real},
    wait,
};
use netstat_user::{
    client,
    proto::request::{Scope, Wanted},
};
use serde_json::Value;

use crate::audit::assert_clean;

fn output(mut command: Command) -> Output {
    command.output().expect("run a command")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The rows of an agent's table in one namespace: local ports and states.
fn rows(agent: &Agent, netns: u32) -> Vec<(u16, u8)> {
    let wanted = Wanted {
        tcp: true,
        scope: Scope::Namespace(netns),
        ..Wanted::default()
    };
    let snapshot = client::snapshot(agent.socket(), wanted, Duration::from_secs(10));
    let snapshot = snapshot.and_then(client::Incoming::whole);
    let snapshot = snapshot.expect("the agent answers");
    let rows = snapshot.rows[0].iter();
    let mut rows: Vec<_> = rows.map(|row| (row.sport.get(), row.state)).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn one_namespace_is_listed_as_from_the_inside() {
    within(|net| {
        let actor = net.actor();
        let (listener, address) = actor.listen("127.0.0.1:0");
        net.actor().connect(address);
        actor.accept(listener);
        actor.tell("udp 127.0.0.1:0");
        actor.tell("unix-pair stream");
        let mounted = Mounted::here();
        let agent = Agent::begin_outside(net);
        let names = [
            mounted.name().to_owned(),
            mounted.path().display().to_string(),
            actor.pid().to_string(),
        ];
        for name in &names {
            for args in [&["-anp"][..], &["-anpo"], &["-r", "-n"], &["-i"], &["-ant"]] {
                for source in ["proc", "kernel", "agent"] {
                    let ours = || {
                        let mut command = outside(ours_path());
                        agent.offer(&mut command);
                        command.env("NETSTAT_BPF_SOURCE", source);
                        command.args(["--netns", name]);
                        command
                    };
                    assert_same_by(net, args, ours);
                }
            }
        }
        // The other way to write it, and in the middle.
        let mut command = outside(ours_path());
        command.args(["-a", &format!("--netns={}", names[0]), "-nt", "--no-agent"]);
        assert_eq!(text(&output(command)), real(net, &["-ant"]).stdout);
    });
}

const SETPRIV: &str = "/usr/bin/setpriv";

/// netstat-bpf where every user can run it.
fn copy_for_all(net: &Net) -> PathBuf {
    let copy = net.dir().join("netstat-bpf");
    std::fs::copy(ours_path(), &copy).expect("copy netstat-bpf to where every user can run it");
    copy
}

/// Lets setpriv run a program without any right.
fn as_nobody<'a>(setpriv: &'a mut Command, program: &Path) -> &'a mut Command {
    setpriv
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .current_dir("/")
}

#[test]
fn ones_own_namespace_needs_no_right() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        actor.listen("[::1]:0");
        let copy = copy_for_all(net);
        let real = real(net, &["-ant"]).stdout;
        assert!(real.contains("LISTEN"), "{real}");
        let run = |args: &[&str]| {
            let mut command = Command::new(SETPRIV);
            as_nobody(&mut command, &copy).args(args);
            output(command)
        };
        let one = run(&["-ant", "--netns", "/proc/thread-self/ns/net"]);
        assert_eq!(one.status.code(), Some(0), "{one:?}");
        assert_eq!(text(&one), real);
        // There may be others, which are told.
        let all = run(&["-ant", "--netns", "all"]);
        let inode = u32::try_from(net.inode()).expect("a number");
        assert_eq!(section(&text(&all), inode), real);
        let said = String::from_utf8_lossy(&all.stderr);
        assert!(said.contains("there may be more namespaces"), "{said}");
        assert!(!said.contains(&inode.to_string()), "{said}");
    });
}

#[test]
fn a_namespace_that_is_not_there_or_not_ours_is_told() {
    within(|net| {
        let mounted = Mounted::here();
        let copy = copy_for_all(net);
        let mut nobody = outside(SETPRIV);
        as_nobody(&mut nobody, &copy).args(["-ant", "--netns", mounted.name()]);
        let mut none = net.command(ours_path());
        none.args(["-ant", "--netns", "no-such-namespace"]);
        for (command, told) in [
            (nobody, "needs CAP_SYS_ADMIN"),
            (none, "/run/netns/no-such"),
        ] {
            let output = output(command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(told) && output.stdout.is_empty(), "{said}");
        }
        // Called netstat it has no such option; what is left is netstat's.
        let alias = net.dir().join("netstat");
        symlink(ours_path(), &alias).expect("a symbolic link");
        for args in [["--netns", "all"], ["--netns=all", "-a"]] {
            let run = |program: &Path| {
                let mut command = net.command(program);
                std::os::unix::process::CommandExt::arg0(&mut command, "netstat");
                let output = output({
                    command.args(args);
                    command
                });
                (output.status.code(), output.stdout, output.stderr)
            };
            assert_eq!(run(&alias), run(Path::new(REAL)));
        }
    });
}

/// What stands between our title and the next.
fn section(text: &str, inode: u32) -> String {
    let begin = |line: &str| line.starts_with("Network namespace ");
    let mut lines = text
        .lines()
        .skip_while(|line| !(begin(line) && line.contains(&inode.to_string())));
    let title = lines
        .next()
        .unwrap_or_else(|| panic!("no {inode} in {text}"));
    assert!(begin(title), "{title}");
    let lines = lines
        .take_while(|line| !begin(line))
        .filter(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn all_namespaces_are_listed_one_by_one() {
    within(|net| {
        let actor = net.actor();
        actor.listen("127.0.0.1:0");
        actor.listen("[::1]:0");
        let inode = u32::try_from(net.inode()).expect("a number");
        let agent = Agent::begin_outside(net);
        for source in ["proc", "kernel", "agent"] {
            let mut command = outside(ours_path());
            agent.offer(&mut command);
            command
                .env("NETSTAT_BPF_SOURCE", source)
                .args(["--netns", "all", "-ant"]);
            let output = output(command);
            assert_eq!(section(&text(&output), inode), real(net, &["-ant"]).stdout);
        }
        let mut command = outside(ours_path());
        command.args(["--netns", "all", "-ant", "--json"]);
        let output = text(&output(command));
        let documents = output.lines().map(serde_json::from_str::<Value>);
        let documents: Vec<_> = documents.map(|document| document.expect("JSON")).collect();
        let ours = documents.iter().find(|document| document["netns"] == inode);
        let sockets = ours.and_then(|document| document["sockets"].as_array());
        assert_eq!(sockets.map(Vec::len), Some(2), "{output}");
        assert!(documents.len() > 1, "{output}");
    });
}

/// A connection whose client end waits in TIME_WAIT.
fn wait_out() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("own address");
    let client = TcpStream::connect(address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("shut down");
    drop(client);
    drop(server);
    address
}

#[test]
fn a_namespace_that_only_a_mount_holds() {
    within(|net| {
        let mounted = in_a_new_one(|| {
            wait_out();
            Mounted::here()
        });
        let agent = Agent::start(net);
        // Without -o: its hundredths of a second are seldom the same twice.
        for args in [&["-ant"][..], &["-anpt"], &["-tnpe", "-a"]] {
            let real = || {
                let mut command = mounted.command(REAL);
                command.args(args);
                text(&output(command))
            };
            let ours = || {
                let mut command = net.command(ours_path());
                agent.demand(&mut command);
                command.arg("--netns").arg(mounted.path()).args(args);
                text(&output(command))
            };
            let same = wait::until("the same rows", || {
                let (before, ours, after) = (real(), ours(), real());
                (before == after).then_some((ours, before))
            });
            assert_eq!(same.0, same.1);
            assert!(same.1.contains("TIME_WAIT"), "{}", same.1);
        }
        let report = assert_clean(&agent);
        let told = report.not_compared.iter().filter_map(|not| not.netns);
        assert!(told.into_iter().all(|netns| netns != mounted.inode));
        drop(mounted);
    });
}

#[test]
fn a_namespace_that_only_a_socket_holds() {
    within(|net| {
        let (inode, listener) = in_a_new_one(|| {
            let inode = Mounted::here().inode;
            (inode, TcpListener::bind("127.0.0.1:0").expect("listen"))
        });
        let port = listener.local_addr().expect("own address").port();
        let agent = Agent::start(net);
        assert_eq!(rows(&agent, inode), [(port, 10)]);
        let report = assert_clean(&agent);
        let told = report.not_compared.iter().filter_map(|not| not.netns);
        assert!(told.into_iter().all(|netns| netns != inode), "{report:#?}");
        let mut command = net.command(ours_path());
        command.args(["--netns", "all", "-ant", "--no-agent"]);
        let listed = section(&text(&output(command)), inode);
        assert!(listed.contains(&format!("127.0.0.1:{port} ")), "{listed}");
        drop(listener);
    });
}

#[test]
fn namespaces_come_and_go_and_their_numbers_come_again() {
    within(|net| {
        let agent = Agent::start(net);
        let make = || {
            in_a_new_one(|| {
                wait_out();
                let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
                (Mounted::here(), listener)
            })
        };
        let mut seen = Vec::new();
        let mut reused = 0;
        for round in 0..400 {
            let (mounted, listener) = make();
            let port = listener.local_addr().expect("own address").port();
            reused += u32::from(seen.contains(&mounted.inode));
            // What was in the one before with this number is not in this one.
            let now = rows(&agent, mounted.inode);
            let states: Vec<_> = now.iter().map(|(_, state)| *state).collect();
            assert!(now.contains(&(port, 10)), "{now:?}");
            assert!(
                now.len() == 2 && states.contains(&6),
                "round {round}, {} with the number {}: {now:?}",
                reused,
                mounted.inode
            );
            if round % 20 == 0 {
                let netstat = output({
                    let mut command = mounted.command(REAL);
                    command.arg("-ant");
                    command
                });
                let mut ours = net.command(ours_path());
                agent.demand(&mut ours);
                ours.args(["-ant", "--netns", mounted.name()]);
                assert_eq!(text(&output(ours)), text(&netstat));
            }
            seen.push(mounted.inode);
            if reused >= 3 && round >= 20 {
                break;
            }
        }
        assert!(reused > 0, "no number came twice in {} rounds", seen.len());
        wait::until("the rows of dead namespaces to go", || {
            let left = seen.iter().all(|inode| rows(&agent, *inode).is_empty());
            left.then_some(())
        });
        assert_clean(&agent);
        assert_eq!(agent.number("/mismatches"), 0);
    });
}

/// What is opened tells its number: the file that a name leads to, not the name.
#[test]
fn a_namespace_is_known_by_what_was_opened() {
    let mounted = in_a_new_one(Mounted::here);
    let held = File::open(mounted.path()).expect("open it");
    let path = mounted.path().to_owned();
    let mut command = nsenter(&path, "/bin/true");
    assert!(command.status().expect("run nsenter").success());
    let first = mounted.inode;
    let found = netstat_user::proc::namespaces::Namespace::open(&path).expect("it is there");
    drop(mounted);
    assert_eq!(found.inode, first);
    drop(held);
    // Entered through the descriptor although its name is gone.
    let inside = netstat_user::proc::namespaces::apart(
        || {
            found.enter().expect("enter it");
            netstat_user::proc::namespaces::Namespace::own()
                .expect("our own")
                .inode
        },
        std::thread::yield_now,
    );
    assert_eq!(inside.expect("a thread"), first);
}
