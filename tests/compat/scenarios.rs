//! Sockets, routes, groups and counters of a real kernel, in a namespace of their own: the bytes, the
//! order of the rows included. What moves or needs a peer is in the kernel tests.

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream},
    },
    process::Command,
};

use netstat_tests::{fixture::Bench, wait};

pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    let output = output.expect("run ip (remedy: apt-get install iproute2)");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// A socket that std does not make.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> OwnedFd {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    assert!(
        fd >= 0,
        "socket {family} {kind} {protocol}: {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: the descriptor is new.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn v4(address: [u8; 4], port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address),
        },
        sin_zero: [0; 8],
    }
}

/// `bind` or `connect`, by which of them is given.
fn address_call(
    call: unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> i32,
    fd: &OwnedFd,
    address: [u8; 4],
    port: u16,
) {
    let address = v4(address, port);
    let size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is as long as is said.
    let done = unsafe { call(fd.as_raw_fd(), (&raw const address).cast(), size) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// From both sources of rows.
fn compare(bench: &mut Bench, lines: &[&str]) {
    for line in lines {
        let arguments: Vec<_> = line.split_whitespace().collect();
        for source in ["proc", "kernel"] {
            bench.compare_with(&arguments, |command| {
                command.env("NETSTAT_BPF_SOURCE", source);
            });
        }
    }
}

/// Scenarios 1 and 51.
#[test]
fn an_empty_namespace() {
    Bench::run(|bench| {
        compare(
            bench,
            &[
                "", "-a", "-l", "-an", "-x", "-g", "-s", "-s -6", "-i", "-ia", "-r", "-rn", "-rc",
                "-6rn", "-M", "-v", "-anpteo",
            ],
        );
        ip("link set lo up");
        ip("route add 192.0.2.0/24 dev lo");
        compare(bench, &["-r", "-rn"]);
        ip("route del 192.0.2.0/24 dev lo");
        compare(bench, &["-r", "-rn", "-i"]);
    });
}

/// Scenarios 2, 3, 4, 28 and 29.
#[test]
fn tcp_sockets_in_their_order() {
    Bench::run(|bench| {
        ip("link set lo up");
        let low = [
            TcpListener::bind("127.0.0.1:22"),
            TcpListener::bind("[::1]:22"),
        ];
        compare(bench, &["-ltn", "-lt", "-tulpen", "-lnt4", "-lnt6"]);
        let listener = TcpListener::bind("[::]:0").expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let mut ends = Vec::new();
        for at in 0..40 {
            let host = if at % 2 == 0 { "127.0.0.1" } else { "::1" };
            let client = TcpStream::connect((host, port)).expect("connect");
            let (server, _) = listener.accept().expect("accept");
            ends.push((client, server));
        }
        for (mut client, server) in ends.drain(..10) {
            // The end that closes first waits; the other reads that.
            drop(server);
            assert_eq!(std::io::Read::read(&mut client, &mut [0]).expect("read"), 0);
        }
        let more: Vec<_> = (0..30)
            .map(|at| {
                TcpListener::bind(if at % 3 == 0 {
                    "[::1]:0"
                } else {
                    "127.0.0.1:0"
                })
            })
            .collect();
        compare(
            bench,
            &[
                "-ant", "-tn", "-tnp", "-tne", "-anpt", "-t", "-at", "-aW", "-lntpe", "-n4", "-an6",
            ],
        );
        const MPTCP: i32 = 262;
        let mptcp = socket(libc::AF_INET, libc::SOCK_STREAM, MPTCP);
        address_call(libc::bind, &mptcp, [127, 0, 0, 1], 4000);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::listen(mptcp.as_raw_fd(), 4) }, 0);
        let caller = socket(libc::AF_INET, libc::SOCK_STREAM, MPTCP);
        address_call(libc::connect, &caller, [127, 0, 0, 1], 4000);
        compare(bench, &["-antp"]);
        drop((low, more, ends));
    });
}

