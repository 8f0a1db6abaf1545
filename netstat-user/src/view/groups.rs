//! Multicast groups (`-g`).

use std::net::IpAddr;

use super::{Screen, cell, inet::address, names::sanitized};

/// The title and the columns.
pub fn header(out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"IPv6/IPv4 Group Memberships\n\
          Interface       RefCnt Group\n\
          --------------- ------ ---------------------\n",
    );
}

/// A group that an interface has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// The interface's name, untrusted bytes.
    pub device: Vec<u8>,
    /// How many have joined.
    pub users: i32,
    /// The group's address.
    pub group: IpAddr,
}

impl Screen<'_> {
    /// Appends a row.
    pub fn group(&mut self, out: &mut Vec<u8>, row: &GroupRow) {
        let start = out.len();
        sanitized(out, &row.device);
        cell::pad(out, start, 15);
        out.push(b' ');
        cell::left_signed(out, row.users.into(), 6);
        out.push(b' ');
        address(out, row.group, self.options.numeric.hosts, self.names);
        out.push(b'\n');
    }
}
