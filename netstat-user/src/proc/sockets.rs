//! The lines of /proc/net/{tcp,udp,udplite,raw}{,6}.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    source::{InetTable, Line},
    view::{row::InetRow, scan::Scan},
};

/// Reads a line after the first.
pub(super) fn line(table: InetTable, text: &[u8]) -> Line<InetRow> {
    row(table, text).map_or(Line::Bogus, Line::Row)
}

fn row(table: InetTable, text: &[u8]) -> Option<InetRow> {
    let mut scan = Scan::new(text);
    scan.int()?;
    scan.literal(b':');
    let local = scan.digits()?;
    scan.literal(b':');
    let local_port = scan.hex()? as i32;
    let remote = scan.digits()?;
    scan.literal(b':');
    let remote_port = scan.hex()? as i32;
    let state = scan.hex()? as i32;
    let tx_queue = scan.hex()?;
    scan.literal(b':');
    let rx_queue = scan.hex()?;
    let timer = scan.hex()? as i32;
    scan.literal(b':');
    let timer_ticks = scan.hex()?;
    // What follows may be missing, but not the retransmits of TCP.
    let retransmits = match (scan.hex(), table) {
        (None, InetTable::Tcp | InetTable::Tcp6) => return None,
        (retransmits, _) => retransmits.unwrap_or_default(),
    };
    let uid = scan.int().unwrap_or_default();
    let probes = scan.int().unwrap_or_default();
    let inode = scan.long().unwrap_or_default();
    let v6 = local.len() > 8;
    Some(InetRow {
        local: address(local, v6),
        local_port,
        remote: address(remote, v6),
        remote_port,
        state,
        tx_queue,
        rx_queue,
        timer,
        timer_ticks,
        retransmits,
        uid,
        probes,
        inode,
    })
}

/// One or four words in host byte order.
pub(super) fn address(digits: &[u8], v6: bool) -> IpAddr {
    if v6 {
        let mut octets = [0; 16];
        for (octets, digits) in octets.chunks_exact_mut(4).zip(digits.chunks(8)) {
            octets.copy_from_slice(&word(digits).to_ne_bytes());
        }
        Ipv6Addr::from(octets).into()
    } else {
        Ipv4Addr::from(word(digits).to_ne_bytes()).into()
    }
}

fn word(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |word, &digit| {
        word << 4 | char::from(digit).to_digit(16).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] =
        b"   3: 0100007F:0016 0200A8C0:C350 01 00000010:00000020 02:00000A1B 00000004 \
         1000        5 12345 1 0000000000000000 20 4 30 10 -1\n";

    #[test]
    fn a_line_is_a_row() {
        let row = InetRow {
            local: [127, 0, 0, 1].into(),
            local_port: 22,
            remote: [192, 168, 0, 2].into(),
            remote_port: 50_000,
            state: 1,
            tx_queue: 16,
            rx_queue: 32,
            timer: 2,
            timer_ticks: 0xA1B,
            retransmits: 4,
            uid: 1000,
            probes: 5,
            inode: 12_345,
        };
        assert_eq!(line(InetTable::Tcp, LINE), Line::Row(row));
    }

    #[test]
    fn six_words_make_a_v6_address() {
        assert_eq!(
            address(b"B80D0120000000000000000001000000", true),
            "2001:db8::1".parse::<IpAddr>().expect("an address")
        );
        assert_eq!(
            address(b"0000000000000000FFFF00000100007F", true),
            "::ffff:127.0.0.1".parse::<IpAddr>().expect("an address")
        );
    }

    #[test]
    fn tcp_needs_eleven_fields_and_udp_ten() {
        let cut = |words: usize| {
            LINE.split(|&byte| byte == b' ')
                .filter(|word| !word.is_empty())
                .take(words)
                .collect::<Vec<_>>()
                .join(&b' ')
        };
        // "3:" and the state are one field each, the four words between and after hold two.
        let ten = cut(6);
        assert_eq!(line(InetTable::Tcp, &ten), Line::Bogus);
        assert!(matches!(line(InetTable::Udp, &ten), Line::Row(_)));
        assert!(matches!(line(InetTable::Tcp, &cut(7)), Line::Row(_)));
        assert_eq!(line(InetTable::Raw, &cut(5)), Line::Bogus);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_row_or_bogus(text: Vec<u8>) {
            for table in [InetTable::Tcp, InetTable::Raw6] {
                let enough = text.iter().filter(|&&byte| byte == b':').count() >= 4;
                if matches!(line(table, &text), Line::Row(_)) {
                    proptest::prop_assert!(enough);
                }
            }
        }
    }
}