/// Scenarios 5 to 9, and 12.
#[test]
fn datagram_and_raw_sockets_in_their_order() {
    Bench::run(|bench| {
        ip("link set lo up");
        ip("addr add 2001:db8:1234:5678::1/64 dev lo nodad");
        let mut sockets: Vec<UdpSocket> = (0..40)
            .map(|at| {
                UdpSocket::bind(if at % 2 == 0 {
                    "127.0.0.1:0"
                } else {
                    "[::1]:0"
                })
            })
            .map(|socket| socket.expect("bind"))
            .collect();
        for last in 1..7 {
            sockets.push(UdpSocket::bind(format!("127.0.0.{last}:5000")).expect("bind"));
        }
        for (own, other) in [
            ("127.0.0.1:0", "127.0.0.1:5000"),
            ("[::]:0", "[2001:db8:1234:5678::1]:443"),
            ("[::]:0", "[::1]:53"),
            ("[::]:0", "[::ffff:127.0.0.1]:5000"),
        ] {
            let socket = UdpSocket::bind(own).expect("bind");
            socket.connect(other).expect("connect");
            sockets.push(socket);
        }
        sockets.push(UdpSocket::bind("[::ffff:127.0.0.1]:5004").expect("bind"));
        let udplite = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE);
        address_call(libc::bind, &udplite, [127, 0, 0, 1], 4321);
        let connected = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE);
        address_call(libc::connect, &connected, [127, 0, 0, 1], 4321);
        let unbound = socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        let raw = [
            (libc::AF_INET, libc::IPPROTO_ICMP),
            (libc::AF_INET, libc::IPPROTO_TCP),
            (libc::AF_INET, libc::IPPROTO_RAW),
            (libc::AF_INET6, libc::IPPROTO_ICMPV6),
        ]
        .map(|(family, protocol)| socket(family, libc::SOCK_RAW, protocol));
        let raw_connected = socket(libc::AF_INET, libc::SOCK_RAW, 89);
        address_call(libc::connect, &raw_connected, [127, 0, 0, 1], 0);
        // Something to read on the raw sockets, and errors to count.
        let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
        client.send_to(b"queued", "127.0.0.1:5000").expect("send");
        client.send_to(b"refused", "127.0.0.1:9").expect("send");
        let refused = TcpStream::connect("127.0.0.1:9");
        assert!(refused.is_err(), "nobody listens on port 9");
        compare(
            bench,
            &[
                "-anu", "-nu", "-lnu", "-au", "-anU", "-anUo", "-anuo", "-anw", "-aw", "-wneo",
                "-anp", "-anuW", "-an6", "-ln4", "-aneuwUo",
            ],
        );
        compare(
            bench,
            &[
                "-s", "-st", "-su", "-sw", "-sU", "-sS", "-s6", "-s6t", "-s6u", "-s6w",
            ],
        );
        drop((unbound, raw));
    });
}

/// Scenarios 11, 49 and 50, but for control bytes, which are printed as `?` on purpose.
#[test]
fn unix_sockets_in_their_order() {
    Bench::run(|bench| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let listener = UnixListener::bind(path("listener")).expect("bind");
        let waiting = UnixStream::connect(path("listener")).expect("connect");
        let pair = UnixStream::pair().expect("a pair");
        let (half, other) = UnixStream::pair().expect("a pair");
        half.shutdown(std::net::Shutdown::Write).expect("shut down");
        let datagrams = UnixDatagram::pair().expect("a pair");
        let bound = UnixDatagram::bind(path("dgram")).expect("bind");
        let called = UnixDatagram::unbound().expect("a socket");
        called.connect(path("dgram")).expect("connect");
        let packets = socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0);
        let family = (libc::AF_UNIX as u16).to_ne_bytes();
        // SAFETY: two bytes of an address: the kernel chooses the name.
        let done = unsafe { libc::bind(packets.as_raw_fd(), family.as_ptr().cast(), 2) };
        assert_eq!(done, 0, "autobind");
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::listen(packets.as_raw_fd(), 4) }, 0);
        let long = "n".repeat(90);
        let names = ["sp ace", "n\u{e4}me", "-rf", "%s%n", &long];
        let paths = names.map(|name| UnixListener::bind(path(name)));
        let abstracts = [&b"abstract"[..], b" leading", b"nul\0inside", b"\0"].map(|name| {
            let address = UnixAddr::from_abstract_name(name).expect("a name");
            UnixListener::bind_addr(&address).expect("bind")
        });
        compare(
            bench,
            &[
                "-x", "-lx", "-ax", "-axp", "-xe", "-xo", "-anp", "-ln", "-xW", "-axv",
            ],
        );
        drop((waiting, pair, half, other, datagrams, bound, called));
        drop((listener, paths, abstracts));
    });
}

