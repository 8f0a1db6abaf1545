//! The command line: options, their errors, and what they select.

use std::os::unix::process::CommandExt as _;

use netstat_tests::fixture::{Bench, cases};

const SHORT: &str = "A:CFMadeghilnNoprsStuUvVWw2fx64?Zk";

const LINES: [&[&str]; 46] = [
    &["-k"],
    &["-A"],
    &["--bogus"],
    &["--protocol"],
    &["--prot"],
    &["--route=1"],
    &["-?"],
    &["-V"],
    &["-h"],
    &["-hV"],
    &["-Vh"],
    &["--num"],
    &["--u"],
    &["--un"],
    &["-rr"],
    &["-ss"],
    &["-ii"],
    &["-MM"],
    &["-ir"],
    &["-is"],
    &["-sr"],
    &["-gr"],
    &["-gi"],
    &["-s", "-x"],
    &["-s", "-4", "-6"],
    &["-A", ""],
    &["-A", "inet,foo"],
    &["-A", ",inet"],
    &["--tcpip"],
    &["--ddp"],
    &["-A", "bluetooth"],
    &["-2"],
    &["-f"],
    &["-S"],
    &["-tSu"],
    &["--ax25"],
    &["-M"],
    &["-Z"],
    &["-r", "-A", "unix"],
    &["-r", "--netrom"],
    &["-v"],
    &["-av"],
    &["-4v"],
    &["-t", "foo", "-n"],
    &["--", "-t"],
    &["-A", "inet6", "-k"],
];

const LONG: [&str; 44] = [
    "ax25",
    "x25",
    "ip",
    "ipx",
    "appletalk",
    "netrom",
    "inet",
    "inet6",
    "ddp",
    "rose",
    "unix",
    "bluetooth",
    "tcpip",
    "version",
    "interfaces",
    "help",
    "route",
    "masquerade",
    "protocol",
    "tcp",
    "sctp",
    "udp",
    "udplite",
    "raw",
    "l2cap",
    "rfcomm",
    "listening",
    "all",
    "timers",
    "extend",
    "programs",
    "verbose",
    "statistics",
    "wide",
    "numeric",
    "numeric-hosts",
    "numeric-ports",
    "numeric-users",
    "symbolic",
    "cache",
    "fib",
    "groups",
    "context",
    "econet",
];

pub(crate) fn fixture(bench: &Bench) {
    for (file, text) in [
        (
            "tcp",
            "h\n   0: 0100007F:0016 00000000:0000 0A 0:0 0:0 0 0 0 12 1\n",
        ),
        (
            "udp",
            "h\n   0: 00000000:0035 00000000:0000 07 0:0 0:0 0 0 0 13 1\n",
        ),
        ("unix", "h Inode\n1: 2 0 10000 1 1 14 /run/a\n"),
        (
            "route",
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n",
        ),
        ("snmp", "Ip: InReceives\nIp: 4\n"),
        ("snmp6", "Ip6InReceives 4\n"),
        (
            "igmp",
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n",
        ),
    ] {
        bench.write(&format!("net/{file}"), text);
    }
}

#[test]
fn chosen_command_lines_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        fixture(bench);
        for line in LINES {
            bench.compare(line);
            bench.compare_with(line, |command| {
                command
                    .arg0("/a path/to netstat")
                    .env("POSIXLY_CORRECT", "1");
            });
        }
        bench.compare_with(&["-k"], |command| {
            command.arg0("");
        });
    });
}

#[test]
fn every_prefix_of_a_long_option_is_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        fixture(bench);
        for option in LONG {
            for end in 1..=option.len() {
                // An endless list cannot be compared.
                if "continuous".starts_with(&option[..end]) && end > 1 {
                    continue;
                }
                bench.compare(&[&format!("--{}", &option[..end]), "-n"]);
            }
            bench.compare(&[&format!("--{option}=x")]);
        }
    });
}

#[test]
fn random_bundles_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        fixture(bench);
        let letters: Vec<char> = SHORT.chars().collect();
        for _ in 0..cases() * 2 {
            let count = 1 + bench.random.below(5);
            let mut bundle = "-".to_owned();
            for _ in 0..count {
                bundle.push(letters[bench.random.below(letters.len())]);
            }
            let word =
                bench
                    .random
                    .pick(&["inet", "inet6,unix", "ip", "foo", "-n", "ash", "--", ""]);
            bench.compare(&[&bundle, word]);
        }
    });
}
