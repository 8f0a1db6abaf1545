//! Which changes the log shows: the words of `ss` where it has them.
//!
//! Values of one kind are alternatives; different kinds must all match.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::ParseIntError,
    ops::RangeInclusive,
    str::FromStr,
};

use super::types::{Change, Conn, Direction, Endpoint, TcpState};

/// What is wanted. An empty list wants everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The state before or after the change.
    pub states: Vec<States>,
    /// Neither the state before nor the one after the change.
    pub excluded: Vec<States>,
    /// Local address.
    pub sources: Vec<Network>,
    /// Remote address.
    pub destinations: Vec<Network>,
    /// Either address.
    pub addresses: Vec<Network>,
    /// Local port.
    pub source_ports: Vec<Ports>,
    /// Remote port.
    pub destination_ports: Vec<Ports>,
    /// Either port.
    pub ports: Vec<Ports>,
    /// Owner's process id.
    pub pids: Vec<u32>,
    /// Owner's program, as the log names it.
    pub programs: Vec<Vec<u8>>,
    /// Protocol.
    pub protocols: Vec<Protocol>,
    /// Inode numbers of network namespaces.
    pub namespaces: Vec<u32>,
    /// Who called whom.
    pub direction: Option<Direction>,
}

impl Filter {
    /// Whether a change is wanted as far as the table tells: all but the program.
    pub fn wants(&self, change: &Change) -> bool {
        let conn = &change.conn;
        let touched = [Some(conn.state), change.from];
        let among = |states: &[States]| {
            let mut touched = touched.iter().flatten();
            touched.any(|state| states.iter().any(|states| states.contains(*state)))
        };
        (self.states.is_empty() || among(&self.states))
            && !among(&self.excluded)
            && self.wants_conn(conn)
    }

    /// Whether a program is wanted.
    pub fn wants_program(&self, program: &[u8]) -> bool {
        fits(&self.programs, |wanted| wanted == program)
    }

    fn wants_conn(&self, conn: &Conn) -> bool {
        let Conn { local, remote, .. } = conn;
        fits(&self.sources, |net| net.contains(local))
            && fits(&self.destinations, |net| net.contains(remote))
            && fits(&self.addresses, |net| {
                net.contains(local) || net.contains(remote)
            })
            && fits(&self.source_ports, |ports| ports.contains(local))
            && fits(&self.destination_ports, |ports| ports.contains(remote))
            && fits(&self.ports, |ports| {
                ports.contains(local) || ports.contains(remote)
            })
            && fits(&self.pids, |pid| {
                conn.owner.is_some_and(|owner| owner.pid == *pid)
            })
            && fits(&self.protocols, |protocol| protocol.is_of(conn.family))
            && fits(&self.namespaces, |netns| conn.netns == *netns)
            && self
                .direction
                .is_none_or(|wanted| conn.direction == Some(wanted))
    }
}

fn fits<T>(wanted: &[T], matches: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(matches)
}

/// One state, or one of `ss`'s groups of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum States {
    /// One.
    One(TcpState),
    /// `all`
    All,
    /// `connected`: all but listening and closed.
    Connected,
    /// `synchronized`: connected, without syn-sent.
    Synchronized,
    /// `bucket`: what the kernel keeps as minisocks, time-wait and syn-recv.
    Bucket,
    /// `big`: all but `bucket`.
    Big,
}

impl States {
    /// Whether a state belongs to it.
    pub fn contains(self, state: TcpState) -> bool {
        match self {
            Self::One(one) => one == state,
            Self::All => true,
            Self::Connected => !matches!(state, TcpState::Listen | TcpState::Close),
            Self::Synchronized => Self::Connected.contains(state) && state != TcpState::SynSent,
            Self::Bucket => matches!(state, TcpState::TimeWait | TcpState::SynRecv),
            Self::Big => !Self::Bucket.contains(state),
        }
    }
}

impl FromStr for States {
    type Err = String;

