//! UDP, raw and Unix sockets: rows of the kernel's iterators equal /proc's, whatever happens meanwhile.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use netstat_tests::{
    continuous::Continuous,
    netns::{Net, within},
    oracle::{Output, assert_live, assert_same, ours_path, real},
    procs::{Actor, Fd},
};

/// More than the room that a program makes that starts in an empty namespace (4096).
const MANY: usize = 9000;
const DESCRIPTORS_OF_ONE: usize = 900;
const CHURN_ROUNDS: usize = 60;

/// Rows of the kernel's iterators, which a small host does not choose by itself.
fn from_kernel(net: &Net, args: &[&str]) -> Output {
    let output = net
        .command(ours_path())
        .env("NETSTAT_BPF_SOURCE", "kernel")
        .args(args)
        .output()
        .expect("run netstat-bpf");
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn open(actor: &Actor, command: &str) -> Fd {
    let values = actor.tell(command);
    values[0].parse().expect("a descriptor")
}

/// A descriptor and its port.
fn udp(actor: &Actor, command: &str) -> (Fd, u16) {
    let values = actor.tell(command);
    let address: std::net::SocketAddr = values[1].parse().expect("an address");
    (values[0].parse().expect("a descriptor"), address.port())
}

/// Every way of a UDP socket into and inside the table, and out of it.
fn udp_scene(actor: &Actor) {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        let (_, port) = udp(actor, &format!("udp {address} reuseport"));
        udp(
            actor,
            &format!(
                "udp {} reuseport",
                address.replace(":0", &format!(":{port}"))
            ),
        );
        let host = if address.starts_with("[::1]") {
            "[::1]"
        } else {
            "127.0.0.1"
        };
        let (caller, _) = udp(actor, &format!("udp-call {host}:{port}"));
        for count in [1, 700, 3000] {
            actor.tell(format_args!("write {caller} {count}"));
        }
    }
    let (_, dual) = udp(actor, "udp [::]:0");
    udp(actor, &format!("udp-call [::ffff:127.0.0.1]:{dual}"));
    let (unbound, _) = udp(actor, &format!("udp-call 127.0.0.1:{dual}"));
    actor.tell(format_args!("udp-part {unbound}"));
    let (kept, _) = udp(actor, "udp 127.0.0.1:0");
    actor.tell(format_args!("name-peer {kept} 127.0.0.1:{dual}"));
    actor.tell(format_args!("udp-part {kept}"));
    actor.tell("setuid 12345");
    udp(actor, "udp 127.0.0.1:0");
}

fn unix_scene(net: &Net, actor: &Actor) {
    for kind in ["stream", "datagram", "seqpacket"] {
        actor.tell(format_args!("unix {kind}"));
        actor.tell(format_args!("unix-pair {kind}"));
        let autobound = open(actor, &format!("unix {kind}"));
        actor.tell(format_args!("unix-bind {autobound} "));
        let names = [
            format!("@{kind}"),
            format!("@{kind}\\0\\0nul\\0"),
            format!("@{kind}\\swith blanks"),
            format!("{}/{kind}", net.dir().display()),
            format!("{}/{kind}\\sblank", net.dir().display()),
            format!("@{}", "n".repeat(100)) + &kind[..3],
        ];
        for name in names {
            let fd = open(actor, &format!("unix {kind}"));
            actor.tell(format_args!("unix-bind {fd} {name}"));
            if kind != "datagram" {
                actor.tell(format_args!("unix-listen {fd} 5"));
            }
            for accepted in [true, false] {
                let caller = open(actor, &format!("unix {kind}"));
                actor.tell(format_args!("unix-call {caller} {name}"));
                actor.tell(format_args!("write {caller} 300"));
                if accepted && kind != "datagram" {
                    actor.tell(format_args!("accept {fd}"));
                }
            }
            // The unaccepted connection outlives its caller.
            let gone = open(actor, &format!("unix {kind}"));
            actor.tell(format_args!("unix-call {gone} {name}"));
            actor.close(gone);
        }
    }
    // A path of all 108 bytes, without a NUL of its own.
    let dir = net.dir().display().to_string();
    let longest = format!("{dir}/{}", "p".repeat(107 - dir.len()));
    let fd = open(actor, "unix datagram");
    actor.tell(format_args!("unix-bind {fd} {longest}"));
}

