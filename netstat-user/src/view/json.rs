//! How values become JSON that may go to a terminal.

use std::{borrow::Cow, io};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Appends a value on one line, without the line's end.
///
/// JSON escapes control characters below U+0020. DEL, the C1 controls and the line separators of
/// Unicode are escaped here too, so that no string can drive a terminal or end a line.
pub fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    let mut serializer = Serializer::with_formatter(&mut *out, Safe);
    // Strings and numbers always serialise, and a Vec takes every byte.
    let _ = value.serialize(&mut serializer);
}

/// Bytes of others as a JSON string: what is not UTF-8 becomes U+FFFD.
#[must_use]
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

struct Safe;

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, unsafe_char)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            CompactFormatter.write_string_fragment(writer, &rest[..at])?;
            write!(writer, "\\u{:04x}", u32::from(unsafe_char))?;
            rest = &rest[at + unsafe_char.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

fn is_unsafe(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_back_as_text_and_none_is_raw(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut out = Vec::new();
            write(&mut out, &text(&bytes));
            let written = std::str::from_utf8(&out).expect("UTF-8");
            prop_assert!(written.chars().all(|c| !c.is_control() && !is_unsafe(c)));
            let back: String = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_comes_back(given in any::<String>()) {
            let mut out = Vec::new();
            write(&mut out, &given);
            let back: String = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(back, given);
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let mut out = Vec::new();
        write(&mut out, &"a\u{9b}31m\u{7f}\u{2028}\n\u{1b}é");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            r#""a\u009b31m\u007f\u2028\n\u001bé""#
        );
    }
}
