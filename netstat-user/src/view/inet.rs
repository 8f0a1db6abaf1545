//! Rows of tcp, udp, udplite and raw, and what all sections share.

use std::{collections::HashMap, net::IpAddr};

use crate::{
    cmdline::Options,
    source::{InetTable, Owners},
};

use super::{
    addr, cell, header,
    names::{Names, Service, sanitized},
    row::InetRow,
    state, timer,
};

/// Whether `-a` and `-l` let a row be seen. TCP asks for the remote port, the others for the remote
/// address.
#[must_use]
pub fn shown(options: &Options, table: InetTable, row: &InetRow) -> bool {
    if options.all {
        return true;
    }
    let has_peer = match table {
        InetTable::Tcp | InetTable::Tcp6 => row.remote_port != 0,
        _ => !row.remote.is_unspecified(),
    };
    has_peer != options.listening
}

/// Socket inode to the SELinux context of its owner.
pub type Contexts = HashMap<u64, Box<[u8]>>;

/// All that rows are printed with: the options, the owners of this round, the names.
pub struct Screen<'a> {
    pub(super) options: &'a Options,
    pub(super) owners: &'a Owners,
    pub(super) names: &'a mut dyn Names,
    contexts: &'a Contexts,
    host: Vec<u8>,
    port: Vec<u8>,
}

impl<'a> Screen<'a> {
    /// A screen for one round.
    pub fn new(
        options: &'a Options,
        owners: &'a Owners,
        contexts: &'a Contexts,
        names: &'a mut dyn Names,
    ) -> Self {
        Self {
            options,
            owners,
            names,
            contexts,
            host: Vec::new(),
            port: Vec::new(),
        }
    }

    /// Appends a row, unless `-a` and `-l` leave it out.
    pub fn inet(&mut self, out: &mut Vec<u8>, table: InetTable, row: &InetRow) {
        if !shown(self.options, table, row) {
            return;
        }
        let (label, service) = match table {
            InetTable::Tcp => ("tcp", Service::Tcp),
            InetTable::Tcp6 => ("tcp6", Service::Tcp),
            InetTable::Udp => ("udp", Service::Udp),
            InetTable::Udp6 => ("udp6", Service::Udp),
            InetTable::UdpLite => ("udpl", Service::Udp),
            InetTable::UdpLite6 => ("udpl6", Service::Udp),
            InetTable::Raw => ("raw", Service::Raw),
            InetTable::Raw6 => ("raw6", Service::Raw),
        };
        cell::left(out, label.as_bytes(), 6);
        cell::right(out, row.rx_queue.cast_signed(), 6);
        out.push(b' ');
        cell::right(out, row.tx_queue.cast_signed(), 6);
        out.push(b' ');
        self.pair(out, row.local, row.local_port, service);
        out.push(b' ');
        self.pair(out, row.remote, row.remote_port, service);
        out.push(b' ');
        match service {
            Service::Tcp => {
                cell::left(
                    out,
                    state::tcp(row.state).unwrap_or("UNKNOWN").as_bytes(),
                    11,
                );
            }
            Service::Udp => cell::left(out, state::udp(row.state).as_bytes(), 11),
            Service::Raw => cell::left_signed(out, row.state.into(), 11),
        }
        self.owner(out, row.uid, row.inode);
        if self.options.timers {
            out.push(b' ');
            let (ticks, probes) = (row.timer_ticks, row.probes);
            match service {
                Service::Tcp => timer::tcp(out, row.timer, ticks, row.retransmits, probes),
                Service::Udp => timer::udp(out, row.timer, ticks, 0, probes),
                Service::Raw => timer::udp(out, row.timer, ticks, row.retransmits, probes),
            }
        }
        out.push(b'\n');
    }

