//! Rows of tcp, udp, udplite, raw and sctp.

use netstat_tests::fixture::{Bench, Random, cases};

use crate::processes;

const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

fn addr(random: &mut Random, six: bool) -> String {
    let word = |random: &mut Random| match random.below(4) {
        0 | 1 => 0,
        2 => 0x0100_007f,
        _ => random.number() as u32,
    };
    if !six {
        return format!("{:08X}", word(random));
    }
    let mut words = [(); 4].map(|()| word(random));
    match random.below(4) {
        0 => words[..3].copy_from_slice(&[0, 0, 0xffff_0000]),
        1 => words = [0, 0, 0, words[3]],
        _ => {}
    }
    words.map(|word| format!("{word:08X}")).concat()
}

fn row(random: &mut Random, at: usize, six: bool) -> String {
    let port = |random: &mut Random| match random.below(4) {
        0 => 0,
        1 => random.pick(&[&22_u64, &80, &53, &443, &1]).to_owned(),
        _ => random.number() & 0xffff,
    };
    let (local, remote) = (addr(random, six), addr(random, six));
    let (from, to) = (port(random), port(random));
    let state = if random.once_in(3) {
        7
    } else {
        1 + random.below(11)
    };
    let [tx, rx, when, retries] = [(); 4].map(|()| random.extreme() as u32);
    let timer = if random.once_in(6) {
        random.below(256)
    } else {
        random.below(5)
    };
    let uid = random.extreme() as u32;
    let probes = random.extreme() as i32;
    let inode = if random.once_in(2) {
        random.below(40) as u64
    } else {
        random.extreme()
    };
    let mut text = format!(
        "{at:4}: {local}:{from:04X} {remote}:{to:04X} {state:02X} {tx:08X}:{rx:08X} \
         {timer:02X}:{when:08X} {retries:08X} {uid:5} {probes:8} {inode} 1 0000000000000000 100 0"
    );
    match random.below(40) {
        // Not later: of a missing inode the reference prints what its memory holds.
        0 => text.truncate(random.below(40)),
        1 => text = random.pick(&["", "bogus", "1: 2 3", "  "]).to_owned(),
        2 => text = text.replace(' ', "\t"),
        _ => {}
    }
    text + "\n"
}

fn table(random: &mut Random, six: bool) -> String {
    let count = random.below(7);
    (0..count).fold(HEADER.to_owned(), |text, at| text + &row(random, at, six))
}

#[test]
fn socket_rows_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            processes::some(bench);
            for file in ["tcp", "udp", "udplite", "raw"] {
                for six in [false, true] {
                    let text = table(&mut bench.random, six);
                    if !bench.random.once_in(12) {
                        bench.write(&format!("net/{file}{}", if six { "6" } else { "" }), text);
                    }
                }
            }
            if bench.random.once_in(2) {
                let (endpoints, associations) = sctp(&mut bench.random);
                bench.write("net/sctp/eps", endpoints);
                bench.write("net/sctp/assocs", associations);
            }
            for first in ["an", "n", "nt", "nu", "nU", "nw", "na6", "a4"] {
                let options = bench.random.options(first, "aleopWtuUSw46gv");
                bench.compare(&[&options]);
            }
            let long =
                bench
                    .random
                    .pick(&["--numeric-hosts", "--numeric-ports", "--numeric-users"]);
            let options = bench.random.options("a", "nepoWtuw4");
            bench.compare(&[&options, long]);
        }
    });
}

/// IPv4 only: the reference keeps IPv6 addresses in too small a place and prints half of them from
/// what happens to follow it.
fn sctp(random: &mut Random) -> (String, String) {
    let mut endpoints = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n".to_owned();
    let mut associations =
        " ASSOC     SOCK   STY SST ST HBKT ASSOC-ID TX_QUEUE RX_QUEUE UID INODE \
                            LPORT RPORT LADDRS <-> RADDRS HBINT INS OUTS MAXRT\n"
            .to_owned();
    let addrs = |random: &mut Random| {
        let mut text = String::new();
        for _ in 0..random.below(3) {
            text += random.pick(&["127.0.0.1 ", "*10.1.2.3 ", "192.168.255.255 ", "0.0.0.0 "]);
        }
        text
    };
    for _ in 0..random.below(4) {
        let (state, port, inode) = (random.below(13), random.below(65536), random.below(40));
        let uid = random.extreme() as u32;
        let locals = addrs(random);
        let remotes = addrs(random);
        endpoints += &format!("0 0 2   {state} 8 {port} {uid} {inode} {locals}\n");
        let [tx, rx] = [(); 2].map(|()| random.extreme() as u32);
        associations += &format!(
            "0 0 2   1 {state} 8 1 {tx} {rx} {uid} {inode} {port} {port} {locals} <-> {remotes}\t 7500 10 10 10\n"
        );
    }
    (endpoints, associations)
}
