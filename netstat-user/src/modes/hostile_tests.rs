//! Every file of /proc with bytes that no kernel writes: whatever they are, no report panics, grows
//! beyond its input, or lets a control byte through; and each row is one line.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::{
    json,
    masq::{self, MasqRequest},
    route::{self, RouteRequest},
    sockets::round,
    stats::{self, StatsRequest},
};
use crate::{
    cmdline::{JsonForm, Next, Options, Surroundings, parse},
    proc::ProcSource,
    source::{InetTable, Line, SocketSource as _},
    view::{names::NoNames, stats::Sections},
};

/// The files, each with a text of the right form: what mutation starts from.
const FILES: [(&str, &str); 29] = [
    ("net/tcp", TCP),
    ("net/tcp6", TCP6),
    ("net/udp", TCP),
    ("net/udp6", TCP6),
    ("net/udplite", TCP),
    ("net/udplite6", TCP6),
    ("net/raw", TCP),
    ("net/raw6", TCP6),
    (
        "net/unix",
        "Num RefCount Protocol Flags Type St Inode Path\nffff888: 2 0 10000 1 1 77 /run/a\n",
    ),
    (
        "net/igmp",
        "Idx\tDevice : Count Querier\tGroup\n1\tlo : 1 V3\n\t\t\t\t010000E0 1 0:0\t\t0\n",
    ),
    (
        "net/igmp6",
        "1 lo ff020000000000000000000000000001 1 0000000C 0\n",
    ),
    (
        "net/route",
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\neth0\t0\t0101A8C0\t3\t0\t0\t0\t0\t0\t0\t0\n",
    ),
    (
        "net/rt_cache",
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tSource\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst\n",
    ),
    (
        "net/ipv6_route",
        "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n",
    ),
    (
        "net/snmp",
        "Ip: Forwarding InReceives\nIp: 1 2\nNew: A\nNew: 3\n",
    ),
    ("net/netstat", "TcpExt: SyncookiesSent X\nTcpExt: 1 2\n"),
    ("net/snmp6", "Ip6InReceives \t5\nNew6Thing 6\n"),
    ("net/sctp/snmp", "SctpCurrEstab \t1\n"),
    (
        "net/sctp/eps",
        " ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS\n0 0 2 10 8 80 0 77 127.0.0.1\n",
    ),
    (
        "net/sctp/assocs",
        " ASSOC\n0 0 2 1 3 8 1 0 0 0 77 80 81 127.0.0.1 <-> *127.0.0.2\t 7500\n",
    ),
    (
        "net/ip_masquerade",
        "Prc FromIP FPrt ToIP TPrt Masq Init-seq Delta PDelta Expires\nTCP 0100007F:0016 0200007F:0017 F000 00000000 0 0 1234\n",
    ),
    (
        "net/ax25",
        "0 ax0 N0CALL N1CALL,D1 3 1 2 3 0 10 0 3 0 300 0 0 0 10 5 2 256 11 22 1234\n",
    ),
    (
        "net/x25",
        "h\n7654321    1234567    x25a  010  3  1  2  3   0   3 200 180 180     7     8 99\n",
    ),
    (
        "net/nr",
        "h\nN0CALL-1  N9CALL     N0CALL-2  nr0  01/02 03/04  3   1   2   3   0/120  0/05 0/180\n",
    ),
    (
        "net/rose",
        "h\n2080175521 N1CALL 2080175520 N0CALL-2 rose0 012 00001 3\n",
    ),
    (
        "net/ipx/socket",
        "h\n00000001:4003 00000002:0000DEADBEEF:0451 10 20 01 5\n",
    ),
    ("7/cmdline", "/usr/bin/prog\0arg\0"),
    ("7/comm", "prog\n"),
    (
        "7/cgroup",
        "0::/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n",
    ),
];

const TCP: &str =
    "h\n 0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77 1\n";
const TCP6: &str = "h\n 0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 77 1\n";

/// The command lines: together they read every file.
const LINES: [&[&str]; 16] = [
    &["-anpeov"],
    &["-lp"],
    &["-gn"],
    &["-x", "-ap"],
    &["-aW", "--sctp"],
    &["--ipx", "-e"],
    &["-r"],
    &["-ree"],
    &["-rFCe"],
    &["-rn", "-A", "inet6"],
    &["-rC", "-A", "inet6"],
    &["-s"],
    &["-s", "-6"],
    &["-M"],
    &["-Me"],
    &["-Mn"],
];

#[derive(Clone, Debug)]
enum Edit {
    /// Bytes over what is there.
    Over(usize, Vec<u8>),
    /// Bytes in between.
    Insert(usize, Vec<u8>),
    /// The rest is gone.
    Cut(usize),
    /// All of it once more.
    Double,
    /// Something else.
    Whole(Vec<u8>),
}

/// Bytes that mean something to parsers and terminals, and any others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let special: [&[u8]; 12] = [
        b"\n",
        b"\x1b[2J",
        b"\0",
        b"\t",
        b" ",
        b":",
        b"-1",
        b"99999999999999999999",
        b"\xff\xfe",
        b"tcp 0 0 1.2.3.4:5 6.7.8.9:1 LISTEN\n",
        b"\r",
        "\u{9b}31m".as_bytes(),
    ];
    prop_oneof![
        3 => prop::sample::select(special.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<usize>(), bytes()).prop_map(|(at, bytes)| Edit::Over(at, bytes)),
        4 => (any::<usize>(), bytes()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => any::<usize>().prop_map(Edit::Cut),
        1 => Just(Edit::Double),
        1 => prop::collection::vec(any::<u8>(), 0..600).prop_map(Edit::Whole),
    ]
}

