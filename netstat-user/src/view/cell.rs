//! Padded cells: text and numbers in at least so many bytes.

use std::fmt::{self, Write};

/// Appends blanks until `width` bytes follow `start`.
pub fn pad(out: &mut Vec<u8>, start: usize, width: usize) {
    let wanted = start + width;
    if out.len() < wanted {
        out.resize(wanted, b' ');
    }
}

/// Text, then blanks.
pub fn left(out: &mut Vec<u8>, text: &[u8], width: usize) {
    let start = out.len();
    out.extend_from_slice(text);
    pad(out, start, width);
}

/// Blanks, then text.
pub fn right_text(out: &mut Vec<u8>, text: &[u8], width: usize) {
    let blanks = width.saturating_sub(text.len());
    out.resize(out.len() + blanks, b' ');
    out.extend_from_slice(text);
}

/// Formatted ASCII text. `format!` pads by characters, so only numbers and constants belong here.
pub fn text(out: &mut Vec<u8>, arguments: fmt::Arguments<'_>) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl Write for Bytes<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // A Vec takes all text, and the numbers given here format without error.
    let _ = Bytes(out).write_fmt(arguments);
}

/// A number.
pub fn unsigned(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A signed number.
pub fn signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    unsigned(out, number.unsigned_abs());
}

/// Blanks, then a signed number.
pub fn right(out: &mut Vec<u8>, number: i64, width: usize) {
    right_text(out, itoa::Buffer::new().format(number).as_bytes(), width);
}

/// A signed number, then blanks.
pub fn left_signed(out: &mut Vec<u8>, number: i64, width: usize) {
    let start = out.len();
    signed(out, number);
    pad(out, start, width);
}

/// A number, then blanks.
pub fn left_unsigned(out: &mut Vec<u8>, number: u64, width: usize) {
    let start = out.len();
    unsigned(out, number);
    pad(out, start, width);
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn cells_are_as_format_makes_them(n: i64, u: u64, text: String, width in 0_usize..30) {
            let mut out = Vec::new();
            right(&mut out, n, width);
            left_signed(&mut out, n, width);
            left_unsigned(&mut out, u, width);
            let expected = format!("{n:>width$}{n:<width$}{u:<width$}");
            proptest::prop_assert_eq!(&out, expected.as_bytes());
            out.clear();
            left(&mut out, text.as_bytes(), width);
            let padded = text.len().max(width);
            proptest::prop_assert_eq!(out.len(), padded);
            proptest::prop_assert!(out.starts_with(text.as_bytes()));
            proptest::prop_assert!(out[text.len()..].iter().all(|&byte| byte == b' '));
            out.clear();
            right_text(&mut out, text.as_bytes(), width);
            proptest::prop_assert_eq!(out.len(), padded);
            proptest::prop_assert!(out.ends_with(text.as_bytes()));
            proptest::prop_assert!(out[..padded - text.len()].iter().all(|&byte| byte == b' '));
        }
    }
}
