//! Names for numbers: random hosts, networks, services, protocols and users over random tables.

use netstat_tests::fixture::{Bench, Random, cases};

const HOSTS: [&str; 12] = [
    "gate",
    "host.example.org",
    "a-host-with-a-name-of-47-letters-which-is-longer",
    "UPPER",
    "under_score",
    "x",
    "n\u{e4}me",
    "exactly-twenty-two-let",
    "#comment",
    "",
    "two names",
    "%s%n",
];
const ADDRS: [&str; 15] = [
    "127.0.0.1",
    "127.0.0.0",
    "10.1.2.3",
    "0.0.0.0",
    "0.0.0.7",
    "0.1.0.0",
    "10.0.0.0",
    "192.168.1.0",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "2001:db8::5",
    "fe80::1",
    "bogus",
];

fn hosts(random: &mut Random) -> String {
    let line = |random: &mut Random| {
        let addr = random.pick(&ADDRS);
        let name = random.pick(&HOSTS);
        let long = "long.".repeat(random.below(60));
        match random.below(12) {
            0 => format!("{addr} {long}{name}\n"),
            1 => format!("{addr}\n"),
            2 => format!("  {addr}\t{name} # {name}\n"),
            _ => format!("{addr} {name}\n"),
        }
    };
    (0..random.below(14)).map(|_| line(random)).collect()
}

fn networks(random: &mut Random) -> String {
    let line = |random: &mut Random| {
        let addr = random.pick(&[
            "127",
            "127.0.0.0",
            "10",
            "10.0.0.0",
            "192.168.1",
            "0.0.0.7",
            "0.1.0.0",
            "0.0.0.0",
            "x",
            "169.254.0.0",
        ]);
        format!("{} {addr}\n", random.pick(&HOSTS))
    };
    (0..random.below(10)).map(|_| line(random)).collect()
}

fn services(random: &mut Random) -> String {
    let line = |random: &mut Random| {
        let port = match random.below(5) {
            0 => random.below(70_000),
            _ => [22, 80, 53, 443, 1, 6, 17, 0][random.below(8)],
        };
        let protocol = random.pick(&["tcp", "tcp", "udp", "udp", "raw", "TCP", "sctp", "", "dccp"]);
        let name = match random.below(4) {
            0 => "s".repeat(1 + random.below(80)),
            _ => format!("service{}", random.below(100)),
        };
        let alias = random.pick(&["", " alias", "\t# comment"]);
        match random.below(15) {
            0 => format!("{name} {port}\n"),
            1 => format!("{name}\n"),
            2 => format!("#{name} {port}/{protocol}\n"),
            _ => format!("{name}\t{port}/{protocol}{alias}\n"),
        }
    };
    (0..random.below(30)).map(|_| line(random)).collect()
}

fn protocols(random: &mut Random) -> String {
    let line = |random: &mut Random| {
        let number = [1, 6, 17, 22, 58, 89, 255, 300, 0][random.below(9)];
        let name = match random.below(5) {
            0 => "p".repeat(1 + random.below(80)),
            _ => format!("proto{}", random.below(50)),
        };
        format!("{name} {number} ALIAS\n")
    };
    (0..random.below(12)).map(|_| line(random)).collect()
}

fn passwd(random: &mut Random) -> String {
    let line = |random: &mut Random| {
        let uid = [
            "0",
            "1",
            "2",
            "7",
            "1000",
            "4294967294",
            "4294967295",
            "x",
            "",
        ][random.below(9)];
        let name = match random.below(4) {
            0 => "u".repeat(1 + random.below(40)),
            1 => random.pick(&HOSTS).to_owned(),
            _ => format!("user{}", random.below(50)),
        };
        match random.below(10) {
            0 => format!("{name}:x:{uid}\n"),
            _ => format!("{name}:x:{uid}:0::/:/bin/sh\n"),
        }
    };
    (0..random.below(8)).map(|_| line(random)).collect()
}

fn v4(random: &mut Random) -> &'static str {
    // 127.0.0.1, 127.0.0.0, 10.1.2.3, 0.0.0.0, 0.0.0.7, 0.1.0.0, 10.0.0.0, 192.168.1.0, 9.9.9.9
    const WORDS: [&str; 9] = [
        "0100007F", "0000007F", "0302010A", "00000000", "07000000", "00000100", "0000000A",
        "0001A8C0", "09090909",
    ];
    WORDS[random.below(WORDS.len())]
}

