//! Masqueraded connections (`-M`), a table of Linux 2.0 and 2.2.

use std::net::Ipv4Addr;

use super::{
    addr, cell,
    names::{Names, Service},
    scan::Scan,
};

/// Why the table cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// There is no header.
    Empty,
    /// A line is not an entry.
    Format,
    /// An entry of an unknown protocol.
    Type,
}

impl Broken {
    /// The message for stderr.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Empty => "masq_info: Internal Error `fgets() failed'.\n",
            Self::Format => "masq_info.c: Internal Error `ip_masquerade format error'.\n",
            Self::Type => "masq_info.c: Internal Error `ip_masquerade unknown type'.\n",
        }
    }
}

struct Entry {
    proto: &'static str,
    service: Option<Service>,
    source: Ipv4Addr,
    source_port: u16,
    target: Ipv4Addr,
    target_port: u16,
    masked_port: u16,
    sequence: u64,
    delta: i16,
    previous: i16,
    expires: u64,
}

/// Appends the table.
///
/// # Errors
/// One bad line hides the whole table.
pub fn table(
    out: &mut Vec<u8>,
    file: &[u8],
    extend: bool,
    numeric: (bool, bool),
    names: &mut dyn Names,
) -> Result<(), Broken> {
    let mut lines = file.split_inclusive(|&byte| byte == b'\n');
    let header = lines.next().ok_or(Broken::Empty)?;
    let has_previous = header.windows(6).any(|window| window == b"PDelta");
    let mut entries = Vec::new();
    for line in lines.filter(|line| *line != b"\n") {
        entries.push(entry(line, has_previous)?);
    }
    if entries.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(b"IP masquerading entries\n");
    out.extend_from_slice(if extend {
        b"prot   expire    initseq delta prevd source               destination          ports\n"
    } else {
        b"prot   expire source               destination          ports\n"
    });
    for entry in &entries {
        row(out, entry, extend, has_previous, numeric, names);
    }
    Ok(())
}

fn entry(line: &[u8], has_previous: bool) -> Result<Entry, Broken> {
    scan_entry(line, has_previous)
        .ok_or(Broken::Format)?
        .ok_or(Broken::Type)
}

/// The inner `None` is an unknown protocol.
fn scan_entry(line: &[u8], has_previous: bool) -> Option<Option<Entry>> {
    let mut scan = Scan::new(line);
    let word = scan.word()?;
    let addr = |scan: &mut Scan<'_>| -> Option<(Ipv4Addr, u16)> {
        let addr = Ipv4Addr::from(scan.hex()? as u32);
        scan.literal(b':');
        Some((addr, scan.hex()? as u16))
    };
    let (source, source_port) = addr(&mut scan)?;
    let (target, target_port) = addr(&mut scan)?;
    let masked_port = scan.hex()? as u16;
    let sequence = scan.hex()?;
    let delta = scan.int()? as i16;
    let previous = if has_previous { scan.int()? as i16 } else { 0 };
    let expires = scan.long()?;
    let (proto, service) = match word {
        b"IP" => ("ip", None),
        b"TCP" => ("tcp", Some(Service::Tcp)),
        b"UDP" => ("udp", Some(Service::Udp)),
        b"ICMP" => ("icmp", None),
        _ => return Some(None),
    };
    scan.skip_space();
    if !scan.rest().is_empty() {
        return None;
    }
    Some(Some(Entry {
        proto,
        service,
        source,
        source_port,
        target,
        target_port,
        masked_port,
        sequence,
        delta,
        previous,
        expires,
    }))
}

fn row(
    out: &mut Vec<u8>,
    entry: &Entry,
    extend: bool,
    has_previous: bool,
    (hosts, ports): (bool, bool),
    names: &mut dyn Names,
) {
    /// USER_HZ
    const TICKS: u64 = 100;
    let seconds = entry.expires / TICKS;
    let (minutes, seconds, hundredths) = (seconds / 60, seconds % 60, entry.expires % TICKS);
    cell::text(
        out,
        format_args!(
            "{:<4}{minutes:>3}:{seconds:02}.{hundredths:02} ",
            entry.proto
        ),
    );
    if extend {
        cell::text(
            out,
            format_args!("{:>10} {:>5} ", entry.sequence, entry.delta),
        );
        if has_previous {
            cell::text(out, format_args!("{:>5} ", entry.previous));
        } else {
            out.extend_from_slice(b"    - ");
        }
    }
    for addr in [entry.source, entry.target] {
        let start = out.len();
        if hosts || addr.is_unspecified() || !names.host(addr.into(), out) {
            addr::numeric(out, addr.into());
        }
        cell::pad(out, start, 20);
        out.push(b' ');
    }
    let mut port = |out: &mut Vec<u8>, number: u16| {
        if number == 0 {
            out.push(b'*');
            return;
        }
        let mut named = |service| names.service(service, number.into(), out);
        if ports || !entry.service.is_some_and(&mut named) {
            cell::unsigned(out, number.into());
        }
    };
    port(out, entry.source_port);
    out.extend_from_slice(b" -> ");
    port(out, entry.target_port);
    out.extend_from_slice(b" (");
    port(out, entry.masked_port);
    out.extend_from_slice(b")\n");
}

#[cfg(test)]
mod tests {
    use super::super::names::NoNames;
    use super::*;

    const HEADER: &[u8] = b"Prc FromIP   FPrt ToIP     TPrt Masq Init-seq  Delta PDelta Expires\n";

    proptest::proptest! {
        #[test]
        fn any_text_is_a_harmless_table_or_broken(text: Vec<u8>, proto in "TCP|UDP|ICMP|IP|X", ports: [u16; 3]) {
            let [a, b, c] = ports;
            let line = format!("{proto} C0A80201:{a:04X} 0A000001:{b:04X} {c:04X} 0 -1 2 6000\n");
            for more in [&b""[..], &text] {
                let file = [HEADER, line.as_bytes(), more].concat();
                for file in [&file, more] {
                    let mut out = Vec::new();
                    let result = table(&mut out, file, true, (false, false), &mut NoNames);
                    proptest::prop_assert!(result.is_ok() || out.is_empty());
                    let out = String::from_utf8(out).expect("always UTF-8");
                    proptest::prop_assert!(!out.replace('\n', "").contains(char::is_control));
                }
                if more.is_empty() {
                    let mut out = Vec::new();
                    let result = table(&mut out, &file, false, (false, false), &mut NoNames);
                    proptest::prop_assert_eq!(result.is_ok(), proto != "X");
                }
            }
        }
    }
}
