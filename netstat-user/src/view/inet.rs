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
        if !self.shown(table, row) {
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

    /// TCP asks for the remote port, the others for the remote address.
    fn shown(&self, table: InetTable, row: &InetRow) -> bool {
        if self.options.all {
            return true;
        }
        let has_peer = match table {
            InetTable::Tcp | InetTable::Tcp6 => row.remote_port != 0,
            _ => !row.remote.is_unspecified(),
        };
        has_peer != self.options.listening
    }

    fn pair(&mut self, out: &mut Vec<u8>, host: IpAddr, port: i32, service: Service) {
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
            if self.options.numeric.users || !self.names.user(uid, out) {
                cell::signed(out, uid.into());
            }
            cell::pad(out, start, 10);
            out.push(b' ');
            cell::left_unsigned(out, inode, 10);
        }
        self.program(out, Some(inode));
    }

    /// Program and context.
    pub(super) fn program(&mut self, out: &mut Vec<u8>, inode: Option<u64>) {
        let owner = || inode.and_then(|inode| self.owners.by_inode.get(&inode));
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
            if !names.host(addr, out) {
                addr::numeric(out, addr);
            }
        }
    }
}
