//! Scenario 37: what is asked of a name server, and how often. The server answers each question
//! about an address differently, so that a cached answer shows in the output too.

use std::{
    collections::HashMap,
    ffi::OsStr,
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use netstat_tests::{
    fixture::{Bench, REFERENCE, run_once, two_rounds},
    oracle::ours_path,
};

use crate::scenarios::ip;

/// A name server for addresses on 127.0.0.1 of the namespace.
struct Server {
    asked: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        const PATIENCE: Duration = Duration::from_millis(50);
        let socket = UdpSocket::bind("127.0.0.1:53").expect("bind port 53 of the namespace");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout for the server");
        let (asked, ends): (Arc<Mutex<Vec<_>>>, _) =
            (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (list, end) = (Arc::clone(&asked), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            let mut question = [0; 512];
            while !end.load(Ordering::Relaxed) {
                if let Ok((size, from)) = socket.recv_from(&mut question) {
                    let answer = answer(&question[..size], &mut list.lock().expect("no panic"));
                    // Who has gone needs no answer.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self {
            asked,
            ends,
            thread: Some(thread),
        }
    }

    /// What was asked since the last call. Answers begin anew.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the server shows in the questions it missed.
            let _ = thread.join();
        }
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// The answer to one question, which is put on the list.
fn answer(question: &[u8], asked: &mut Vec<String>) -> Vec<u8> {
    const HEADER: usize = 12;
    const CNAME: u8 = 5;
    const PTR: u8 = 12;
    let (mut at, mut name) = (HEADER, String::new());
    while question[at] != 0 {
        let size = usize::from(question[at]);
        name += &String::from_utf8_lossy(&question[at + 1..=at + size]);
        name.push('.');
        at += 1 + size;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    asked.push(format!("{name} {kind}"));
    let times = asked
        .iter()
        .filter(|known| known.starts_with(&name))
        .count();
    let told = format!(
        "answer-{times}.of.{}",
        name.split('.').next().expect("a label")
    );
    let long = format!("{}.{told}", ["long-label-in-a-name"; 10].join("."));
    let record = |owner: &[u8], kind: u8, name: &str| {
        let data = labels(name);
        let mut record = owner.to_vec();
        record.extend([0, kind, 0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
        record.extend(data);
        record
    };
    // The name of the question.
    let own = [0xc0, HEADER as u8];
    // By the last byte of the address.
    let (code, records) = match name.split('.').next().unwrap_or_default() {
        "7" => (0, vec![]),
        "8" => (2, vec![]),
        "9" => (3, vec![]),
        "10" => (0, vec![record(&own, PTR, "bad name.example")]),
        "11" => (0, vec![record(&own, PTR, "under_score.example")]),
        "12" => (0, vec![record(&own, PTR, &long)]),
        "13" => (
            0,
            vec![
                record(&own, PTR, &told),
                record(&own, PTR, "second.example"),
            ],
        ),
        "14" => {
            let alias = record(&own, CNAME, "14.class.example");
            (
                0,
                vec![alias, record(&labels("14.class.example"), PTR, &told)],
            )
        }
        "15" => (0, vec![record(&own, PTR, "")]),
        "16" => (0, vec![record(&own, PTR, "-dash.example")]),
        _ => (0, vec![record(&own, PTR, &told)]),
    };
    let mut text = question[..2].to_vec();
    text.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    text.extend(&question[HEADER..end]);
    text.extend(records.concat());
    text
}

/// A namespace whose only source of names is the server.
fn setting(bench: &Bench) -> Server {
    bench.cover_file("/etc/hosts", "");
    bench.cover_file("/etc/networks", "");
    bench.cover_file("/etc/nsswitch.conf", "hosts: files dns\nnetworks: files\n");
    ip("link set lo up");
    for last in 2..10 {
        ip(&format!("addr add 2001:db8::{last} dev lo nodad"));
    }
    Server::start()
}

struct Sockets {
    _tcp: Vec<TcpListener>,
    _ends: Vec<TcpStream>,
    _udp: Vec<UdpSocket>,
}

fn sockets() -> Sockets {
    let hosts = [
        "127.0.0.1",
        "[::1]",
        "[2001:db8::2]",
        "127.0.0.9",
        "[2001:db8::9]",
    ];
    let tcp = hosts.map(|host| TcpListener::bind(format!("{host}:0")).expect("bind"));
    let dual = TcpListener::bind("[::]:0").expect("bind");
    let port = dual.local_addr().expect("an address").port();
    let mut ends = Vec::new();
    for host in [
        "127.0.0.7",
        "127.0.0.1",
        "[::1]",
        "[2001:db8::2]",
        "[2001:db8::7]",
    ] {
        ends.push(TcpStream::connect(format!("{host}:{port}")).expect("connect"));
        ends.push(dual.accept().expect("accept").0);
    }
    let udp = (10..17).map(|last| UdpSocket::bind(format!("127.0.0.{last}:0")));
    let more = ["[2001:db8::3]:0", "[::ffff:127.0.0.5]:0"].map(UdpSocket::bind);
    let udp = udp.chain(more).map(|socket| socket.expect("bind"));
    Sockets {
        _udp: udp.collect(),
        _tcp: tcp.into_iter().chain([dual]).collect(),
        _ends: ends,
    }
}

fn counts(asked: &[String]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for name in asked {
        *counts.entry(name.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn a_server_is_asked_as_the_reference_asks() {
    Bench::run(|bench| {
        let server = setting(bench);
        let _sockets = sockets();
        for line in [
            "-at",
            "-atW",
            "-au",
            "-a4",
            "-t6",
            "-a --numeric-ports",
            "-g",
            "-r",
            "-6r",
        ] {
            let arguments: Vec<_> = line.split_whitespace().collect();
            server.take();
            let real = run_once(OsStr::new(REFERENCE), &arguments, |_| {});
            let real_asked = server.take();
            for source in ["proc", "kernel"] {
                let ours = run_once(ours_path().as_os_str(), &arguments, |command| {
                    command.env("NETSTAT_BPF_SOURCE", source);
                });
                bench.judge(&arguments, &real, &ours);
                assert_eq!(
                    server.take(),
                    real_asked,
                    "netstat {line}, rows from {source}"
                );
            }
        }
    });
}

/// How often the reference is asked whether it shows what we have shown.
const TRIES: usize = 5;

#[test]
fn rounds_ask_as_the_references_rounds_do() {
    Bench::run(|bench| {
        let server = setting(bench);
        let _sockets = sockets();
        for line in [
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "addr add 192.0.2.2/24 dev v0",
            "addr add 2001:db8:5::2/64 dev v0 nodad",
            "route add 10.0.0.0/8 via 192.0.2.1",
            "route add 10.1.2.3/32 via 192.0.2.1",
            "-6 route add 2001:db8:1::/48 via 2001:db8:5::1",
        ] {
            ip(line);
        }
        for (line, only_v4, first) in [
            ("-at", "-at4", "Active Internet"),
            ("-au", "-au4", "Active Internet"),
            ("-A inet6 -r", "-r", "Kernel IPv6"),
            ("-A inet,inet6 -r", "-r", "Kernel IP routing"),
        ] {
            let arguments: Vec<_> = line.split_whitespace().chain(["-c"]).collect();
            let asks = |line: &str| {
                server.take();
                let arguments: Vec<_> = line.split_whitespace().collect();
                run_once(OsStr::new(REFERENCE), &arguments, |_| {});
                server.take()
            };
            let round = asks(line);
            // IPv4 addresses are asked once, ever.
            let of_v4 = if line.contains("-A inet6") {
                0
            } else {
                asks(only_v4).len()
            };
            let least = round.len() + round.len() - of_v4;
            assert!(of_v4 < round.len(), "{line}: {round:?}");
            let real = two_rounds(OsStr::new(REFERENCE), &arguments, first, |_| {});
            let real_asked = server.take();
            assert!(real_asked.len() >= least, "{line}: {real_asked:?}");
            assert_eq!(real_asked[..round.len()], round, "{line}");
            assert_eq!(real_asked[round.len()..least], round[of_v4..], "{line}");
            for source in ["proc", "kernel"] {
                let ours = two_rounds(ours_path().as_os_str(), &arguments, first, |command| {
                    command.env("NETSTAT_BPF_SOURCE", source);
                });
                let asked = server.take();
                assert!(asked.len() >= least, "{line} from {source}: {asked:?}");
                if source == "proc" {
                    // The kernel itself counts a route's users up and down while it announces addresses.
                    let same = (0..TRIES).find_map(|attempt| {
                        let real = match attempt {
                            0 => real.clone(),
                            _ => two_rounds(OsStr::new(REFERENCE), &arguments, first, |_| {}),
                        };
                        (real == ours).then_some(real)
                    });
                    server.take();
                    bench.judge_texts(&arguments, same.as_ref().unwrap_or(&real), &ours);
                    assert_eq!(asked[..least], real_asked[..least], "{line}");
                }
                for part in [0..round.len(), round.len()..least] {
                    let (real, ours) = (&real_asked[part.clone()], &asked[part]);
                    assert_eq!(counts(ours), counts(real), "{line} from {source}");
                }
            }
        }
    });
}
