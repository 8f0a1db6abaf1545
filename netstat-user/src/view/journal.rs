//! Log lines as entries of the systemd journal, in its native protocol.
//!
//! Format: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::{fmt::Display, io::Write as _};

use crate::{
    conn::types::Endpoint,
    view::addr,
    view::log::{Line, message, proto},
};

/// One datagram: the line for people as `MESSAGE`, and each field by itself.
pub fn entry(line: &Line<'_>) -> Vec<u8> {
    let change = line.change;
    let conn = &change.conn;
    let mut out = Vec::with_capacity(512);
    let mut text = Vec::new();
    message(&mut text, line);
    bytes(&mut out, "MESSAGE", &text);
    // LOG_INFO of syslog(3).
    field(&mut out, "PRIORITY", Some(6));
    field(&mut out, "SYSLOG_IDENTIFIER", Some("netstat-bpf"));
    field(&mut out, "NETSTAT_EVENT", Some("state"));
    field(&mut out, "NETSTAT_TS_NS", Some(line.wall_ns));
    field(&mut out, "NETSTAT_NETNS", Some(conn.netns));
    field(&mut out, "NETSTAT_PROTO", Some(proto(conn.family)));
    end(&mut out, "NETSTAT_LOCAL", &conn.local);
    end(&mut out, "NETSTAT_REMOTE", &conn.remote);
    field(&mut out, "NETSTAT_OLD", change.from);
    field(&mut out, "NETSTAT_NEW", Some(conn.state));
    field(&mut out, "NETSTAT_IN_OLD_NS", change.in_from_ns);
    field(&mut out, "NETSTAT_INFERRED", change.inferred.then_some(1));
    let direction = conn.direction.map(|direction| direction.name());
    field(&mut out, "NETSTAT_DIRECTION", direction);
    if let Some(owner) = conn.owner {
        field(&mut out, "NETSTAT_OWNER_PID", Some(owner.pid));
        bytes(&mut out, "NETSTAT_OWNER_PROGRAM", line.program);
        let provenance = Some(owner.provenance.name());
        field(&mut out, "NETSTAT_OWNER_PROVENANCE", provenance);
    }
    if let Some(end) = change.end {
        let tally = end.tally.unwrap_or_default();
        field(&mut out, "NETSTAT_LIFE_NS", end.life_ns);
        field(&mut out, "NETSTAT_BYTES_SENT", tally.sent);
        field(&mut out, "NETSTAT_BYTES_ACKED", tally.acked);
        field(&mut out, "NETSTAT_BYTES_RECEIVED", tally.received);
        field(&mut out, "NETSTAT_RETRANSMITS", tally.retransmits);
        field(
            &mut out,
            "NETSTAT_CLOSED_BY",
            end.closed_by.map(|side| side.name()),
        );
        field(&mut out, "NETSTAT_WHY", end.why.map(|why| why.name()));
    }
    out
}

/// That something happened to the log itself, as a warning.
pub fn note(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, "MESSAGE", text.as_bytes());
    // LOG_WARNING of syslog(3).
    field(&mut out, "PRIORITY", Some(4));
    field(&mut out, "SYSLOG_IDENTIFIER", Some("netstat-bpf"));
    out
}

fn end(out: &mut Vec<u8>, name: &str, end: &Endpoint) {
    let mut text = Vec::new();
    addr::numeric(&mut text, end.ip());
    bytes(out, &format!("{name}_ADDR"), &text);
    field(out, &format!("{name}_PORT"), Some(end.port));
}

fn field(out: &mut Vec<u8>, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        // Writing to a Vec does not fail.
        let _ = writeln!(out, "{name}={value}");
    }
}

/// A value of any bytes: with its length where a line break would end it early.
fn bytes(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads an entry back, as the journal does.
    fn fields(mut entry: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        while !entry.is_empty() {
            let at = entry
                .iter()
                .position(|b| matches!(b, b'=' | b'\n'))
                .expect("a name");
            let name = String::from_utf8(entry[..at].to_vec()).expect("ASCII");
            let long = entry[at] == b'\n';
            entry = &entry[at + 1..];
            let length = if long {
                let (length, rest) = entry.split_first_chunk::<8>().expect("a length");
                entry = rest;
                u64::from_le_bytes(*length) as usize
            } else {
                entry.iter().position(|b| *b == b'\n').expect("an end")
            };
            found.push((name, entry[..length].to_vec()));
            assert_eq!(entry[length], b'\n');
            entry = &entry[length + 1..];
        }
        found
    }

    proptest! {
        #[test]
        fn any_value_comes_back(value in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut out = Vec::new();
            field(&mut out, "A", Some(1));
            bytes(&mut out, "B", &value);
            field(&mut out, "C", None::<u8>);
            field(&mut out, "D", Some("x"));
            let expected = [("A", b"1".to_vec()), ("B", value), ("D", b"x".to_vec())];
            let expected = expected.map(|(name, value)| (name.to_owned(), value));
            prop_assert_eq!(fields(&out), expected.to_vec());
        }
    }
}