/// Scenarios 13, 14, 15 and 52.
#[test]
fn routes_groups_and_interfaces() {
    Bench::run(|bench| {
        ip("link set lo up");
        ip("link add fifteen-letters type veth peer name p1");
        ip("link add br0 type bridge");
        ip("link set p1 master br0");
        ip("tuntap add tun0 mode tun");
        for link in ["fifteen-letters", "p1", "br0", "tun0"] {
            ip(&format!("link set {link} up"));
        }
        ip("addr add 192.0.2.2/24 brd + dev fifteen-letters");
        ip("addr add 10.9.0.1 peer 10.9.0.2 dev tun0");
        ip("addr add 2001:db8::2/64 dev fifteen-letters nodad");
        for route in [
            "default via 192.0.2.1",
            "unreachable 198.51.100.0/25",
            "prohibit 198.51.100.128/25",
            "blackhole 203.0.113.0/25",
            "throw 203.0.113.128/25",
            "0.0.0.0/1 via 192.0.2.7 metric 4294967295",
            "100.64.0.0/10 via 192.0.2.9 mtu 1300 window 7000 rtt 200ms advmss 1000",
            "100.128.0.1/32 dev fifteen-letters",
            "172.16.0.0/12 nexthop via 192.0.2.3 nexthop via 192.0.2.4",
        ] {
            ip(&format!("route add {route}"));
        }
        for route in [
            "2001:db8:1::/48 via 2001:db8::1",
            "unreachable 2001:db8:2::/48",
            "blackhole 2001:db8:3::/48",
            "::ffff:1.2.3.0/120 dev fifteen-letters",
        ] {
            ip(&format!("-6 route add {route}"));
        }
        let member = UdpSocket::bind("0.0.0.0:0").expect("bind");
        member
            .join_multicast_v4(&[224, 1, 2, 3].into(), &[192, 0, 2, 2].into())
            .expect("join");
        compare(
            bench,
            &[
                "-rn",
                "-r",
                "-re",
                "-ree",
                "-reee",
                "-reeee",
                "-r6n",
                "-r6",
                "-rC",
                "-r6C",
                "-rFC",
                "-rn -A inet6,inet",
                "-rnN",
                "-gn",
                "-g",
                "-g -4",
                "-g -6",
                "-i",
                "-ia",
                "-ie",
                "-iae",
                "-rW",
            ],
        );
    });
}

/// Scenarios 34, 35, 38 and 39: names that the system knows.
#[test]
fn names_of_the_system() {
    Bench::run(|bench| {
        ip("link set lo up");
        let long = "a".repeat(47);
        bench.cover_file(
            "/etc/hosts",
            &format!(
                "127.0.0.1 localhost\n127.0.0.2 {long}\n127.0.0.3 second alias\n127.0.0.3 third\n\
                 ::1 six\n2001:db8::5 {long}\n192.0.2.9 gate\n"
            ),
        );
        bench.cover_file(
            "/etc/services",
            "first 7001/tcp\nsecond 7001/tcp\nudponly 7002/udp\nUPPER 7003/TCP\n\
             a-name-of-eighteen 7004/tcp\na-name-of-nineteen- 7005/tcp\n\
             a-service-with-thirty-six-characters 7006/tcp\nrawone 1/raw\n",
        );
        bench.cover_file(
            "/etc/networks",
            "loopback 127.0.0.0\nwide 10.0.0.0\nexact 192.0.2.0\n",
        );
        bench.cover_file(
            "/etc/passwd",
            "root:x:0:0::/:/bin/sh\nalonglonglonglogin:x:4242:4242::/:/bin/sh\n",
        );
        let mut sockets = Vec::new();
        for port in 7000..7008 {
            for host in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
                sockets.push(TcpListener::bind((host, port)).expect("bind"));
            }
            sockets.push(TcpListener::bind(format!("[::1]:{port}")).expect("bind"));
        }
        let udp = UdpSocket::bind("127.0.0.2:7002").expect("bind");
        let raw = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
        let users = [4242, 77, 4_294_967_294].map(|uid: u32| {
            let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
            // SAFETY: no pointers.
            let done = unsafe { libc::fchown(socket.as_raw_fd(), uid, uid) };
            assert_eq!(done, 0, "chown a socket to {uid}");
            socket
        });
        ip("link add eth0 type veth peer name eth1");
        ip("link set eth0 up");
        ip("link set eth1 up");
        ip("addr add 192.0.2.2/24 dev eth0");
        ip("route add 10.0.0.0/8 via 192.0.2.9");
        ip("route add default via 192.0.2.9");
        for line in [
            "-lt",
            "-ltW",
            "-lt --numeric-hosts",
            "-lt --numeric-ports",
            "-lte --numeric-users",
            "-lte",
            "-lu",
            "-lw",
            "-ltneN",
            "-a",
            "-g",
        ] {
            compare(bench, &[line]);
        }
        compare(bench, &["-r", "-re", "-rn", "-rN", "-6r"]);
        drop((udp, raw, users));
    });
}