fn edited(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut text = text.as_bytes().to_vec();
    for edit in edits {
        let place = |at: usize| at % (text.len() + 1);
        match edit {
            Edit::Over(at, bytes) => {
                let at = place(*at);
                let end = (at + bytes.len()).min(text.len());
                text.splice(at..end, bytes.iter().copied());
            }
            Edit::Insert(at, bytes) => {
                let at = place(*at);
                text.splice(at..at, bytes.iter().copied());
            }
            Edit::Cut(at) => text.truncate(place(*at)),
            Edit::Double => text.extend_from_within(..),
            Edit::Whole(bytes) => text.clone_from(bytes),
        }
    }
    text
}

fn options(line: &[&str]) -> Options {
    let args: Vec<_> = line.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    match parse(b"netstat", &args, Surroundings::default()).next {
        Next::Run(options) => *options,
        Next::Exit(status) => panic!("{line:?} ends with {status}"),
    }
}

/// What a command line prints over this root.
fn print(root: &Path, line: &[&str]) -> [Vec<u8>; 2] {
    let options = options(line);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let proc = root.to_owned();
    let families = options.families.listed().to_vec();
    if line[0].starts_with("-r") {
        let request = RouteRequest {
            proc,
            families,
            extend: options.extend,
            numeric: options.numeric.hosts,
            fib: options.fib,
            cache: options.cache,
        };
        route::run(&request, &mut NoNames, &mut out, &mut err);
    } else if line[0].starts_with("-s") {
        let sections = Sections {
            tcp: true,
            udp: true,
            raw: true,
            sctp: true,
        };
        let request = StatsRequest {
            proc,
            families,
            sections,
        };
        stats::run(&request, &mut out, &mut err);
    } else if line[0].starts_with("-M") {
        let request = MasqRequest {
            proc,
            extend: options.extend > 0,
            numeric_hosts: options.numeric.hosts,
            numeric_ports: options.numeric.ports,
        };
        masq::run(&request, &mut NoNames, &mut out, &mut err);
    } else {
        let mut source = ProcSource::new(root);
        round(&mut source, &options, &mut NoNames, &mut out, &mut err);
    }
    [out, err]
}

/// The tabs, and the line feeds in `netstat -s`, are the reports' own.
fn is_harmless(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.chars().all(|c| c == '\n' || !c.is_control()))
}

/// So many cases as `PROPTEST_CASES` says, or 100: each writes and prints every file.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES");
    ProptestConfig {
        cases: cases.ok().and_then(|text| text.parse().ok()).unwrap_or(100),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_file_of_proc_harms(
        edits in prop::collection::vec(prop::collection::vec(edit(), 0..6), FILES.len()),
    ) {
        let root = tempfile::tempdir().expect("a directory");
        let mut size = 0;
        for ((path, text), edits) in FILES.iter().zip(&edits) {
            let path = root.path().join(path);
            let text = edited(text, edits);
            size += text.len();
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("write");
        }
        let descriptors = root.path().join("7/fd");
        fs::create_dir_all(&descriptors).expect("directories");
        std::os::unix::fs::symlink("socket:[77]", descriptors.join("3")).expect("a link");
        for line in LINES {
            let [out, err] = print(root.path(), line);
            for text in [&out, &err] {
                prop_assert!(is_harmless(text), "{line:?}: {:?}", String::from_utf8_lossy(text));
                // The widest row of the shortest line, and headers.
                prop_assert!(text.len() <= 400 * size + 8192, "{line:?}: {} bytes", text.len());
            }
        }
        let mut source = ProcSource::new(root.path());
        let mut rows = 0;
        let mut count = |is_row: bool| rows += usize::from(is_row);
        for table in [InetTable::Tcp, InetTable::Tcp6] {
            let read = source.inet(table, &mut |line| count(matches!(line, Line::Row(_))));
            prop_assert!(read.is_ok());
        }
        let [out, _] = print(root.path(), &["-atnpe"]);
        let lines = out.iter().filter(|&&byte| byte == b'\n').count();
        prop_assert_eq!(lines, rows + 2, "two lines of header, then one for each row");
        for (option, form) in [("--json", JsonForm::Document), ("--json-lines", JsonForm::Lines)] {
            let options = options(&["-anpx", option]);
            let round = json::round(&mut source, &options, root.path()).expect("a round");
            let mut out = Vec::new();
            round.print(form, &mut out).expect("a Vec takes every byte");
            prop_assert!(is_harmless(&out), "{:?}", String::from_utf8_lossy(&out));
            for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let read = serde_json::from_slice::<serde_json::Value>(line);
                prop_assert!(read.is_ok(), "{:?}", String::from_utf8_lossy(line));
            }
        }
        let mut rows = 0;
        let read = source.unix(&mut |line| rows += usize::from(matches!(line, Line::Row(_))));
        prop_assert!(read.is_ok());
        let [out, _] = print(root.path(), &["-axp"]);
        let lines = out.iter().filter(|&&byte| byte == b'\n').count();
        prop_assert_eq!(lines, rows + 2, "two lines of header, then one for each row");
    }
}