    /// `ss`'s words and netstat's, in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = text.to_ascii_lowercase().replace('_', "-");
        Ok(Self::One(match word.as_str() {
            "all" => return Ok(Self::All),
            "connected" => return Ok(Self::Connected),
            "synchronized" => return Ok(Self::Synchronized),
            "bucket" => return Ok(Self::Bucket),
            "big" => return Ok(Self::Big),
            "established" | "estab" => TcpState::Established,
            "syn-sent" => TcpState::SynSent,
            "syn-recv" => TcpState::SynRecv,
            "fin-wait-1" | "fin-wait1" => TcpState::FinWait1,
            "fin-wait-2" | "fin-wait2" => TcpState::FinWait2,
            "time-wait" => TcpState::TimeWait,
            "closed" | "close" => TcpState::Close,
            "close-wait" => TcpState::CloseWait,
            "last-ack" => TcpState::LastAck,
            "listening" | "listen" => TcpState::Listen,
            "closing" => TcpState::Closing,
            _ => {
                return Err(
                    "not a state: established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, \
                     time-wait, closed, close-wait, last-ack, listening, closing, or one of the \
                     groups all, connected, synchronized, bucket, big"
                        .to_owned(),
                );
            }
        }))
    }
}

/// An address, or all that share its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    addr: u128,
    mask: u128,
}

impl Network {
    /// Whether an end's address belongs to it. IPv4 and v4-mapped are the same.
    pub fn contains(&self, end: &Endpoint) -> bool {
        u128::from(Ipv6Addr::from(end.addr)) & self.mask == self.addr
    }
}

impl FromStr for Network {
    type Err = String;

    /// `ADDRESS` or `ADDRESS/BITS`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let addr: IpAddr = addr
            .parse()
            .map_err(|_| format!("{addr} is not an IP address"))?;
        let (addr, width) = match addr {
            IpAddr::V4(addr) => (addr.to_ipv6_mapped(), 32),
            IpAddr::V6(addr) => (addr, 128),
        };
        let bits = match bits {
            Some(bits) => bits
                .parse::<u32>()
                .ok()
                .filter(|bits| *bits <= width)
                .ok_or_else(|| format!("/{bits} is not between /0 and /{width}"))?,
            None => width,
        };
        let free = width - bits;
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        Ok(Self {
            addr: u128::from(addr) & mask,
            mask,
        })
    }
}

/// One port, or `FIRST-LAST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(RangeInclusive<u16>);

impl Ports {
    /// Whether an end's port belongs to it. No port is in no range.
    pub fn contains(&self, end: &Endpoint) -> bool {
        end.port != 0 && self.0.contains(&end.port)
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = |text: &str| {
            text.parse::<u16>()
                .map_err(|error: ParseIntError| format!("{text:?} is not a port: {error}"))
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last {
            return Err(format!("{first} is after {last}"));
        }
        Ok(Self(first..=last))
    }
}

/// A protocol, by the family of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Both families.
    Tcp,
    /// IPv4 sockets.
    Tcp4,
    /// IPv6 sockets, those that speak IPv4 included.
    Tcp6,
}

impl Protocol {
    fn is_of(self, family: u16) -> bool {
        const AF_INET6: u16 = 10;
        match self {
            Self::Tcp => true,
            Self::Tcp4 => family != AF_INET6,
            Self::Tcp6 => family == AF_INET6,
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "tcp4" => Ok(Self::Tcp4),
            "tcp6" => Ok(Self::Tcp6),
            _ => Err("not a protocol of the log: tcp, tcp4, tcp6".to_owned()),
        }
    }
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "in" => Ok(Self::In),
            "out" => Ok(Self::Out),
            _ => Err("not a direction: in, out".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::conn::types::{Kind, Ktime, Owner, Provenance, SockId, Tenure};

    fn end(addr: IpAddr, port: u16) -> Endpoint {
        let addr = match addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped(),
            IpAddr::V6(addr) => addr,
        };
        Endpoint {
            addr: addr.octets(),
            port,
        }
    }

    fn change() -> Change {
        Change {
            at: Ktime(1),
            conn: Conn {
                id: SockId::Kernel(1),
                kind: Kind::Full,
                netns: 7,
                family: 2,
                local: end(Ipv4Addr::new(10, 1, 2, 3).into(), 50000),
                remote: end(Ipv4Addr::new(192, 0, 2, 9).into(), 443),
                state: TcpState::Established,
                since: None,
                owner: Some(Owner {
                    pid: 42,
                    comm: [0; 16],
                    provenance: Provenance::Seen,
                    tenure: Tenure::Current,
                }),
                direction: Some(Direction::Out),
            },
            from: Some(TcpState::SynSent),
            in_from_ns: None,
            end: None,
            inferred: false,
        }
    }

