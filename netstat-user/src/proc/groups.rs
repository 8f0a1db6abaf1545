//! Multicast groups: /proc/net/igmp and igmp6.

use std::io::Read;

use crate::{
    source::Line,
    view::{groups::GroupRow, scan::Scan},
};

use super::{for_each_line, sockets};

/// The longest name of an interface.
const DEVICE: usize = 15;

/// IPv4: a line for each interface, then one for each of its groups.
pub fn groups4(file: impl Read, sink: &mut dyn FnMut(usize, Line<GroupRow>)) {
    let mut device = Vec::new();
    for_each_line(file, |number, text| {
        if number == 0 {
            return;
        }
        let mut scan = Scan::new(text);
        if text.first() == Some(&b'\t') {
            let (Some(digits), Some(users)) = (scan.digits(), scan.int()) else {
                sink(number, Line::Bogus);
                return;
            };
            let group = sockets::address(digits, false);
            sink(
                number,
                Line::Row(GroupRow {
                    device: device.clone(),
                    users,
                    group,
                }),
            );
        } else {
            let (Some(_), Some(name)) = (scan.int(), scan.word()) else {
                sink(number, Line::Bogus);
                return;
            };
            let name = name.strip_suffix(b":").unwrap_or(name);
            device = name[..name.len().min(DEVICE)].to_vec();
        }
    });
}

/// IPv6: a line for each group. There is no header.
pub fn groups6(file: impl Read, sink: &mut dyn FnMut(usize, Line<GroupRow>)) {
    for_each_line(file, |number, text| {
        sink(number, group6(text).map_or(Line::Bogus, Line::Row));
    });
}

fn group6(text: &[u8]) -> Option<GroupRow> {
    let mut scan = Scan::new(text);
    scan.int()?;
    let device = scan.word()?.to_vec();
    let digits = scan.digits()?;
    let users = scan.int()?;
    let mut octets = [0; 16];
    if digits.len() < 2 * octets.len() {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
        *octet = std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .unwrap_or_default();
    }
    Some(GroupRow {
        device,
        users,
        group: octets.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_belong_to_the_interface_above() {
        let text = b"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
            1\tlo        :     1      V3\n\t\t\t\t010000E0     2 0:00000000\t\t0\n";
        let mut rows = Vec::new();
        groups4(text.as_slice(), &mut |_, line| rows.push(line));
        let row = GroupRow {
            device: b"lo".to_vec(),
            users: 2,
            group: [224, 0, 0, 1].into(),
        };
        assert_eq!(rows, [Line::Row(row)]);
    }

    #[test]
    fn v6_groups_are_whole_lines() {
        let text = b"1    lo              ff020000000000000000000000000001     1 0000000C 0\nbad\n";
        let mut rows = Vec::new();
        groups6(text.as_slice(), &mut |number, line| {
            rows.push((number, line))
        });
        let group = "ff02::1".parse().expect("an address");
        let row = GroupRow {
            device: b"lo".to_vec(),
            users: 1,
            group,
        };
        assert_eq!(rows, [(0, Line::Row(row)), (1, Line::Bogus)]);
    }
}
