//! `-r`

use netstat_tests::fixture::{Bench, Random, cases};

const FIB: &str =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
const CACHE: &str = "Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\t\
                     Window\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst\n";
const FIRST: &str = "eth0\t0001A8C0\t0101A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0";
const INTERFACES: [&str; 5] = ["lo", "eth0", "eth12.4094", "fifteen-letters", "*"];

fn v4(random: &mut Random) -> String {
    let number = match random.below(6) {
        0 => 0,
        1 => 0x0100_007f,
        2 => 0x7f,
        3 => 0xfea9,
        4 => random.number() & 0xffff,
        _ => random.number() & 0xffff_ffff,
    };
    format!("{number:08X}")
}

fn number(random: &mut Random) -> String {
    match random.below(4) {
        0 => format!("-{}", random.below(100)),
        1 => (random.extreme() & 0xffff_ffff).to_string(),
        _ => random.below(2000).to_string(),
    }
}

fn line(random: &mut Random, cache: bool) -> String {
    let iface = random.pick(&INTERFACES);
    let flags = if random.once_in(3) {
        random.number() as u32
    } else {
        1 | random.below(8) as u32
    };
    let mask = if cache {
        v4(random)
    } else {
        format!(
            "{:08X}",
            u32::MAX.checked_shr(random.below(33) as u32).unwrap_or(0)
        )
    };
    let mut fields = vec![
        iface.to_owned(),
        v4(random),
        v4(random),
        format!("{flags:04X}"),
    ];
    fields.extend((0..3).map(|_| number(random)));
    fields.push(mask);
    fields.extend((0..3).map(|_| number(random)));
    if cache {
        fields.extend((0..3).map(|_| number(random)));
        fields.push(v4(random));
    }
    // Of a short line of the cache the reference prints what its memory holds.
    if !cache && random.once_in(20) {
        fields.truncate(random.below(fields.len()));
    }
    fields.join("\t") + "\n"
}

fn line6(random: &mut Random) -> String {
    let mut addr = |zero: bool| -> String {
        (0..8)
            .map(|at| match random.below(3) {
                _ if zero => 0,
                0 => 0,
                1 if at == 5 => 0xffff,
                _ => random.number() as u16,
            })
            .map(|group| format!("{group:04x}"))
            .collect()
    };
    let (destination, source, next_hop) = (addr(false), addr(true), addr(false));
    let (prefix, hop) = (
        random.below(129),
        if random.once_in(2) {
            addr_zero()
        } else {
            next_hop
        },
    );
    let [metric, references, uses] = [(); 3].map(|()| random.extreme() as u32);
    let flags = if random.once_in(3) {
        random.number() as u32
    } else {
        1 | random.below(8) as u32
    };
    let iface = random.pick(&INTERFACES);
    format!(
        "{destination} {prefix:02x} {source} 00 {hop} {metric:08x} {references:08x} {uses:08x} \
         {flags:08x} {iface:>8}\n"
    )
}

fn addr_zero() -> String {
    "0".repeat(32)
}

#[test]
fn routes_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            let random = &mut bench.random;
            let count = random.below(8);
            let mut fib = format!("{FIB}{FIRST}\n");
            let mut cache = format!("{CACHE}{FIRST}\t0\t0\t0\t0001A8C0\n");
            let mut six = String::new();
            for _ in 0..count {
                fib += &line(random, false);
                cache += &line(random, true);
                six += &line6(random);
            }
            match random.below(20) {
                0 => fib.clear(),
                1 => fib = fib.replace("Flags", "Floss"),
                2 => fib = FIB.to_owned(),
                _ => {}
            }
            for (file, text) in [("route", fib), ("rt_cache", cache), ("ipv6_route", six)] {
                if !bench.random.once_in(25) {
                    bench.write(&format!("net/{file}"), text);
                }
            }
            for first in ["r", "rF", "rC", "rFC", "r6", "r6C", "r6FC"] {
                let options = bench.random.options(first, "nNveeeeWao");
                bench.compare(&[&options]);
            }
        }
    });
}

#[test]
fn families_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        bench.write("net/route", format!("{FIB}{FIRST}\n"));
        bench.write("net/ipv6_route", "");
        const FAMILIES: [&str; 14] = [
            "ax25",
            "ip",
            "ip6",
            "ipx",
            "rose",
            "ddp",
            "netrom",
            "inet",
            "inet6",
            "unix",
            "econet",
            "x25",
            "ash",
            "bluetooth",
        ];
        for first in FAMILIES {
            for second in FAMILIES {
                bench.compare(&["-rn", "-A", &format!("{first},{second}")]);
                bench.compare(&["-s", "-A", &format!("{first},{second}")]);
            }
        }
    });
}
