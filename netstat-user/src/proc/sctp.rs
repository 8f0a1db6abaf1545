//! SCTP: /proc/net/sctp/eps and assocs.

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr},
};

use crate::{
    source::Line,
    view::{
        scan::is_space,
        sctp::{Association, Endpoint},
    },
};

use super::for_each_line;

/// Endpoints.
pub fn endpoints(file: impl Read, sink: &mut dyn FnMut(Line<Endpoint>)) {
    for_each_line(file, |number, text| {
        if number > 0 {
            sink(endpoint(text).map_or(Line::Bogus, Line::Row));
        }
    });
}

/// Associations.
pub fn associations(file: impl Read, sink: &mut dyn FnMut(Line<Association>)) {
    for_each_line(file, |number, text| {
        if number > 0 {
            sink(association(text).map_or(Line::Bogus, Line::Row));
        }
    });
}

fn endpoint(text: &[u8]) -> Option<Endpoint> {
    let mut words = words(text);
    Some(Endpoint {
        state: number(words.nth(3)?) as i32,
        port: number(words.nth(1)?) as u32,
        uid: number(words.next()?) as i32,
        inode: number(words.next()?).cast_unsigned(),
        local: words
            .map(|word| address(word).unwrap_or(UNREADABLE))
            .collect(),
    })
}

fn association(text: &[u8]) -> Option<Association> {
    let mut words = words(text);
    let mut association = Association {
        state: number(words.nth(3)?) as i32,
        tx_queue: number(words.nth(3)?) as u32,
        rx_queue: number(words.next()?) as u32,
        uid: number(words.next()?) as i32,
        inode: number(words.next()?).cast_unsigned(),
        local_port: number(words.next()?) as u32,
        remote_port: number(words.next()?) as u32,
        ..Association::default()
    };
    for word in words.by_ref().take_while(|&word| word != b"<->") {
        association.local.push(primary(word).unwrap_or(UNREADABLE));
    }
    // The numbers after the addresses are none.
    association.remote = words.map_while(primary).collect();
    Some(association)
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| is_space(byte))
        .filter(|word| !word.is_empty())
}

/// As `atoi`: 0 if it is no number.
fn number(word: &[u8]) -> i64 {
    let end = word.iter().skip(1).position(|byte| !byte.is_ascii_digit());
    let word = &word[..end.map_or(word.len(), |end| end + 1)];
    std::str::from_utf8(word)
        .ok()
        .and_then(|word| word.parse().ok())
        .unwrap_or_default()
}

/// What the reference takes a word for that is no address.
const UNREADABLE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

/// An address of an association: a `*` marks the primary one.
fn primary(word: &[u8]) -> Option<IpAddr> {
    address(word.strip_prefix(b"*").unwrap_or(word))
}

fn address(word: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_addresses() {
        let text = b" 0 0 2   10  13 5000      7 4242 127.0.0.1 ::1 \n";
        let expected = Endpoint {
            state: 10,
            port: 5000,
            uid: 7,
            inode: 4242,
            local: vec![[127, 0, 0, 1].into(), "::1".parse().expect("an address")],
        };
        assert_eq!(endpoint(text), Some(expected));
        assert_eq!(endpoint(b" 0 0 2 10 13 5000 7\n"), None);
    }

    #[test]
    fn an_association_has_two_ends() {
        let text =
            b" 0 0 2   1   3  0    1       10       20       7 4242 5000  6000  127.0.0.1 <-> \
            *127.0.0.2 127.0.0.3 \t    7500 10 10 10 0 0 0 1 0 212992 212992\n";
        let expected = Association {
            state: 1,
            tx_queue: 10,
            rx_queue: 20,
            uid: 7,
            inode: 4242,
            local_port: 5000,
            remote_port: 6000,
            local: vec![[127, 0, 0, 1].into()],
            remote: vec![[127, 0, 0, 2].into(), [127, 0, 0, 3].into()],
        };
        assert_eq!(association(text), Some(expected));
    }
}
