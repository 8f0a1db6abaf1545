//! The IPv4 routing table and cache (`-r`): lines of the kernel's files to rows.

use std::net::Ipv4Addr;

use super::{Names, addr, route_rows, scan::Scan};

/// Which columns are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `-reee`: the title alone.
    Title,
    /// `-re`: metric, references, use.
    Metric,
    /// `-r`: MSS, window, round trip time.
    Window,
    /// `-ree`: all.
    All,
}

impl Level {
    /// The level for so many `-e`: the reference keeps two bits of its count.
    #[must_use]
    pub fn from_extend(count: u32) -> Self {
        match count {
            0 => Self::Window,
            1 => Self::Metric,
            2 => Self::All,
            n => match n.wrapping_add(1) & 3 {
                0 => Self::Title,
                1 => Self::Metric,
                2 => Self::Window,
                _ => Self::All,
            },
        }
    }
}

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The forwarding table.
    Fib,
    /// The cache of kernels before 3.6.
    Cache,
}

impl Table {
    /// The line above the header.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Fib => "Kernel IP routing table\n",
            Self::Cache => "Kernel IP routing cache\n",
        }
    }

    /// The header line.
    #[must_use]
    pub fn header(self, level: Level) -> &'static str {
        match (self, level) {
            (_, Level::Title) => "",
            (Self::Fib, Level::Metric) => {
                "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n"
            }
            (Self::Fib, Level::Window) => {
                "Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface\n"
            }
            (Self::Fib, Level::All) => concat!(
                "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface  ",
                "  MSS   Window irtt\n",
            ),
            (Self::Cache, Level::Metric) => {
                "Source          Destination     Gateway         Flags Metric Ref    Use Iface\n"
            }
            (Self::Cache, Level::Window) => {
                "Source          Destination     Gateway         Flags   MSS Window  irtt Iface\n"
            }
            (Self::Cache, Level::All) => concat!(
                "Source          Destination     Gateway         Flags Metric Ref    Use Iface  ",
                "  MSS   Window irtt  TOS HHRef HHUptod     SpecDst\n",
            ),
        }
    }

    /// The columns that the file must have, in order. Others may stand between them.
    fn columns(self) -> &'static [&'static [u8]] {
        const FIB: [&[u8]; 11] = [
            b"Iface",
            b"Destination",
            b"Gateway",
            b"Flags",
            b"RefCnt",
            b"Use",
            b"Metric",
            b"Mask",
            b"MTU",
            b"Window",
            b"IRTT",
        ];
        const CACHE: [&[u8]; 15] = [
            b"Iface",
            b"Destination",
            b"Gateway",
            b"Flags",
            b"RefCnt",
            b"Use",
            b"Metric",
            b"Source",
            b"MTU",
            b"Window",
            b"IRTT",
            b"TOS",
            b"HHRef",
            b"HHUptod",
            b"SpecDst",
        ];
        match self {
            Self::Fib => &FIB,
            Self::Cache => &CACHE,
        }
    }

    /// The fewest fields of a line that is shown.
    fn least(self) -> usize {
        match self {
            Self::Fib => 10,
            Self::Cache => 12,
        }
    }
}

/// One route. A field that a line lacks keeps the value of the line before, as in the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the file's columns")]
pub struct Route {
    /// Untrusted bytes.
    pub iface: Vec<u8>,
    pub destination: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub flags: u32,
    pub references: i32,
    pub uses: i32,
    pub metric: i32,
    /// The cache has a source address here.
    pub mask: Ipv4Addr,
    pub mtu: i32,
    pub window: i32,
    pub irtt: i32,
    pub tos: i32,
    pub hh_references: i32,
    pub hh_up_to_date: i32,
    pub specific: Ipv4Addr,
}

/// Reads lines with the columns of a header.
#[derive(Clone, Debug)]
pub struct Reader {
    table: Table,
    /// Which columns are to be scanned; the others are skipped.
    wanted: Vec<bool>,
    route: Route,
}

impl Reader {
    /// Reads the header.
    ///
    /// # Errors
    /// The name of the first column that is missing.
    pub fn new(table: Table, header: &[u8]) -> Result<Self, &'static [u8]> {
        let mut missing = table.columns();
        let mut wanted = Vec::new();
        for word in header.split(|byte| matches!(byte, b' ' | b'\t' | b'\n')) {
            let [next, others @ ..] = missing else { break };
            if word == *next {
                missing = others;
            }
            if !word.is_empty() {
                wanted.push(word == *next);
            }
        }
        let zero = Ipv4Addr::UNSPECIFIED;
        let route = Route {
            iface: Vec::new(),
            destination: zero,
            gateway: zero,
            flags: 0,
            references: 0,
            uses: 0,
            metric: 0,
            mask: zero,
            mtu: 0,
            window: 0,
            irtt: 0,
            tos: 0,
            hh_references: 0,
            hh_up_to_date: 0,
            specific: zero,
        };
        match missing.first() {
            Some(missing) => Err(missing),
            None => Ok(Self {
                table,
                wanted,
                route,
            }),
        }
    }

    /// The route of a line, if it is to be shown.
    pub fn line(&mut self, line: &[u8]) -> Option<&Route> {
        let mut scan = Scan::new(line);
        let mut column = 0;
        for &wanted in &self.wanted {
            if wanted {
                scan_column(&mut self.route, column, &mut scan);
                column += 1;
            } else {
                scan.skip_word();
            }
        }
        const UP: u32 = 0x1;
        let shown = scan.fields() >= self.table.least()
            && (self.table == Table::Cache || self.route.flags & UP != 0);
        shown.then_some(&self.route)
    }
}