/// Scenario 45: the holder of a socket has moved to another namespace.
#[test]
fn a_holder_in_another_namespace() {
    Bench::run(|bench| {
        ip("link set lo up");
        let listener = TcpListener::bind("127.0.0.1:6000").expect("bind");
        // SAFETY: no pointers. The copy is inherited: it is not closed on exec.
        let copy = unsafe { libc::dup(listener.as_raw_fd()) };
        let mut holder = Command::new("unshare")
            .args(["-n", "sleep", "1000"])
            .spawn()
            .expect("run unshare (remedy: apt-get install util-linux)");
        // SAFETY: the descriptor is ours.
        drop(unsafe { OwnedFd::from_raw_fd(copy) });
        drop(listener);
        let mut shown = String::new();
        let owned = wait::try_until(|| {
            shown = bench.real(&["-ltnp"]);
            shown
                .contains(&format!("{}/sleep", holder.id()))
                .then_some(())
        });
        assert!(owned.is_some(), "{shown}");
        compare(bench, &["-ltnp", "-antp"]);
        holder.kill().expect("kill the holder");
        holder.wait().expect("reap the holder");
    });
}

/// Scenario 57: an interface is gone between the list and the question.
#[test]
fn an_interface_that_is_gone() {
    Bench::run(|bench| {
        bench.cover_proc();
        bench.write(
            "net/dev",
            "Inter-|   Receive  |  Transmit\n face |bytes    packets errs drop fifo frame compressed \
             multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
             lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n gone0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
        );
        for arguments in ["-i", "-ia", "-ie", "-iae", "-ic"] {
            bench.compare(&[arguments]);
        }
    });
}

/// Scenario 63: a standard output that takes nothing.
#[test]
fn output_that_cannot_be_written() {
    Bench::run(|bench| {
        bench.cover_proc();
        crate::options::fixture(bench);
        for arguments in ["-an", "-rn", "-s", "-gn", "-i", "-V", "-h", "-k"] {
            bench.compare_with(&[arguments], |command| {
                let full = fs::File::options().write(true).open("/dev/full");
                command.stdout(full.expect("/dev/full"));
            });
            bench.compare_with(&[arguments], |command| {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                drop(reader);
                command.stdout(writer);
            });
            for script in [
                "exec -a netstat \"$0\" \"$@\" >&-",
                "exec -a netstat \"$0\" \"$@\" 2>&-",
                "exec -a netstat \"$0\" \"$@\" <&-",
            ] {
                bench.compare_through(script, &[arguments]);
            }
        }
    });
}

/// Scenario 63 and more: standard error in the same file or pipe falls between the same bytes.
#[test]
fn both_streams_in_one() {
    Bench::run(|bench| {
        bench.cover_proc();
        crate::options::fixture(bench);
        for rows in [0, 20, 50, 51, 102, 300] {
            let mut text = "header\n".to_owned();
            for inode in 0..rows {
                text += &format!(
                    "{inode:4}: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 \
                     00000000 0 0 {inode} 1 0 100 0 0 10 0\n"
                );
                if inode % 40 == 39 {
                    text += "bogus\n";
                }
            }
            bench.write("net/tcp", text);
            for line in ["-anv", "-an", "-tSn", "-tan", "-anx2", "-anvpeo", "-lnW"] {
                for script in [
                    "exec -a netstat \"$0\" \"$@\" 2>&1",
                    "exec -a netstat \"$0\" \"$@\" 2>&1 | cat",
                    "both=$(mktemp); (exec -a netstat \"$0\" \"$@\" > $both 2>&1); cat $both; rm $both",
                ] {
                    bench.compare_through(script, &[line]);
                }
            }
        }
    });
}