    fn pair(&mut self, out: &mut Vec<u8>, host: IpAddr, port: i32, service: Service) {
        if let (IpAddr::V4(host), true, true) = (
            host.to_canonical(),
            self.options.numeric.hosts,
            self.options.numeric.ports,
        ) && let Ok(port) = u16::try_from(port)
        {
            addr::short_pair(out, host, port);
            return;
        }
        self.host.clear();
        self.port.clear();
        let Self {
            options,
            names,
            host: host_text,
            port: port_text,
            ..
        } = self;
        address(host_text, host, options.numeric.hosts, *names);
        if port == 0 {
            port_text.push(b'*');
        } else if options.numeric.ports || !names.service(service, port, port_text) {
            cell::signed(port_text, port.into());
        }
        addr::pair(out, host_text, port_text, options.wide);
    }

    /// User, inode, program, context: the cells between the state and the timer.
    pub(super) fn owner(&mut self, out: &mut Vec<u8>, uid: i32, inode: u64) {
        if header::extended(self.options) {
            out.push(b' ');
            let start = out.len();
            self.user(out, uid);
            cell::pad(out, start, 10);
            out.push(b' ');
            cell::left_unsigned(out, inode, 10);
        }
        self.program(out, Some(inode));
    }

    /// A login name, or the number.
    pub fn user(&mut self, out: &mut Vec<u8>, uid: i32) {
        if self.options.numeric.users || !self.names.user(uid, out) {
            cell::signed(out, uid.into());
        }
    }

    /// Program and context.
    pub(super) fn program(&mut self, out: &mut Vec<u8>, inode: Option<u64>) {
        let owner = || inode.and_then(|inode| self.owners.by_inode.get(inode));
        if self.options.programs {
            out.push(b' ');
            let start = out.len();
            match owner() {
                Some(name) => sanitized(out, name),
                None => out.push(b'-'),
            }
            cell::pad(out, start, 20);
        }
        if self.options.context {
            out.push(b' ');
            let start = out.len();
            match inode.and_then(|inode| self.contexts.get(&inode)) {
                Some(context) => sanitized(out, context),
                None => out.push(b'-'),
            }
            cell::pad(out, start, header::CONTEXT);
        }
    }
}

