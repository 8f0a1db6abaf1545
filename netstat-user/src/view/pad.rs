//! Padded cells of the reports that are not sockets. Widths count bytes.

use std::fmt::{self, Write};

/// Text, then blanks up to `width`.
pub fn left(out: &mut Vec<u8>, text: &[u8], width: usize) {
    let wanted = out.len() + width;
    out.extend_from_slice(text);
    if out.len() < wanted {
        out.resize(wanted, b' ');
    }
}

/// Blanks, then text that ends at `width`.
pub fn right(out: &mut Vec<u8>, text: &[u8], width: usize) {
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