fn raw_scene(actor: &Actor) {
    for family in [4, 6] {
        for protocol in [1, 17, 58, 89, 255] {
            open(actor, &format!("raw {family} {protocol}"));
        }
    }
    let called = open(actor, "raw 4 89");
    actor.tell(format_args!("name-peer {called} 127.0.0.1:0"));
    actor.tell(format_args!("write {called} 200"));
}

#[test]
fn all_kinds_equal_netstat_once_and_continuously() {
    within(|net| {
        let (early, other) = (net.actor(), net.actor());
        unix_scene(net, &early);
        raw_scene(&early);
        let mut live = [
            Continuous::start(net, &["-anp"]),
            Continuous::start(net, &["-anuxw"]),
        ];
        udp_scene(&early);
        let (child, port) = (other.fork(), udp(&other, "udp [::]:0").1);
        udp(&child, &format!("udp-call 127.0.0.1:{port}"));
        for args in [
            ["-anp"].as_slice(),
            &["-a"],
            &["-anueo"],
            &["-anu4p"],
            &["-anu6p"],
            &["-lnu"],
            &["-nu"],
            &["-xp"],
            &["-xl"],
            &["-xa"],
            &["-anw"],
            &["-anwxue", "-W"],
            &["-anU"],
        ] {
            assert!(assert_same(net, args) > 0 || args == ["-anU"], "{args:?}");
        }
        assert_live(net, &mut live);
        drop(early);
        assert_live(net, &mut live);
        assert_same(net, &["-anp"]);
    });
}

#[test]
fn rows_from_the_kernel_come_in_the_order_of_proc() {
    within(|net| {
        let actor = net.actor();
        unix_scene(net, &actor);
        udp_scene(&actor);
        let one = net.actor();
        let (_, port) = udp(&one, "udp 0.0.0.0:0 reuseport");
        for _ in 0..200 {
            udp(&one, "udp 127.0.0.1:0");
            udp(&one, &format!("udp 0.0.0.0:{port} reuseport"));
        }
        for args in [["-anup"].as_slice(), &["-anxp"]] {
            let ours = from_kernel(net, args);
            assert_eq!(ours, real(net, args), "{args:?}");
            assert!(ours.stdout.lines().count() > 40, "{}", ours.stdout);
        }
    });
}

/// The hash table is one for all network namespaces, and a namespace's ports are shifted in it.
#[test]
fn sockets_of_another_namespace_in_a_chain_change_no_order() {
    within(|net| {
        let (first, last, theirs) = (net.actor(), net.actor(), net.actor());
        theirs.tell("new-net");
        // Whatever the shift and the size of the table: some chain has sockets of both.
        let ours = || (1..512).map(|at| at * 128);
        for port in ours() {
            udp(&first, &format!("udp 127.0.0.1:{port}"));
        }
        for port in 2000..2256 {
            for _ in 0..2 {
                udp(&theirs, &format!("udp 0.0.0.0:{port} reuseport"));
            }
        }
        for port in ours() {
            udp(&last, &format!("udp 127.0.0.2:{port}"));
        }
        let rows = from_kernel(net, &["-anup"]);
        assert_eq!(rows, real(net, &["-anup"]));
        assert!(rows.stdout.lines().count() > 1000, "{}", rows.stdout);
    });
}

#[test]
fn a_name_with_line_breaks_is_one_row() {
    within(|net| {
        let actor = net.actor();
        let forged = "0000000000000000: 00000002 00000000 00010000 0001 01 4242 /forged";
        let fd = open(&actor, "unix stream");
        actor.tell(format_args!("unix-bind {fd} @inno\\n{forged}"));
        let count = |output: &Output, text: &str| output.stdout.matches(text).count();
        let (real, ours) = (real(net, &["-xa"]), from_kernel(net, &["-xa"]));
        assert_eq!(count(&real, "/forged"), 1, "netstat is deceived");
        assert_eq!(count(&ours, "@inno"), 1, "{}", ours.stdout);
        assert_eq!(count(&ours, "/forged"), 0, "{}", ours.stdout);
        assert_eq!(ours.stderr, "");
        let mut live = Continuous::start(net, &["-anx", "-t"]);
        assert!(!live.next_round().contains("/forged"));
    });
}

