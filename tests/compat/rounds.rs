//! `-c`: the first rounds of both programs.

use netstat_tests::fixture::Bench;

use crate::options;

/// Options, and the line with which each round begins.
const LISTS: [(&[&str], &str); 9] = [
    (&["-rc"], "Kernel IP routing table"),
    (&["-rnec"], "Kernel IP routing table"),
    (&["-6rnc"], "Kernel IPv6 routing table"),
    (&["-rnc", "-A", "inet,inet6"], "Kernel IP routing table"),
    (&["-rFCc"], "Kernel IP routing table"),
    (&["-ic"], "Iface "),
    (&["-iac"], "Iface "),
    (&["-Mnc"], "IP masquerading entries"),
    (&["-Mnec"], "IP masquerading entries"),
];

#[test]
fn rounds_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        options::fixture(bench);
        bench.write("net/rt_cache", "Iface Destination Gateway Flags RefCnt Use Metric Source MTU Window IRTT TOS HHRef HHUptod SpecDst\n");
        let zeros = "0".repeat(32);
        bench.write(
            "net/ipv6_route",
            format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 00000001 eth0\n"),
        );
        bench.write(
            "net/ip_masquerade",
            "Prc FromIP   FPrt ToIP     TPrt Masq Init-seq  Delta PDelta Expires\n\
             TCP 0100007F:0016 0200007F:0017 F000 00000000      0      0    1234\n",
        );
        bench.write(
            "net/dev",
            "Inter-|   Receive  |  Transmit\n face |bytes    packets errs drop fifo frame compressed \
             multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
             lo:       1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
        );
        for (arguments, first) in LISTS {
            bench.compare_rounds(arguments, first);
        }
        // These end by themselves.
        for arguments in [["-sc"], ["-s6c"], ["-rcAx25"]] {
            bench.compare(&arguments);
        }
    });
}

/// The reference's second round of groups is garbage; ours is as the first of both.
#[test]
fn every_round_of_groups_is_the_references_first() {
    Bench::run(|bench| {
        bench.cover_proc();
        options::fixture(bench);
        bench.write(
            "net/igmp",
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n",
        );
        let real = bench.real(&["-gn"]);
        let [_, ours] = bench.rounds(&["-gnc"], "IPv6/IPv4 Group Memberships");
        assert_eq!(ours, real.repeat(2));
        bench.compare(&["-gn"]);
    });
}
