//! Protocol counters (`-s`): the kernel's lists to sentences.

use super::{
    cell,
    names::sanitized,
    scan::{Scan, fgets},
    stats_tables::{self as tables, Class, Text},
};

/// Which sections with a known name are printed. Unknown ones always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Tcp, TcpExt
    pub tcp: bool,
    /// Udp, Udp6
    pub udp: bool,
    /// Ip, Icmp, Ip6, Icmp6
    pub raw: bool,
    /// Sctp
    pub sctp: bool,
}

/// A file that is not a list of pairs `Name: key ...`, `Name: value ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPairs;

/// The list that a counter is printed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Plain,
    HistIn,
    HistOut,
}

/// Prints counters. What one section leaves behind shows in the next, so one value serves a report.
#[derive(Debug)]
pub struct Report<'a> {
    out: &'a mut Vec<u8>,
    sections: Sections,
    list: List,
    texts: &'static [Text],
    shown: bool,
}

impl<'a> Report<'a> {
    /// Starts a report.
    pub fn new(out: &'a mut Vec<u8>, sections: Sections) -> Self {
        Self {
            out,
            sections,
            list: List::Plain,
            texts: &[],
            shown: true,
        }
    }

    /// Prints `snmp` or `netstat`; only the sections whose names begin with `prefix`.
    ///
    /// # Errors
    /// The file is not as it should be. What came before is printed.
    pub fn pairs(&mut self, file: &[u8], prefix: &[u8]) -> Result<(), NotPairs> {
        let mut lines = file.split_inclusive(|&byte| byte == b'\n');
        while let Some(keys) = lines.next() {
            if keys == b"\n" {
                continue;
            }
            let Some(values) = lines.next() else { break };
            let (name, keys) = at_colon(keys).ok_or(NotPairs)?;
            let (_, values) = at_colon(values).ok_or(NotPairs)?;
            if !name.starts_with(prefix) {
                continue;
            }
            self.section(name);
            let mut values = Scan::new(values);
            let keys = keys.split(|byte| matches!(byte, b' ' | b'\t' | b'\n'));
            for key in keys.filter(|key| !key.is_empty()) {
                self.counter(key, values.long().unwrap_or(0));
            }
        }
        Ok(())
    }

    /// Prints `snmp6`. A line that lacks a field repeats that of the line before.
    pub fn names(&mut self, file: &[u8]) {
        let mut section: Option<&[u8]> = None;
        let (mut name, mut value): (&[u8], u64) = (b"", 0);
        const ROOM: usize = 1024;
        for line in fgets(file, ROOM) {
            let mut scan = Scan::new(line);
            name = scan.word().unwrap_or(name);
            value = scan.long().unwrap_or(value);
            if !section.is_some_and(|section| contains(name, section)) {
                let end = name.iter().position(|&byte| byte == b'6');
                let title = &name[..end.map_or(name.len(), |at| at + 1)];
                self.section(title);
                section = Some(title);
            }
            self.counter(name, value);
        }
    }

    /// Prints `sctp/snmp`.
    pub fn sctp(&mut self, file: &[u8]) {
        self.section(b"Sctp");
        for line in file.split(|&byte| byte == b'\n') {
            let Some(at) = line.iter().position(|byte| matches!(byte, b' ' | b'\t')) else {
                continue;
            };
            let (name, value) = line.split_at(at);
            self.counter(name, Scan::new(value).long().unwrap_or(0));
        }
    }

