//! Network interfaces (`-i`): what is known of one, and the counters in /proc/net/dev.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    iface_hardware::Hardware,
    scan::{Scan, fgets, is_space},
};

/// Counters of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the file's columns")]
pub struct Counters {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub rx_fifo: u64,
    pub rx_frame: u64,
    pub rx_compressed: u64,
    pub rx_multicast: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
    pub tx_fifo: u64,
    pub collisions: u64,
    pub carrier: u64,
    pub tx_compressed: u64,
}

/// An IPv4 address of an interface or label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain words")]
pub struct Inet {
    pub addr: Ipv4Addr,
    pub mask: Ipv4Addr,
    pub broadcast: Ipv4Addr,
    pub destination: Ipv4Addr,
}

/// An IPv6 address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain words")]
pub struct Inet6 {
    pub addr: Ipv6Addr,
    pub prefix: u64,
    pub scope: u64,
    pub iface: Vec<u8>,
}

/// Where a device is in the machine (SIOCGIFMAP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of struct ifmap")]
pub struct Map {
    pub mem_start: u64,
    pub mem_end: u64,
    pub base_addr: u16,
    pub irq: u8,
    pub dma: u8,
}

/// What the kernel says about an interface or an IPv4 label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Name or label, untrusted bytes.
    pub name: Vec<u8>,
    /// IFF_*, as the 16 bits that the ioctl has.
    pub flags: i16,
    /// Largest packet.
    pub mtu: i32,
    /// From /proc/net/dev; labels have none.
    pub counters: Option<Counters>,
    /// The address of this name.
    pub inet: Option<Inet>,
    /// The addresses of if_inet6 with this name.
    pub inet6: Vec<Inet6>,
    /// Link layer.
    pub hardware: Hardware,
    /// Length of the transmit queue.
    pub queue: Option<i32>,
    /// Place in the machine.
    pub map: Map,
}

/// Which columns /proc/net/dev has; it depends on the kernel's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Columns {
    Packets,
    Bytes,
    Compressed,
}

/// Calls `each` with every interface of /proc/net/dev; it changes the counters that it is given.
pub fn counters(file: &[u8], mut each: impl FnMut(&[u8], &dyn Fn(&mut Counters))) {
    const ROOM: usize = 512;
    let mut lines = fgets(file, ROOM).skip(1);
    let header = lines.next().unwrap_or_default();
    let has = |word: &[u8]| header.windows(word.len()).any(|window| window == word);
    let columns = if has(b"compressed") {
        Columns::Compressed
    } else if has(b"bytes") {
        Columns::Bytes
    } else {
        Columns::Packets
    };
    for line in lines {
        let (name, rest) = split_name(line);
        each(name, &|counters| scan_counters(counters, columns, rest));
    }
}

/// The name and what follows its colon. `name:digits:` is the name of an alias.
///
/// The reference takes 15 bytes at most for the name, and no numbers after so long a name.
fn split_name(line: &[u8]) -> (&[u8], &[u8]) {
    let start = line.iter().take_while(|&&byte| is_space(byte)).count();
    const LONGEST: usize = 15;
    let line = &line[start..];
    let Some(end) = line.iter().position(|&byte| byte == b':' || is_space(byte)) else {
        return (line, b"");
    };
    if end >= LONGEST {
        return line.split_at(LONGEST);
    }
    let (name, rest) = line.split_at(end);
    let Some(after) = rest.strip_prefix(b":") else {
        return (name, rest);
    };
    let digits = after
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits > 0 && after.get(digits) == Some(&b':') {
        return (&line[..=end + digits], &after[digits + 1..]);
    }
    (name, after)
}