    #[track_caller]
    fn check(expected: bool, set: impl FnOnce(&mut Filter)) {
        let mut filter = Filter::default();
        set(&mut filter);
        assert_eq!(filter.wants(&change()), expected, "{filter:?}");
    }

    fn of<T: FromStr<Err = String>>(texts: &[&str]) -> Vec<T> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn each_condition_lets_through_what_it_names() {
        check(true, |_| {});
        check(true, |f| f.states = of(&["syn-sent"]));
        check(true, |f| f.states = of(&["ESTABLISHED", "listening"]));
        check(false, |f| f.states = of(&["bucket"]));
        check(false, |f| f.excluded = of(&["syn_sent"]));
        check(true, |f| f.excluded = of(&["listen"]));
        check(true, |f| f.sources = of(&["10.0.0.0/8"]));
        check(true, |f| f.sources = of(&["::ffff:10.1.2.3"]));
        check(false, |f| f.sources = of(&["192.0.2.9"]));
        check(true, |f| f.destinations = of(&["1.2.3.4", "192.0.2.9"]));
        check(true, |f| f.addresses = of(&["192.0.2.0/28"]));
        check(false, |f| f.addresses = of(&["2001:db8::/32"]));
        check(true, |f| f.source_ports = of(&["40000-60000"]));
        check(false, |f| f.source_ports = of(&["443"]));
        check(true, |f| f.destination_ports = of(&["80", "443"]));
        check(true, |f| f.ports = of(&["443"]));
        check(true, |f| f.pids = vec![41, 42]);
        check(false, |f| f.pids = vec![4]);
        check(true, |f| f.protocols = of(&["tcp4"]));
        check(false, |f| f.protocols = of(&["tcp6"]));
        check(false, |f| f.namespaces = vec![8]);
        check(true, |f| f.direction = Some(Direction::Out));
        check(false, |f| f.direction = Some(Direction::In));
        // All kinds must match.
        check(false, |f| {
            f.ports = of(&["443"]);
            f.pids = vec![1];
        });
    }

    #[test]
    fn a_program_is_named_whole() {
        let filter = Filter {
            programs: vec![b"curl".to_vec()],
            ..Filter::default()
        };
        assert!(filter.wants_program(b"curl"));
        assert!(!filter.wants_program(b"curlew") && !filter.wants_program(b""));
        assert!(Filter::default().wants_program(b""));
    }

    #[test]
    fn groups_are_those_of_ss() {
        let members = |group: States| {
            let all = TcpState::ALL.into_iter();
            all.filter(|state| group.contains(*state)).count()
        };
        for (group, count) in [("all", 11), ("connected", 9), ("synchronized", 8)] {
            assert_eq!(members(group.parse().expect("a group")), count, "{group}");
        }
        assert_eq!((members(States::Bucket), members(States::Big)), (2, 9));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!("listning".parse::<States>().is_err());
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "host",
            "::/",
            "/8",
            "::/-1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        for text in ["", "-", "1-", "2-1", "65536", "http", "1-2-3"] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
        assert!("udp".parse::<Protocol>().is_err());
        assert!("sideways".parse::<Direction>().is_err());
    }

    proptest! {
        #[test]
        fn a_network_holds_the_addresses_that_share_its_bits(
            base in any::<u128>(), other in any::<u128>(), bits in 0u32..=128,
        ) {
            let base = Ipv6Addr::from(base);
            let network: Network = format!("{base}/{bits}").parse().expect("a network");
            prop_assert!(network.contains(&end(base.into(), 0)));
            let shared = (u128::from(base) ^ other).leading_zeros();
            prop_assert_eq!(network.contains(&end(Ipv6Addr::from(other).into(), 0)), shared >= bits);
        }

        #[test]
        fn an_ipv4_network_holds_no_ipv6_address(base in any::<u32>(), other in any::<u128>(), bits in 0u32..=32) {
            let network: Network = format!("{}/{bits}", Ipv4Addr::from(base)).parse().expect("a network");
            let other = Ipv6Addr::from(other);
            let expected = other.to_ipv4_mapped().is_some_and(|v4| {
                (base ^ u32::from(v4)).leading_zeros() >= bits
            });
            prop_assert_eq!(network.contains(&end(other.into(), 0)), expected);
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,20}") {
            let _ = (text.parse::<States>(), text.parse::<Network>(), text.parse::<Ports>());
        }
    }
}