#[test]
fn more_sockets_than_one_pass_takes() {
    within(|net| {
        let mut live = [
            Continuous::start(net, &["-anx", "-t"]),
            Continuous::start(net, &["-anu"]),
        ];
        let actors: Vec<_> = (0..MANY.div_ceil(DESCRIPTORS_OF_ONE))
            .map(|_| net.actor())
            .collect();
        for actor in &actors {
            for _ in 0..DESCRIPTORS_OF_ONE / 2 {
                actor.tell("unix-pair datagram");
            }
        }
        assert!(assert_same(net, &["-anx"]) >= MANY);
        assert!(assert_live(net, &mut live) >= MANY);
        drop(actors);
        let actors: Vec<_> = (0..MANY.div_ceil(DESCRIPTORS_OF_ONE))
            .map(|_| net.actor())
            .collect();
        for actor in &actors {
            for _ in 0..DESCRIPTORS_OF_ONE {
                actor.tell("udp 127.0.0.1:0");
            }
        }
        assert!(assert_same(net, &["-anu"]) >= MANY);
        assert!(assert_live(net, &mut live) >= MANY);
    });
}

/// Contract E2: what lives through a round is printed once.
#[test]
fn sockets_that_stay_are_printed_once_while_others_come_go_and_move() {
    within(|net| {
        let (stays, moves, churns) = (net.actor(), net.actor(), net.actor());
        let mut ports = Vec::new();
        for _ in 0..150 {
            ports.push(udp(&stays, "udp 0.0.0.0:0").1);
            let fd = open(&stays, "unix datagram");
            stays.tell(format_args!("unix-bind {fd} @stays-{fd}"));
        }
        // A port that was asked for stays when the peer is given up.
        let moved: Vec<_> = (0..50)
            .map(|at| udp(&moves, &format!("udp 0.0.0.0:{}", 2000 + at)))
            .collect();
        ports.extend(moved.iter().map(|(_, port)| *port));
        let goes_on = AtomicBool::new(true);
        // The namespace is the thread's: the commands run in the actors, which are in it.
        thread::scope(|scope| {
            let asked = Asked(&moves, &churns);
            let goes_on = &goes_on;
            scope.spawn(move || {
                let Asked(moves, churns) = { asked };
                while goes_on.load(Ordering::Relaxed) {
                    for (fd, port) in &moved {
                        moves.tell(format_args!("name-peer {fd} 127.0.0.1:{port}"));
                        let bound = open(churns, "unix stream");
                        churns.tell(format_args!("unix-bind {bound} "));
                        let (fresh, _) = udp(churns, "udp 127.0.0.1:0");
                        churns.close(bound);
                        churns.close(fresh);
                        moves.tell(format_args!("udp-part {fd}"));
                    }
                }
            });
            for round in 0..CHURN_ROUNDS {
                let output = from_kernel(net, &["-anux"]);
                let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
                for line in output.stdout.lines().filter(|line| line.starts_with("udp")) {
                    let local = line.split_whitespace().nth(3).expect("an address");
                    let port = local.rsplit(':').next().and_then(|port| port.parse().ok());
                    *seen.entry(port.expect("a port")).or_default() += 1;
                }
                let wrong: Vec<_> = ports
                    .iter()
                    .filter(|port| seen.get(port) != Some(&1))
                    .collect();
                let unix = output.stdout.matches("@stays-").count();
                if !wrong.is_empty() || unix != 150 {
                    goes_on.store(false, Ordering::Relaxed);
                    panic!("round {round}: {unix} of 150 Unix sockets, UDP {wrong:?}");
                }
            }
            goes_on.store(false, Ordering::Relaxed);
        });
    });
}

/// Two actors that one other thread commands for a while.
struct Asked<'a>(&'a Actor, &'a Actor);

// SAFETY: while the thread runs, nobody else uses these two.
unsafe impl Send for Asked<'_> {}
