//! SCTP endpoints and associations.

use std::net::IpAddr;

use super::{Screen, addr, cell, inet::address, state};

/// A row of /proc/net/sctp/eps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Socket state, by TCP's numbers.
    pub state: i32,
    /// Local port.
    pub port: u32,
    /// Owner.
    pub uid: i32,
    /// Inode of the socket's file.
    pub inode: u64,
    /// Addresses it is bound to.
    pub local: Vec<IpAddr>,
}

/// A row of /proc/net/sctp/assocs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Association {
    /// Socket state, by TCP's numbers.
    pub state: i32,
    /// Bytes to send.
    pub tx_queue: u32,
    /// Bytes to read.
    pub rx_queue: u32,
    /// Owner.
    pub uid: i32,
    /// Inode of the socket's file.
    pub inode: u64,
    /// Local port.
    pub local_port: u32,
    /// Remote port.
    pub remote_port: u32,
    /// Local addresses.
    pub local: Vec<IpAddr>,
    /// Addresses of the peer.
    pub remote: Vec<IpAddr>,
}

const BLANKS: &[u8] = b"                    ";
const ONE: usize = 23;
const WHOLE: usize = 47;
/// The longest host name in a cell.
const HOST: usize = 63;

impl Screen<'_> {
    /// Appends an endpoint: a line for each address, then the owner.
    pub fn endpoint(&mut self, out: &mut Vec<u8>, row: &Endpoint) {
        for (at, local) in row.local.iter().enumerate() {
            self.first_cell(out, at, b"sctp                ");
            self.sctp_pair(out, Some((*local, Some(row.port))), WHOLE);
            out.push(b' ');
            sctp_state(out, (at == 0).then_some(row.state));
        }
        self.sctp_tail(out, row.uid, row.inode);
    }

    /// Appends an association: a line for each pair of addresses, then the owner.
    pub fn association(&mut self, out: &mut Vec<u8>, row: &Association) {
        let lines = row.local.len().max(row.remote.len());
        let start = format!("sctp  {:>6} {:>6} ", row.rx_queue, row.tx_queue);
        for at in 0..lines {
            self.first_cell(out, at, start.as_bytes());
            let side = |addrs: &[IpAddr], port: u32| {
                addrs.get(at).map(|addr| (*addr, (at == 0).then_some(port)))
            };
            self.sctp_pair(out, side(&row.local, row.local_port), ONE);
            out.push(b' ');
            self.sctp_pair(out, side(&row.remote, row.remote_port), ONE);
            out.push(b' ');
            sctp_state(out, (at == 0).then_some(row.state));
        }
        self.sctp_tail(out, row.uid, row.inode);
    }

    fn first_cell(&self, out: &mut Vec<u8>, at: usize, first: &[u8]) {
        if at == 0 {
            out.extend_from_slice(first);
        } else {
            out.push(b'\n');
            out.extend_from_slice(BLANKS);
        }
    }

    fn sctp_pair(&mut self, out: &mut Vec<u8>, pair: Option<(IpAddr, Option<u32>)>, width: usize) {
        let start = out.len();
        if let Some((host, port)) = pair {
            let options = self.options;
            let numeric = options.symbolic
                || options.numeric.hosts
                || options.numeric.ports
                || options.numeric.users;
            if numeric {
                addr::numeric(out, host);
            } else {
                address(out, host, false, self.names);
                out.truncate(start + HOST);
            }
            match port {
                Some(0) => out.extend_from_slice(b":*"),
                Some(port) => {
                    out.push(b':');
                    cell::unsigned(out, port.into());
                }
                None => {}
            }
        }
        cell::pad(out, start, width);
    }

    fn sctp_tail(&mut self, out: &mut Vec<u8>, uid: i32, inode: u64) {
        self.owner(out, uid, inode);
        if self.options.timers {
            out.push(b' ');
        }
        out.push(b'\n');
    }
}

fn sctp_state(out: &mut Vec<u8>, state: Option<i32>) {
    let text = match state {
        None => String::new(),
        Some(state) => state::tcp(state).map_or_else(|| format!("UNKNOWN({state})"), str::to_owned),
    };
    cell::left(out, text.as_bytes(), 11);
}
