//! Multicast groups.

use netstat_tests::fixture::{Bench, Random, cases};

const HEADER: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n";
const DEVICES: [&str; 4] = ["lo", "eth0", "fifteen-letters", "eth12.4094"];

fn v4(random: &mut Random) -> String {
    let mut text = HEADER.to_owned();
    for index in 1..=random.below(4) {
        let device = random.pick(&DEVICES);
        let count = random.below(4);
        text += &format!("{index}\t{device:<10}:{count:6}      V3\n");
        for _ in 0..count {
            let (group, users) = (random.extreme() as u32, random.extreme() as i32);
            text += &format!("\t\t\t\t{group:08X} {users:5} 0:00000000\t\t0\n");
        }
        if random.once_in(12) {
            text += random.pick(&["bogus\n", "\n", "\t\t\t\tzz\n", "\t1\n", "7\n"]);
        }
    }
    text
}

fn v6(random: &mut Random) -> String {
    let mut text = String::new();
    for index in 1..=random.below(6) {
        let device = random.pick(&DEVICES);
        let (high, low) = (random.number(), random.extreme());
        let users = random.extreme() as i32;
        text += &format!("{index:<4} {device:<15} {high:016x}{low:016x} {users:5} 0000000C 0\n");
        if random.once_in(12) {
            text += random.pick(&["bogus\n", "\n", "1 lo ff02\n"]);
        }
    }
    text
}

#[test]
fn groups_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            let (four, six) = (v4(&mut bench.random), v6(&mut bench.random));
            bench.write("net/x", "");
            if !bench.random.once_in(15) {
                bench.write("net/igmp", four);
            }
            if !bench.random.once_in(15) {
                bench.write("net/igmp6", six);
            }
            for first in ["g", "gn"] {
                let options = bench.random.options(first, "aelW46v");
                bench.compare(&[&options]);
            }
        }
    });
}