fn v6(random: &mut Random) -> String {
    match random.below(7) {
        0 => "00000000000000000000000001000000".to_owned(),
        1 => "0".repeat(32),
        2 => "B80D0120000000000000000005000000".to_owned(),
        3 => "000080FE000000000000000001000000".to_owned(),
        4 => format!("0000000000000000{}{}", "00000000", v4(random)),
        _ => format!("0000000000000000FFFF0000{}", v4(random)),
    }
}

fn sockets(random: &mut Random, six: bool) -> String {
    let mut text = "header\n".to_owned();
    for at in 0..random.below(12) {
        let addr = |random: &mut Random| {
            let host = if six {
                v6(random)
            } else {
                v4(random).to_owned()
            };
            let port = [0, 22, 80, 53, 443, 1, 6, 17, 255][random.below(9)];
            format!("{host}:{port:04X}")
        };
        let (local, remote) = (addr(random), addr(random));
        let uid = [0, 1, 2, 7, 1000, 4_294_967_294_u32, u32::MAX][random.below(7)];
        text += &format!(
            "{at:4}: {local} {remote} 0A 00000000:00000000 00:00000000 00000000 {uid} 0 {at} 1 0\n"
        );
    }
    text
}

fn routes(random: &mut Random) -> String {
    let mut text =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
            .to_owned();
    for _ in 0..random.below(10) {
        let mask = ["00000000", "000000FF", "0000FFFF", "00FFFFFF", "FFFFFFFF"][random.below(5)];
        let flags = 1 + random.below(8);
        text += &format!(
            "eth0\t{}\t{}\t{flags:04X}\t0\t0\t0\t{mask}\t0\t0\t0\n",
            v4(random),
            v4(random)
        );
    }
    text
}

fn routes6(random: &mut Random) -> String {
    let addr = |random: &mut Random| match random.below(4) {
        0 => "0".repeat(32),
        1 => format!("{:032x}", 1),
        2 => "20010db8000000000000000000000005".to_owned(),
        _ => "00000000000000000000ffff0a010203".to_owned(),
    };
    let line = |random: &mut Random| {
        let (to, by) = (addr(random), addr(random));
        let bits = [0, 32, 64, 120, 128][random.below(5)];
        let zeros = "0".repeat(32);
        format!("{to} {bits:02x} {zeros} 00 {by} 00000400 00000001 00000000 00000001 eth0\n")
    };
    (0..random.below(8)).map(|_| line(random)).collect()
}

fn groups(random: &mut Random) -> String {
    let mut text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n".to_owned();
    for _ in 0..random.below(5) {
        let group = v4(random);
        text += &format!("\t\t\t\t{group}     1 0:00000000\t\t0\n");
    }
    text
}

#[test]
fn names_are_those_of_the_reference() {
    Bench::run(|bench| {
        // Nothing is asked of a server: there, `resolver` listens.
        let covers = ["hosts", "networks", "services", "protocols", "passwd"];
        for file in covers {
            bench.cover_file(&format!("/etc/{file}"), "");
        }
        bench.cover_file(
            "/etc/nsswitch.conf",
            "passwd: files\nhosts: files\nnetworks: files\nservices: files\nprotocols: files\n",
        );
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            let random = &mut bench.random;
            let texts = [
                hosts(random),
                networks(random),
                services(random),
                protocols(random),
                passwd(random),
            ];
            for (file, text) in covers.into_iter().zip(texts) {
                bench.rewrite_cover(&format!("/etc/{file}"), &text);
            }
            for file in ["tcp", "udp", "udplite", "raw"] {
                for six in [false, true] {
                    let text = sockets(&mut bench.random, six);
                    bench.write(&format!("net/{file}{}", if six { "6" } else { "" }), text);
                }
            }
            let random = &mut bench.random;
            let texts = [routes(random), routes6(random), groups(random)];
            for (file, text) in ["route", "ipv6_route", "igmp"].into_iter().zip(texts) {
                bench.write(&format!("net/{file}"), text);
            }
            for first in ["at", "au", "aUw", "a", "r", "r6", "g", "rg"] {
                let options = bench.random.options(first, "eWN");
                let long = [
                    &[][..],
                    &["--numeric-hosts"],
                    &["--numeric-ports"],
                    &["--numeric-users"],
                    &["-A", "inet,inet6"],
                ];
                let more = long[bench.random.below(long.len())];
                bench.compare(&[&[options.as_str()][..], more].concat());
            }
        }
    });
}