fn scan_counters(counters: &mut Counters, columns: Columns, rest: &[u8]) {
    let bytes = columns != Columns::Packets;
    let compressed = columns == Columns::Compressed;
    let c = counters;
    let fields = [
        (bytes, &mut c.rx_bytes),
        (true, &mut c.rx_packets),
        (true, &mut c.rx_errors),
        (true, &mut c.rx_dropped),
        (true, &mut c.rx_fifo),
        (true, &mut c.rx_frame),
        (compressed, &mut c.rx_compressed),
        (compressed, &mut c.rx_multicast),
        (bytes, &mut c.tx_bytes),
        (true, &mut c.tx_packets),
        (true, &mut c.tx_errors),
        (true, &mut c.tx_dropped),
        (true, &mut c.tx_fifo),
        (true, &mut c.collisions),
        (true, &mut c.carrier),
        (compressed, &mut c.tx_compressed),
    ];
    let mut scan = Scan::new(rest);
    for (present, field) in fields {
        if present {
            *field = scan.long().unwrap_or(*field);
        } else {
            *field = 0;
        }
    }
}

/// The addresses of if_inet6; lines that are not as the kernel writes them are left out.
#[must_use]
pub fn inet6(file: &[u8]) -> Vec<Inet6> {
    file.split(|&byte| byte == b'\n')
        .filter_map(inet6_line)
        .collect()
}

fn inet6_line(line: &[u8]) -> Option<Inet6> {
    let mut scan = Scan::new(line);
    let mut segments = [0; 8];
    for segment in &mut segments {
        *segment = scan.hex_up_to(4)? as u16;
    }
    scan.hex_up_to(8)?;
    let prefix = scan.hex_up_to(2)?;
    let scope = scan.hex_up_to(2)?;
    scan.hex_up_to(2)?;
    let iface = scan.word()?.to_vec();
    Some(Inet6 {
        addr: segments.into(),
        prefix,
        scope,
        iface,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_a_colon_unless_it_begins_an_alias() {
        assert_eq!(
            split_name(b"  eth0:2104 24"),
            (&b"eth0"[..], &b"2104 24"[..])
        );
        assert_eq!(split_name(b"  eth0: 1"), (&b"eth0"[..], &b" 1"[..]));
        assert_eq!(split_name(b"eth0:3: 1"), (&b"eth0:3"[..], &b" 1"[..]));
        assert_eq!(split_name(b"eth0 1"), (&b"eth0"[..], &b" 1"[..]));
        assert_eq!(split_name(b"eth0:x 1"), (&b"eth0"[..], &b"x 1"[..]));
        let long = b"fifteen-letters: 1 2";
        assert_eq!(split_name(long), (&b"fifteen-letters"[..], &b": 1 2"[..]));
        assert_eq!(split_name(b""), (&b""[..], &b""[..]));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(file: Vec<u8>, header in "[a-z |]{0,20}(bytes|compressed)?", name: Vec<u8>) {
            let text = [b"x\n", header.as_bytes(), b"\n", &name, b": 1 -2 3x\n", &file].concat();
            let mut all = Counters::default();
            for text in [&file, &text] {
                counters(text, |name, fill| {
                    assert!(!name.contains(&b'\n'));
                    fill(&mut all);
                });
            }
            let before = b"fe80 0000 0000 0000 0000 0000 0000 0001 02 40 20 80 ";
            let text = [before, &name[..], b"\n", &file].concat();
            for addr in inet6(&file).into_iter().chain(inet6(&text)) {
                proptest::prop_assert!(!addr.iface.is_empty());
                proptest::prop_assert!(!addr.iface.iter().any(|&byte| is_space(byte)));
            }
        }
    }

    #[test]
    fn old_kernels_have_fewer_columns() {
        let read = |header: &str| {
            let mut all = Counters::default();
            let file = format!("x\n{header}\n a: 1 2 3 4 5 6 7 8 9 10 11 12 13\n");
            counters(file.as_bytes(), |_, fill| fill(&mut all));
            (all.rx_bytes, all.rx_packets, all.tx_bytes, all.tx_packets)
        };
        assert_eq!(read("bytes compressed"), (1, 2, 9, 10));
        assert_eq!(read("bytes"), (1, 2, 7, 8));
        assert_eq!(read("packets"), (0, 1, 0, 6));
    }
}