    fn section(&mut self, name: &[u8]) {
        let Sections {
            tcp,
            udp,
            raw,
            sctp,
        } = self.sections;
        let known = match name {
            b"Ip" => Some((tables::IP, raw)),
            b"Icmp" => Some((tables::ICMP, raw)),
            b"Tcp" => Some((tables::TCP, tcp)),
            b"TcpExt" => Some((tables::TCP_EXT, tcp)),
            b"Udp" => Some((tables::UDP, udp)),
            b"Ip6" => Some((tables::IP6, raw)),
            b"Icmp6" => Some((tables::ICMP6, raw)),
            b"Udp6" => Some((tables::UDP6, udp)),
            b"Sctp" => Some((tables::SCTP, sctp)),
            _ => None,
        };
        match known {
            Some((texts, selected)) => {
                self.texts = texts;
                self.shown = selected;
                self.list = List::Plain;
            }
            None => {
                self.texts = &[];
                self.shown = true;
            }
        }
        if self.shown {
            sanitized(self.out, name);
            self.out.extend_from_slice(b":\n");
        }
    }

    fn counter(&mut self, key: &[u8], value: u64) {
        if !self.shown {
            return;
        }
        let text = self
            .texts
            .iter()
            .find(|(known, ..)| known.as_bytes() == key);
        let Some(&(_, text, class)) = text else {
            if value != 0 {
                self.indent();
                sanitized(self.out, key);
                cell::text(self.out, format_args!(": {value}\n"));
            }
            return;
        };
        match class {
            Class::Never => {}
            Class::Always => {
                self.list = List::Plain;
                self.sentence(text, value);
            }
            Class::Positive => {
                self.list = List::Plain;
                if value != 0 {
                    self.sentence(text, value);
                }
            }
            Class::HistIn => self.histogram(List::HistIn, "input", text, value),
            Class::HistOut => self.histogram(List::HistOut, "output", text, value),
        }
    }

    fn histogram(&mut self, list: List, direction: &str, text: &str, value: u64) {
        if self.list != list {
            // The title is indented as the list before it.
            self.indent();
            cell::text(self.out, format_args!("ICMP {direction} histogram:\n"));
            self.list = list;
        }
        if value != 0 {
            self.sentence(text, value);
        }
    }

    fn sentence(&mut self, text: &str, value: u64) {
        self.indent();
        let (before, after) = text.split_once('%').unwrap_or((text, ""));
        cell::text(self.out, format_args!("{before}{value}{after}\n"));
    }

    fn indent(&mut self) {
        let width = if self.list == List::Plain { 4 } else { 8 };
        cell::left(self.out, b"", width);
    }
}

/// The parts before and after the first colon, up to the first NUL.
fn at_colon(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.split(|&byte| byte == 0).next()?;
    let at = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..at], &line[at + 1..]))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sections = Sections {
        tcp: true,
        udp: true,
        raw: true,
        sctp: true,
    };

    #[test]
    fn the_second_histogram_of_icmp6_is_indented() {
        let mut out = Vec::new();
        Report::new(&mut out, ALL).names(
            b"Icmp6InMsgs 3\nIcmp6OutMsgs 2\nIcmp6InEchos 0\nIcmp6OutEchos 4\nIcmp6InType1 1\n",
        );
        let expected = "Icmp6:\n    3 ICMP messages received\n    2 ICMP messages sent\n    \
                        ICMP input histogram:\n        ICMP output histogram:\n        \
                        echo requests: 4\n        Icmp6InType1: 1\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn unknown_sections_are_shown_whatever_is_selected() {
        let none = Sections {
            tcp: false,
            udp: false,
            raw: false,
            sctp: false,
        };
        let mut out = Vec::new();
        let file = b"Udp: InDatagrams\nUdp: 5\nUdpLite: InDatagrams X\nUdpLite: 0 -1\nbad\nbad\n";
        assert_eq!(Report::new(&mut out, none).pairs(file, b""), Err(NotPairs));
        assert_eq!(
            String::from_utf8_lossy(&out),
            "UdpLite:\n    X: 18446744073709551615\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(file: Vec<u8>) {
            let mut out = Vec::new();
            let mut report = Report::new(&mut out, ALL);
            let _ = report.pairs(&file, b"");
            report.names(&file);
            report.sctp(&file);
            proptest::prop_assert!(out.starts_with(b"Sctp:\n") || out.ends_with(b"\n"));
        }
    }
}