/// Internet sockets of every kind, in no state that ends by itself.
pub(crate) struct Sockets {
    _listeners: Vec<TcpListener>,
    _streams: Vec<TcpStream>,
    _datagrams: Vec<UdpSocket>,
    _others: Vec<OwnedFd>,
}

impl Sockets {
    /// Opens them in the caller's namespace, where `lo` is up.
    pub(crate) fn open() -> Self {
        ip("addr add 2001:db8:1234:5678::1/128 dev lo nodad");
        ip("addr add 2001:db8:1234:5678:9abc:def0:1234:5678/128 dev lo nodad");
        // The kernel adds an address first, and the route to it a moment later.
        for host in [
            "::1",
            "2001:db8:1234:5678::1",
            "2001:db8:1234:5678:9abc:def0:1234:5678",
        ] {
            wait::until(&format!("a route to {host}"), || {
                let socket = UdpSocket::bind("[::]:0").expect("bind");
                socket.connect((host, 9)).ok()
            });
        }
        let hosts = [
            "127.0.0.1:22",
            "[::1]:22",
            "[2001:db8:1234:5678::1]:443",
            "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535",
            "0.0.0.0:0",
        ];
        let mut listeners: Vec<_> = hosts
            .iter()
            .map(|host| TcpListener::bind(host).expect("listen"))
            .collect();
        let dual = TcpListener::bind("[::]:0").expect("listen");
        let port = dual.local_addr().expect("an address").port();
        let mut streams = Vec::new();
        for at in 0..12 {
            let host = ["127.0.0.1", "::1", "2001:db8:1234:5678::1"][at % 3];
            streams.push(TcpStream::connect((host, port)).expect("connect"));
            if at > 3 {
                streams.push(dual.accept().expect("accept").0);
            }
        }
        for stream in &mut streams[5..8] {
            // To be read by nobody.
            std::io::Write::write_all(stream, b"waiting").expect("write");
        }
        listeners.push(dual);
        const MPTCP: i32 = 262;
        let mptcp = socket(libc::AF_INET, libc::SOCK_STREAM, MPTCP);
        address_call(libc::bind, &mptcp, [127, 0, 0, 1], 4000);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::listen(mptcp.as_raw_fd(), 4) }, 0);
        let caller = socket(libc::AF_INET, libc::SOCK_STREAM, MPTCP);
        address_call(libc::connect, &caller, [127, 0, 0, 1], 4000);
        let mut datagrams: Vec<_> = (0..20)
            .map(|at| ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"][at % 4])
            .chain([
                "[::ffff:127.0.0.1]:5004",
                "127.0.0.2:5000",
                "127.0.0.3:5000",
            ])
            .map(|host| UdpSocket::bind(host).expect("bind"))
            .collect();
        for (own, other) in [
            ("127.0.0.1:0", "127.0.0.2:5000"),
            ("[::]:0", "[2001:db8:1234:5678::1]:443"),
            ("[::]:0", "[::ffff:127.0.0.3]:5000"),
        ] {
            let socket = UdpSocket::bind(own).expect("bind");
            socket.connect(other).expect("connect");
            datagrams.push(socket);
        }
        datagrams[0]
            .send_to(b"queued", "127.0.0.2:5000")
            .expect("send");
        let lite = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE);
        address_call(libc::bind, &lite, [127, 0, 0, 1], 4321);
        let raw = [
            (libc::AF_INET, libc::IPPROTO_ICMP),
            (libc::AF_INET, libc::IPPROTO_RAW),
            (libc::AF_INET6, libc::IPPROTO_ICMPV6),
        ]
        .map(|(family, protocol)| socket(family, libc::SOCK_RAW, protocol));
        Self {
            _listeners: listeners,
            _streams: streams,
            _datagrams: datagrams,
            _others: raw.into_iter().chain([mptcp, caller, lite]).collect(),
        }
    }
}