fn scan_column(route: &mut Route, column: usize, scan: &mut Scan<'_>) {
    const IFACE: usize = 16;
    const ADDR: usize = 128;
    let int = |field: &mut i32, scan: &mut Scan<'_>| *field = scan.int().unwrap_or(*field);
    let addr = |field: &mut Ipv4Addr, scan: &mut Scan<'_>| {
        *field = scan.word_up_to(ADDR).and_then(address).unwrap_or(*field);
    };
    match column {
        0 => {
            if let Some(name) = scan.word_up_to(IFACE) {
                route.iface = name.to_vec();
            }
        }
        1 => addr(&mut route.destination, scan),
        2 => addr(&mut route.gateway, scan),
        3 => route.flags = scan.hex().map_or(route.flags, |flags| flags as u32),
        4 => int(&mut route.references, scan),
        5 => int(&mut route.uses, scan),
        6 => int(&mut route.metric, scan),
        7 => addr(&mut route.mask, scan),
        8 => int(&mut route.mtu, scan),
        9 => int(&mut route.window, scan),
        10 => int(&mut route.irtt, scan),
        11 => int(&mut route.tos, scan),
        12 => int(&mut route.hh_references, scan),
        13 => int(&mut route.hh_up_to_date, scan),
        _ => addr(&mut route.specific, scan),
    }
}

/// Eight hexadecimal digits: the address as the kernel's integer, in the host's byte order.
fn address(word: &[u8]) -> Option<Ipv4Addr> {
    if word.len() != 8 || !word.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let number = Scan::new(word).hex_up_to(8)?;
    Some(Ipv4Addr::from((number as u32).to_ne_bytes()))
}

/// Appends the row of a route.
pub fn row(
    out: &mut Vec<u8>,
    table: Table,
    level: Level,
    route: &Route,
    numeric: bool,
    names: &mut dyn Names,
) {
    let mut host = |addr: Ipv4Addr| {
        named(addr, |text| {
            !numeric && !addr.is_unspecified() && names.host(addr.into(), text)
        })
    };
    let gateway = host(route.gateway);
    match table {
        Table::Cache => {
            let addrs = [route.mask, route.destination].map(&mut host);
            let specific = host(route.specific);
            let [source, destination] = &addrs;
            let addrs: [&[u8]; 3] = [source, destination, &gateway];
            route_rows::cache_row(out, level, route, addrs, &specific);
        }
        Table::Fib => {
            let destination = destination(route, numeric, names);
            let mask = named(route.mask, |_| false);
            route_rows::fib_row(out, level, route, [&destination, &gateway, &mask]);
        }
    }
}

fn destination(route: &Route, numeric: bool, names: &mut dyn Names) -> Vec<u8> {
    const HOST: u32 = 0x4;
    let addr = route.destination;
    let host_bits = u32::from(addr) & !u32::from(route.mask) != 0;
    named(addr, |text| {
        if numeric {
            false
        } else if addr.is_unspecified() {
            let default = route.mask.is_unspecified();
            if default {
                text.extend_from_slice(b"default");
            }
            default
        } else if host_bits || route.flags & HOST != 0 {
            names.host(addr.into(), text)
        } else {
            names.network(addr, text)
        }
    })
}

/// The name that `name` appends, or the number if it does not, in the 15 bytes that a cell has.
fn named(addr: Ipv4Addr, name: impl FnOnce(&mut Vec<u8>) -> bool) -> Vec<u8> {
    const WIDTH: usize = 15;
    let mut text = Vec::new();
    if !name(&mut text) {
        addr::numeric(&mut text, addr.into());
    }
    text.truncate(WIDTH);
    text
}

#[cfg(test)]
mod tests {
    use super::super::names::NoNames;
    use super::*;

    const FIB: &[u8] = b"Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\t\
        Window\tIRTT\n";
    const CACHE: &[u8] = b"Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tSource\t\
        MTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst\n";

    fn shown(table: Table, extend: u32, lines: &[&[u8]]) -> (String, usize) {
        let header = if table == Table::Fib { FIB } else { CACHE };
        let mut reader = Reader::new(table, header).expect("all columns");
        let (mut out, mut count) = (Vec::new(), 0);
        for line in lines {
            if let Some(route) = reader.line(line) {
                let level = Level::from_extend(extend);
                row(&mut out, table, level, route, false, &mut NoNames);
                count += 1;
            }
        }
        (String::from_utf8(out).expect("always UTF-8"), count)
    }

    #[test]
    fn the_default_route_has_a_name() {
        let line = b"e\x1b[2Jth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        let (text, _) = shown(Table::Fib, 0, &[line]);
        let expected =
            "default         192.168.2.1     0.0.0.0         UG        0 0          0 e?[2Jth0\n";
        assert_eq!(text, expected);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_a_harmless_row_or_none(
            text: Vec<u8>,
            name: Vec<u8>,
            flags: u32,
            extend in 0_u32..5,
        ) {
            let fields = format!(" 0102A8C0 0102A8C0 {flags:X} 0 -1 2 00FFFFFF 3 4 5 6 7 8 0102A8C0");
            let line = [&name, fields.as_bytes()].concat();
            let _ = Reader::new(Table::Fib, &text);
            let _ = Reader::new(Table::Cache, &[CACHE, &text].concat());
            for table in [Table::Fib, Table::Cache] {
                let (out, count) = shown(table, extend, &[&text, &line, &text]);
                let rows = if extend == 3 { 0 } else { count };
                proptest::prop_assert_eq!(out.matches('\n').count(), rows);
                proptest::prop_assert!(!out.replace('\n', "").contains(char::is_control));
            }
        }
    }
}
