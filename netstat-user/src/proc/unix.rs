//! The lines of /proc/net/unix.
//!
//! A name may hold line ends, and what follows one is a line of the file like any other. A real
//! line begins with a pointer of fixed width (`%pK`: hashed, or zeros, but always as long) and a
//! colon. The first line after the header is always real and tells that width: a line that begins
//! otherwise is the rest of a name and counts as bogus. A name that imitates the width as well
//! cannot be told from a socket by reading this file.

use crate::{
    source::Line,
    view::{row::UnixRow, scan::Scan},
};

/// Reads a file line by line.
#[derive(Debug, Default)]
pub(super) struct Reader {
    has_inodes: bool,
    pointer_width: Option<usize>,
}

impl Reader {
    /// Reads the line of this number; nothing for the header.
    pub(super) fn line(&mut self, number: usize, text: &[u8]) -> Option<Line<UnixRow>> {
        if number == 0 {
            self.has_inodes = text.windows(5).any(|word| word == b"Inode");
            return None;
        }
        let width = pointer_width(text);
        if *self.pointer_width.get_or_insert(width) != width {
            return Some(Line::Bogus);
        }
        Some(self.row(text).map_or(Line::Bogus, Line::Row))
    }

    fn row(&self, text: &[u8]) -> Option<UnixRow> {
        let mut scan = Scan::new(text);
        scan.hex()?;
        scan.literal(b':');
        let refcount = scan.hex()?.cast_signed();
        let protocol = scan.hex()?.cast_signed();
        let flags = scan.hex()?;
        let kind = scan.hex()?.cast_signed();
        let state = scan.hex()?.cast_signed();
        let number = scan.long().unwrap_or_default();
        let (inode, path) = if self.has_inodes {
            (Some(number), scan.word().unwrap_or_default().to_vec())
        } else {
            (None, number.to_string().into_bytes())
        };
        Some(UnixRow {
            refcount,
            protocol,
            flags,
            kind,
            state,
            inode,
            path,
        })
    }
}

/// How many hexadecimal digits stand before the first colon.
fn pointer_width(text: &[u8]) -> usize {
    let digits = text
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    if text.get(digits) == Some(&b':') {
        digits
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"Num       RefCount Protocol Flags    Type St Inode Path\n";

    fn read(lines: &[&[u8]]) -> Vec<Line<UnixRow>> {
        let mut reader = Reader::default();
        lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| reader.line(at, line))
            .collect()
    }

    fn row(inode: Option<u64>, path: &[u8]) -> Line<UnixRow> {
        Line::Row(UnixRow {
            refcount: 3,
            protocol: 0,
            flags: 0x10000,
            kind: 1,
            state: 1,
            inode,
            path: path.to_vec(),
        })
    }

    const REAL: &[u8] = b"0000000000000000: 00000003 00000000 00010000 0001 01 21 /run/sp ace\n";

    #[test]
    fn a_path_ends_at_a_blank() {
        assert_eq!(read(&[HEADER, REAL]), [row(Some(21), b"/run/sp")]);
    }

    #[test]
    fn without_inodes_the_path_is_the_inode() {
        assert_eq!(read(&[b"Num RefCount\n", REAL]), [row(None, b"21")]);
    }

    #[test]
    fn a_name_with_a_line_end_forges_no_row() {
        let lines = read(&[HEADER, REAL, b"1: 3 0 0 1 1 99 inj\n", b"injected\n"]);
        assert_eq!(lines, [row(Some(21), b"/run/sp"), Line::Bogus, Line::Bogus]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_row_or_bogus(text: Vec<u8>) {
            let lines = read(&[HEADER, REAL, &text]);
            proptest::prop_assert_eq!(lines.len(), 2);
            if !text.starts_with(b"0") && text.first() != Some(&b'-') {
                proptest::prop_assert!(text.len() > 16 || lines[1] == Line::Bogus);
            }
        }
    }
}
