//! Rows of Unix sockets.

use crate::cmdline::Options;

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
        if !shown(self.options, row) {
            return;
        }
        let listening = listens(row);
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

/// Whether `-a` and `-l` let a row be seen.
#[must_use]
pub fn shown(options: &Options, row: &UnixRow) -> bool {
    options.all || listens(row) == options.listening
}

pub(super) fn listens(row: &UnixRow) -> bool {
    row.state == 1 && row.flags & ACCEPTCON != 0
}

pub(super) fn kind(kind: i64) -> &'static str {
    match kind {
        1 => "STREAM",
        2 => "DGRAM",
        3 => "RAW",
        4 => "RDM",
        5 => "SEQPACKET",
        _ => "UNKNOWN",
    }
}

pub(super) fn state(state: i64, listening: bool) -> &'static str {
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use crate::{
        source::Owners,
        view::{Contexts, names::NoNames},
    };

    use super::*;

    fn check(options: &Options, expected: Expect) {
        let listener = UnixRow {
            refcount: 2,
            protocol: 0,
            flags: 0x10000,
            kind: 1,
            state: 1,
            inode: Some(642_860),
            path: b"@a\x1b[31m\x07".to_vec(),
        };
        let rows = [
            listener.clone(),
            UnixRow {
                flags: 0,
                state: 2,
                inode: Some(0),
                ..listener.clone()
            },
            UnixRow {
                flags: 0x60000,
                protocol: 1,
                kind: 9,
                inode: None,
                ..listener.clone()
            },
            UnixRow {
                flags: 0,
                state: 9,
                kind: 5,
                path: Vec::new(),
                ..listener
            },
        ];
        let owners = Owners {
            by_inode: super::super::by_inode::ByInode::from_iter([(
                642_860,
                b"504/python3".as_slice().into(),
            )]),
            ..Owners::default()
        };
        let contexts = Contexts::new();
        let mut out = Vec::new();
        let mut names = NoNames;
        let mut screen = Screen::new(options, &owners, &contexts, &mut names);
        for row in rows {
            screen.unix(&mut out, &row);
        }
        expected.assert_eq(&String::from_utf8_lossy(&out).replace('\n', "$\n"));
    }

    #[test]
    fn rows_are_whole_and_paths_harmless() {
        let mut options = Options {
            all: true,
            programs: true,
            ..Options::default()
        };
        check(
            &options,
            expect![[r#"
            unix  2      [ ACC ]     STREAM     LISTENING     642860   504/python3          @a?[31m?$
            unix  2      [ ]         STREAM     CONNECTING    0        -                    @a?[31m?$
            ??    2      [ W N ]     UNKNOWN                  -        -                    @a?[31m?$
            unix  2      [ ]         SEQPACKET  UNKNOWN       642860   504/python3          $
        "#]],
        );
        options.all = false;
        options.programs = false;
        options.listening = true;
        check(
            &options,
            expect![[r#"
            unix  2      [ ACC ]     STREAM     LISTENING     642860   @a?[31m?$
        "#]],
        );
    }
}
