//! `-i`: real interfaces for the ioctls, a fixture for the counters and IPv6 addresses.

use std::{fs::File, os::fd::AsRawFd as _, process::Command};

use netstat_tests::fixture::{Bench, Random, cases};

const HEADER: &str =
    "Inter-|   Receive                                                |  Transmit\n";
const COLUMNS: [&str; 3] = [
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop \
     fifo colls carrier compressed\n",
    " face |bytes    packets errs drop fifo frame|bytes    packets errs drop fifo colls carrier\n",
    " face |packets errs drop fifo frame|packets errs drop fifo colls carrier\n",
];
const NAMES: [&str; 14] = [
    "lo",
    "eth0",
    "eth1",
    "eth02",
    "eth2",
    "eth10",
    "b2a",
    "b10a",
    "Z9",
    "aaa",
    "eth",
    "a-b.4094",
    "fifteen-letters",
    "br0",
];

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ip {arguments}"
    );
}

fn make_interfaces() {
    ip("link set lo up");
    for (at, pair) in NAMES[1..13].chunks(2).enumerate() {
        ip(&format!(
            "link add {} type veth peer name {}",
            pair[0], pair[1]
        ));
        ip(&format!("link set {} up", pair[0]));
        ip(&format!("addr add 10.{at}.0.1/24 brd + dev {}", pair[0]));
        ip(&format!(
            "addr add 10.{at}.1.1/28 dev {} label {}:{}",
            pair[0],
            pair[0],
            10 - at
        ));
    }
    ip("addr add 192.0.2.1 peer 192.0.2.2 dev eth0 label eth0:web");
    ip("link set eth0 promisc on");
    ip("link set eth1 allmulticast on");
    ip("link set eth1 mtu 1280");
    ip("link set eth02 arp off multicast off");
    ip("link set aaa txqueuelen 7");
}

fn counters(random: &mut Random) -> String {
    let columns = if random.once_in(2) {
        COLUMNS[0]
    } else {
        COLUMNS[random.below(3)]
    };
    let mut text = format!("{HEADER}{columns}");
    for name in NAMES.iter().take(13) {
        if random.once_in(4) {
            continue;
        }
        let count = if random.once_in(6) {
            random.below(17)
        } else {
            16
        };
        let values: Vec<_> = (0..count)
            .map(|_| match random.below(3) {
                0 => (1 << (10 * random.below(7))) + random.below(3) as u64,
                _ => random.extreme(),
            })
            .map(|value: u64| value.to_string())
            .collect();
        let blank = random.pick(&["", " ", "   "]);
        text += &format!("{name:>6}:{blank}{}\n", values.join(" "));
        if random.once_in(40) {
            text += random.pick(&["gone0: 1 2 3\n", "eth0:10: 1 2 3 4\n", "\n"]);
        }
    }
    text
}

fn inet6(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(6) {
        let high = if random.once_in(2) {
            0
        } else {
            random.number()
        };
        let low = random.extreme();
        let (prefix, scope) = (random.below(129), random.below(16) * 16);
        let name = random.pick(&NAMES);
        text += &format!("{high:016x}{low:016x} 01 {prefix:02x} {scope:02x} 80 {name:>8}\n");
    }
    text
}

#[test]
fn interfaces_are_told_alike() {
    Bench::run(|bench| {
        make_interfaces();
        for arguments in ["-i", "-ia", "-ie", "-iae", "-iaeeen"] {
            bench.compare(&[arguments]);
        }
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            let (dev, addrs) = (counters(&mut bench.random), inet6(&mut bench.random));
            bench.write("net/if_inet6", addrs);
            if !bench.random.once_in(20) {
                bench.write("net/dev", dev);
            }
            for first in ["i", "ie", "ia", "iae"] {
                let options = bench.random.options(first, "nvWNt");
                bench.compare(&[&options]);
            }
        }
    });
}

/// The types that tun knows, but for GRE (778): of its address the kernel fills four bytes, and the
/// reference prints four more from its stack.
const TYPES: [u16; 26] = [
    0, 1, 3, 7, 15, 27, 32, 256, 257, 258, 259, 264, 270, 271, 512, 513, 516, 768, 769, 770, 772,
    774, 776, 780, 783, 65534,
];

#[test]
fn link_layers_are_told_alike() {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const TUNSETLINK: libc::c_ulong = 0x4004_54cd;
    const TAP: u16 = 0x2 | 0x1000;
    Bench::run(|bench| {
        let mut open = Vec::new();
        for (at, kind) in TYPES.into_iter().enumerate() {
            let name = format!("tap{at}");
            let tun = File::options().read(true).write(true).open("/dev/net/tun");
            let tun = tun.expect("/dev/net/tun");
            let mut request = [0_u8; 40];
            request[..name.len()].copy_from_slice(name.as_bytes());
            request[16..18].copy_from_slice(&TAP.to_ne_bytes());
            // SAFETY: the kernel reads and writes one ifreq, 40 bytes.
            let made = unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
            assert_eq!(made, 0, "TUNSETIFF {name}");
            ip(&format!("link set {name} address 86:a2:9a:a4:60:e6"));
            // SAFETY: the argument is a number.
            let set = unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETLINK, libc::c_int::from(kind)) };
            assert_eq!(set, 0, "TUNSETLINK {kind}");
            open.push(tun);
        }
        bench.compare(&["-iae"]);
        bench.compare(&["-ia"]);
        drop(open);
    });
}
