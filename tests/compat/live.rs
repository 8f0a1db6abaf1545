//! Scenarios of section 17 in their live form: `-c` from the kernel, of which every round is to be as
//! the reference's list, but for the order of TCP rows.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::AsRawFd as _,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream},
    },
};

use netstat_tests::fixture::Bench;

use crate::scenarios::{Sockets, ip, socket};

/// Scenarios 1, 50 and 51.
#[test]
fn an_empty_namespace() {
    Bench::run(|bench| {
        bench.compare_live(&[
            "", "-a", "-l", "-an", "-x", "-anp", "-i", "-ia", "-6rn", "-anveo",
        ]);
        ip("link set lo up");
        ip("route add 192.0.2.0/24 dev lo");
        bench.compare_live(&["-rn", "-ree", "-an", "-ie"]);
        ip("route del 192.0.2.0/24 dev lo");
        bench.compare_live(&["-rn", "-g"]);
        // What ends by itself ends in the same way.
        for line in [
            "-rc -A inet,unix",
            "-ctSu",
            "-sc",
            "-Mc",
            "-c2",
            "-cA foo",
            "-ct --ax25",
        ] {
            let arguments: Vec<_> = line.split_whitespace().collect();
            for source in ["proc", "kernel"] {
                bench.compare_with(&arguments, |command| {
                    command.env("NETSTAT_BPF_SOURCE", source);
                });
            }
        }
    });
}

/// Scenarios 2 to 5, 7, 28, 29, 31 and 32.
#[test]
fn internet_sockets() {
    Bench::run(|bench| {
        ip("link set lo up");
        let sockets = Sockets::open();
        bench.compare_live(&[
            "-ant", "-tn", "-tnp", "-tne", "-anpt", "-antW", "-lt", "-tulpen", "-lnt4", "-ltn6",
            "-anpeW", "-t -n 5",
        ]);
        bench.compare_live(&[
            "-nu", "-lnu", "-anu", "-anuW", "-anuo", "-anU", "-anw", "-aw", "-anp4", "-anp6",
        ]);
        drop(sockets);
        // New rows and lost ones are told by the next to ask.
        bench.compare_live(&["-anpt", "-anu"]);
    });
}

/// Scenarios 11, 49 and 50.
#[test]
fn unix_sockets() {
    Bench::run(|bench| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let listener = UnixListener::bind(path("listener")).expect("bind");
        let waiting = UnixStream::connect(path("listener")).expect("connect");
        let pair = UnixStream::pair().expect("a pair");
        let datagrams = UnixDatagram::pair().expect("a pair");
        let packets = socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0);
        let room = 107 - directory.path().as_os_str().len() - 1;
        let names = ["sp ace", "n\u{e4}me", "tab\tin it", &"n".repeat(room)];
        let paths = names.map(|name| UnixListener::bind(path(name)).expect("bind"));
        let abstracts = [&b"abstract"[..], b" leading", b"nul\0inside", b"\0"].map(|name| {
            let address = UnixAddr::from_abstract_name(name).expect("a name");
            UnixListener::bind_addr(&address).expect("bind")
        });
        bench.compare_live(&["-x", "-lx", "-ax", "-axp", "-xe", "-xo", "-anp", "-axv"]);
        drop((
            listener, waiting, pair, datagrams, packets, paths, abstracts,
        ));
        bench.compare_live(&["-ax"]);
    });
}

/// Scenarios 13 to 15, and 52.
#[test]
fn routes_groups_and_interfaces() {
    Bench::run(|bench| {
        for line in [
            "link set lo up",
            "link add fifteen-letters type veth peer name p1",
            "link set fifteen-letters up",
            "link set p1 up",
            "addr add 192.0.2.2/24 brd + dev fifteen-letters",
            "addr add 192.0.2.3/24 brd + dev p1 label p1:1",
            "addr add 2001:db8::2/64 dev fifteen-letters nodad",
            "route add default via 192.0.2.1",
            "route add unreachable 198.51.100.0/25",
            "route add 0.0.0.0/1 via 192.0.2.7 metric 4294967295",
            "-6 route add 2001:db8:1::/48 via 2001:db8::1",
        ] {
            ip(line);
        }
        let member = UdpSocket::bind("0.0.0.0:0").expect("bind");
        let group = [224, 1, 2, 3].into();
        member
            .join_multicast_v4(&group, &[192, 0, 2, 2].into())
            .expect("join");
        // Devices come to rest: their counters move for some seconds.
        bench.compare_live(&[
            "-rn",
            "-re",
            "-ree",
            "-reee",
            "-reeee",
            "-r6n",
            "-rC",
            "-rFC",
            "-A inet6,inet -rn",
            "-gn",
            "-g -4 -n",
            "-i",
            "-ia",
            "-ie",
            "-iae",
        ]);
    });
}

/// Scenarios 34, 35 and 38: names in every round.
#[test]
fn names_of_the_system() {
    Bench::run(|bench| {
        ip("link set lo up");
        bench.cover_file(
            "/etc/hosts",
            "127.0.0.1 localhost\n127.0.0.1 other\n::1 six\n",
        );
        bench.cover_file(
            "/etc/services",
            "first 7001/tcp\nsecond 7001/tcp\na-service-with-thirty-six-characters 7006/tcp\nrawone 1/raw\n",
        );
        bench.cover_file(
            "/etc/passwd",
            "root:x:0:0::/:/bin/sh\nalonglonglonglogin:x:4242:4242::/:/bin/sh\n",
        );
        let mut sockets = Vec::new();
        for (at, uid) in [(7001, 4242), (7002, 77), (7006, 4_294_967_294_u32)] {
            for host in ["127.0.0.1", "[::1]"] {
                let listener = TcpListener::bind(format!("{host}:{at}")).expect("bind");
                // SAFETY: no pointers.
                let done = unsafe { libc::fchown(listener.as_raw_fd(), uid, uid) };
                assert_eq!(done, 0, "chown a socket to {uid}");
                let caller = TcpStream::connect(format!("{host}:{at}")).expect("connect");
                sockets.push((listener, caller));
            }
        }
        bench.compare_live(&[
            "-at",
            "-lt",
            "-ate",
            "-atW",
            "-at --numeric-hosts",
            "-at --numeric-ports",
            "-ate --numeric-users",
            "-aw",
        ]);
    });
}