/// An address, by name unless `numeric`.
pub(super) fn address(out: &mut Vec<u8>, addr: IpAddr, numeric: bool, names: &mut dyn Names) {
    match addr {
        _ if numeric => addr::numeric(out, addr),
        IpAddr::V4(any) if any.is_unspecified() => addr::numeric(out, addr),
        IpAddr::V6(any) if any.is_unspecified() => out.extend_from_slice(b"[::]"),
        _ => {
            let known = match addr {
                // The reference takes these for networks.
                IpAddr::V4(v4) if v4.octets()[0] == 0 => names.network(v4, out),
                _ => names.host(addr, out),
            };
            if !known {
                addr::numeric(out, addr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use expect_test::{Expect, expect};

    use super::*;

    struct Few;

    impl Names for Few {
        fn host(&mut self, addr: IpAddr, out: &mut Vec<u8>) -> bool {
            let known = addr == IpAddr::from([127, 0, 0, 1]);
            if known {
                out.extend_from_slice(b"localhost");
            }
            known
        }

        fn network(&mut self, addr: Ipv4Addr, out: &mut Vec<u8>) -> bool {
            let known = addr == Ipv4Addr::new(0, 0, 0, 7);
            if known {
                out.extend_from_slice(b"seventh");
            }
            known
        }

        fn service(&mut self, service: Service, port: i32, out: &mut Vec<u8>) -> bool {
            let known = port == 22 && service == Service::Tcp;
            if known {
                out.extend_from_slice(b"ssh");
            }
            known
        }

        fn user(&mut self, uid: i32, out: &mut Vec<u8>) -> bool {
            if uid == 0 {
                out.extend_from_slice(b"root");
            }
            uid == 0
        }
    }

    fn rows() -> [InetRow; 2] {
        let listener = InetRow {
            local: [127, 0, 0, 1].into(),
            local_port: 22,
            remote: [0, 0, 0, 0].into(),
            remote_port: 0,
            state: 10,
            tx_queue: 0,
            rx_queue: 1,
            timer: 0,
            timer_ticks: 0,
            retransmits: 2,
            uid: 0,
            probes: 0,
            inode: 4242,
        };
        let connection = InetRow {
            remote: "::ffff:192.0.2.7".parse().expect("an address"),
            local: "2001:db8:1234:5678::1".parse().expect("an address"),
            remote_port: 65535,
            state: 1,
            tx_queue: u64::from(u32::MAX),
            timer: 1,
            timer_ticks: 161,
            uid: -1,
            inode: 0,
            ..listener.clone()
        };
        [listener, connection]
    }

    fn check(table: InetTable, options: &Options, expected: Expect) {
        let owners = Owners {
            by_inode: super::super::by_inode::ByInode::from_iter([(
                4242,
                b"7/a\x1b[2J\nb".as_slice().into(),
            )]),
            ..Owners::default()
        };
        let contexts = Contexts::new();
        let mut out = Vec::new();
        let mut names = Few;
        let mut screen = Screen::new(options, &owners, &contexts, &mut names);
        for row in rows() {
            screen.inet(&mut out, table, &row);
        }
        expected.assert_eq(&String::from_utf8_lossy(&out).replace('\n', "$\n"));
    }

    #[test]
    fn rows_have_the_cells_that_were_asked_for() {
        let mut options = Options {
            all: true,
            ..Options::default()
        };
        check(
            InetTable::Tcp6,
            &options,
            expect![[r#"
            tcp6       1      0 localhost:ssh           0.0.0.0:*               LISTEN     $
            tcp6       1 4294967295 2001:db8:1234:5678::ssh 192.0.2.7:65535         ESTABLISHED$
        "#]],
        );
        options.extend = 1;
        options.programs = true;
        options.timers = true;
        check(
            InetTable::Tcp,
            &options,
            expect![[r#"
            tcp        1      0 localhost:ssh           0.0.0.0:*               LISTEN      root       4242       7/a?[2J?b            off (0.00/2/0)$
            tcp        1 4294967295 2001:db8:1234:5678::ssh 192.0.2.7:65535         ESTABLISHED -1         0          -                    on (1.61/2/0)$
        "#]],
        );
        options.numeric.hosts = true;
        options.numeric.users = true;
        options.wide = true;
        check(
            InetTable::UdpLite6,
            &options,
            expect![[r#"
            udpl6      1      0 127.0.0.1:22            0.0.0.0:*               UNKNOWN     0          4242       7/a?[2J?b            off (0.00/0/0)$
            udpl6      1 4294967295 2001:db8:1234:5678::1:22 192.0.2.7:65535         ESTABLISHED -1         0          -                    on1 (1.61/0/0)$
        "#]],
        );
        check(
            InetTable::Raw,
            &options,
            expect![[r#"
            raw        1      0 127.0.0.1:22            0.0.0.0:*               10          0          4242       7/a?[2J?b            off (0.00/2/0)$
            raw        1 4294967295 2001:db8:1234:5678::1:22 192.0.2.7:65535         1           -1         0          -                    on1 (1.61/2/0)$
        "#]],
        );
    }

    #[test]
    fn an_address_that_begins_with_zero_is_a_network() {
        let shown = |last, numeric| {
            let mut out = Vec::new();
            address(&mut out, [0, 0, 0, last].into(), numeric, &mut Few);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(shown(7, false), "seventh");
        assert_eq!(shown(7, true), "0.0.0.7");
        assert_eq!(shown(8, false), "0.0.0.8");
        assert_eq!(shown(0, false), "0.0.0.0");
    }

    #[test]
    fn without_all_the_peer_decides() {
        let numeric = crate::cmdline::Numeric {
            hosts: true,
            ports: true,
            users: true,
        };
        let mut options = Options {
            numeric,
            ..Options::default()
        };
        check(
            InetTable::Tcp,
            &options,
            expect![[r#"
            tcp        1 4294967295 2001:db8:1234:5678:::22 192.0.2.7:65535         ESTABLISHED$
        "#]],
        );
        options.listening = true;
        check(
            InetTable::Udp,
            &options,
            expect![[r#"
            udp        1      0 127.0.0.1:22            0.0.0.0:*               UNKNOWN    $
        "#]],
        );
    }
}
