//! The IPv6 routing table (`-6 -r`).

use std::net::Ipv6Addr;

use super::{Names, cell, inet, names::sanitized, scan::Scan};

/// The header; there is one form only.
pub const HEADER: &str =
    "Destination                    Next Hop                   Flag Met Ref  Use If\n";

/// Letters in the order in which they are printed.
const FLAGS: [(u32, char); 12] = [
    (0x1, 'U'),
    (0x200, '!'),
    (0x2, 'G'),
    (0x4, 'H'),
    (0x1_0000, 'D'),
    (0x4_0000, 'A'),
    (0x100_0000, 'C'),
    (0x2_0000, 'a'),
    (0x40_0000, 'e'),
    (0x20, 'm'),
    (0x20_0000, 'n'),
    (0x200_0000, 'f'),
];

/// One route. A field that a line lacks keeps the value of the line before, as in the reference.
#[derive(Clone, Debug)]
pub struct Route6 {
    destination: Ipv6Addr,
    prefix: i32,
    next_hop: Ipv6Addr,
    metric: i32,
    references: i32,
    uses: i32,
    flags: u32,
    iface: Vec<u8>,
    /// The hexadecimal groups of destination, source and next hop.
    groups: [[Vec<u8>; 8]; 3],
}

impl Default for Route6 {
    fn default() -> Self {
        Self {
            destination: Ipv6Addr::UNSPECIFIED,
            prefix: 0,
            next_hop: Ipv6Addr::UNSPECIFIED,
            metric: 0,
            references: 0,
            uses: 0,
            flags: 0,
            iface: Vec::new(),
            groups: Default::default(),
        }
    }
}

impl Route6 {
    /// Takes the fields of a line.
    pub fn line(&mut self, line: &[u8]) {
        const PREFIX: usize = 2;
        const NUMBER: usize = 8;
        let mut scan = Scan::new(line);
        let mut source_prefix = 0;
        scan_groups(&mut self.groups[0], &mut scan);
        number(&mut self.prefix, &mut scan, PREFIX);
        scan_groups(&mut self.groups[1], &mut scan);
        number(&mut source_prefix, &mut scan, PREFIX);
        scan_groups(&mut self.groups[2], &mut scan);
        for field in [&mut self.metric, &mut self.references, &mut self.uses] {
            number(field, &mut scan, NUMBER);
        }
        let mut flags = self.flags as i32;
        number(&mut flags, &mut scan, NUMBER);
        self.flags = flags as u32;
        if let Some(iface) = scan.word() {
            self.iface = iface.to_vec();
        }
        self.destination = joined(&self.groups[0]).unwrap_or(self.destination);
        self.next_hop = joined(&self.groups[2]).unwrap_or(self.next_hop);
    }

    /// Whether this is an entry of the cache.
    #[must_use]
    pub fn cached(&self) -> bool {
        const CACHE: u32 = 0x100_0000;
        self.flags & CACHE != 0
    }

    /// Appends the row.
    pub fn row(&self, out: &mut Vec<u8>, numeric: bool, names: &mut dyn Names) {
        /// Bytes of the longest destination.
        const LONGEST: usize = 127;
        let start = out.len();
        inet::address(out, self.destination.into(), numeric, names);
        cell::text(out, format_args!("/{}", self.prefix));
        out.truncate(start + LONGEST);
        cell::pad(out, start, 30);
        out.push(b' ');
        let start = out.len();
        inet::address(out, self.next_hop.into(), numeric, names);
        cell::pad(out, start, 26);
        let flags: String = FLAGS
            .iter()
            .filter(|(bit, _)| self.flags & bit != 0)
            .map(|(_, letter)| letter)
            .collect();
        let Self {
            metric,
            references,
            uses,
            ..
        } = self;
        cell::text(
            out,
            format_args!(" {flags:<4} {metric:<3} {references:<1} {uses:>6} "),
        );
        sanitized(out, &self.iface);
        out.push(b'\n');
    }
}

fn scan_groups(groups: &mut [Vec<u8>; 8], scan: &mut Scan<'_>) {
    const DIGITS: usize = 4;
    for group in groups {
        if let Some(word) = scan.word_up_to(DIGITS) {
            *group = word.to_vec();
        }
    }
}

fn number(field: &mut i32, scan: &mut Scan<'_>, width: usize) {
    if let Some(number) = scan.hex_up_to(width) {
        *field = number as i32;
    }
}

/// The address of eight groups, if each is hexadecimal.
fn joined(groups: &[Vec<u8>; 8]) -> Option<Ipv6Addr> {
    let mut segments = [0; 8];
    for (segment, group) in segments.iter_mut().zip(groups) {
        let text = std::str::from_utf8(group).ok()?;
        if !group.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        *segment = u16::from_str_radix(text, 16).ok()?;
    }
    Some(segments.into())
}

#[cfg(test)]
mod tests {
    use super::super::names::NoNames;
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_line_is_a_harmless_row(text: Vec<u8>, name: Vec<u8>, flags: u32) {
            let addr = "20010db8000000000000000000000001";
            let fields = format!("{addr} 40 {addr} 80 {addr} 00000400 00000001 00000000 {flags:08x} ");
            let line = [fields.as_bytes(), &name].concat();
            let mut route = Route6::default();
            for line in [&text, &line, &text] {
                route.line(line);
                let mut out = Vec::new();
                route.row(&mut out, false, &mut NoNames);
                let out = String::from_utf8(out).expect("always UTF-8");
                let row = out.strip_suffix('\n').expect("a whole line");
                proptest::prop_assert!(!row.contains(char::is_control));
            }
        }
    }
}
