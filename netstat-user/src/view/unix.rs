//! Rows of Unix sockets.

use super::{Screen, cell, names::sanitized, row::UnixRow};

/// `__SO_ACCEPTCON`: the socket listens.
const ACCEPTCON: u64 = 0x10000;
/// `__SO_WAITDATA`
const WAITDATA: u64 = 0x20000;
/// `__SO_NOSPACE`
const NOSPACE: u64 = 0x40000;

impl Screen<'_> {
    /// Appends a row, unless `-a` and `-l` leave it out.
    pub fn unix(&mut self, out: &mut Vec<u8>, row: &UnixRow) {
        let listening = row.state == 1 && row.flags & ACCEPTCON != 0;
        if !self.options.all && listening != self.options.listening {
            return;
        }
        cell::left(out, if row.protocol == 0 { b"unix" } else { b"??" }, 5);
        out.push(b' ');
        cell::left_signed(out, row.refcount, 6);
        out.push(b' ');
        let start = out.len();
        out.extend_from_slice(b"[ ");
        for (bit, name) in [(ACCEPTCON, "ACC "), (WAITDATA, "W "), (NOSPACE, "N ")] {
            if row.flags & bit != 0 {
                out.extend_from_slice(name.as_bytes());
            }
        }
        out.push(b']');
        cell::pad(out, start, 11);
        out.push(b' ');
        cell::left(out, kind(row.kind).as_bytes(), 10);
        out.push(b' ');
        cell::left(out, state(row.state, listening).as_bytes(), 13);
        out.push(b' ');
        match row.inode {
            Some(inode) => cell::left_unsigned(out, inode, 8),
            None => cell::left(out, b"-", 8),
        }
        self.program(out, row.inode);
        out.push(b' ');
        sanitized(out, &row.path);
        out.push(b'\n');
    }
}

fn kind(kind: i64) -> &'static str {
    match kind {
        1 => "STREAM",
        2 => "DGRAM",
        3 => "RAW",
        4 => "RDM",
        5 => "SEQPACKET",
        _ => "UNKNOWN",
    }
}

fn state(state: i64, listening: bool) -> &'static str {
    match state {
        0 => "FREE",
        1 if listening => "LISTENING",
        1 => "",
        2 => "CONNECTING",
        3 => "CONNECTED",
        4 => "DISCONNECTING",
        _ => "UNKNOWN",
    }
}
