//! Text scanned by the rules of C's `sscanf` and `strtoul`.
//!
//! Each method gives one conversion; after the first that does not fit, all give `None`.

use std::ffi::CStr;

/// The pieces that `fgets` reads with room for `room` bytes, of which one is for the NUL: lines with
/// their ends; a longer line is several.
pub(super) fn fgets(text: &[u8], room: usize) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
        .flat_map(move |line| line.chunks(room - 1))
}

/// What is left of a line.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    rest: &'a [u8],
    failed: bool,
    fields: usize,
}

impl<'a> Scan<'a> {
    /// Starts at the beginning of `text`; it ends at the first NUL.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        let rest = CStr::from_bytes_until_nul(text).map_or(text, CStr::to_bytes);
        Self {
            rest,
            failed: false,
            fields: 0,
        }
    }

    /// How many conversions fitted.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// What is not scanned yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// `%s`
    pub fn word(&mut self) -> Option<&'a [u8]> {
        self.word_up_to(usize::MAX)
    }

    /// `%WIDTHs`
    pub fn word_up_to(&mut self, width: usize) -> Option<&'a [u8]> {
        self.bytes(width, |byte| !is_space(byte))
    }

    /// `%*s`
    pub fn skip_word(&mut self) {
        if self.word().is_some() {
            self.fields -= 1;
        }
    }

    /// `%64[0-9A-Fa-f]`, after white space.
    pub fn digits(&mut self) -> Option<&'a [u8]> {
        const LONGEST: usize = 64;
        self.bytes(LONGEST, |byte| byte.is_ascii_hexdigit())
    }

    /// `%d`: the low 32 bits of the number, which itself stops at the limits of 64 bits.
    pub fn int(&mut self) -> Option<i32> {
        let (negative, digits) = self.number(10, usize::MAX)?;
        let limit = i64::MAX as u64 + u64::from(negative);
        Some(wrap(negative, digits.min(limit)) as i32)
    }

    /// `%lu`
    pub fn long(&mut self) -> Option<u64> {
        self.unsigned(10, usize::MAX)
    }

    /// `%lx`, before which `0x` may stand; narrower conversions keep the low bits.
    pub fn hex(&mut self) -> Option<u64> {
        self.hex_up_to(usize::MAX)
    }

    /// `%WIDTHlx`
    pub fn hex_up_to(&mut self, width: usize) -> Option<u64> {
        self.unsigned(16, width)
    }

    /// A byte that must come next.
    pub fn literal(&mut self, byte: u8) {
        match self.rest.split_first() {
            Some((&first, rest)) if !self.failed && first == byte => self.rest = rest,
            _ => self.failed = true,
        }
    }

    /// White space in a format: any amount of it.
    pub fn skip_space(&mut self) {
        let blanks = self.rest.iter().take_while(|&&byte| is_space(byte)).count();
        self.rest = &self.rest[blanks..];
    }

    fn bytes(&mut self, width: usize, fits: impl Fn(u8) -> bool) -> Option<&'a [u8]> {
        self.skip_space();
        let window = self.rest.iter().take(width);
        let length = window.take_while(|&&byte| fits(byte)).count();
        if length == 0 {
            self.failed = true;
        }
        if self.failed {
            return None;
        }
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.fields += 1;
        Some(bytes)
    }

    /// As `strtoul`: the largest number if it does not fit.
    fn unsigned(&mut self, radix: u32, width: usize) -> Option<u64> {
        let (negative, digits) = self.number(radix, width)?;
        Some(if digits == u64::MAX {
            digits
        } else {
            wrap(negative, digits)
        })
    }

    /// Sign and magnitude; the magnitude stops at `u64::MAX`.
    fn number(&mut self, radix: u32, width: usize) -> Option<(bool, u64)> {
        self.skip_space();
        if self.failed {
            return None;
        }
        let window = &self.rest[..self.rest.len().min(width)];
        let (negative, digits) = match window {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let digits = match digits {
            [b'0', b'x' | b'X', after @ ..] if radix == 16 => after,
            digits => digits,
        };
        let mut value = 0_u64;
        let mut length = 0;
        for digit in digits
            .iter()
            .map_while(|&byte| char::from(byte).to_digit(radix))
        {
            value = value
                .saturating_mul(radix.into())
                .saturating_add(digit.into());
            length += 1;
        }
        if length == 0 {
            self.failed = true;
            return None;
        }
        let scanned = window.len() - digits.len() + length;
        self.rest = &self.rest[scanned..];
        self.fields += 1;
        Some((negative, value))
    }
}

/// C's `isspace`.
#[must_use]
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r')
}

fn wrap(negative: bool, digits: u64) -> u64 {
    if negative {
        digits.wrapping_neg()
    } else {
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stop_at_the_first_that_does_not_fit() {
        let mut scan = Scan::new(b" eth0 4294967295 -3 0x1F z 5");
        assert_eq!(scan.word_up_to(16), Some(&b"eth0"[..]));
        assert_eq!(scan.int(), Some(-1));
        assert_eq!(scan.int(), Some(-3));
        assert_eq!(scan.hex(), Some(31));
        assert_eq!(scan.int(), None);
        assert_eq!(scan.word(), None);
        assert_eq!(scan.fields(), 4);
    }

    #[test]
    fn literals_stand_between_fields() {
        let mut scan = Scan::new(b"  12: 0100007F:0016 4294967295 -3 x 9");
        assert_eq!(scan.int(), Some(12));
        scan.literal(b':');
        assert_eq!(scan.digits(), Some(&b"0100007F"[..]));
        scan.literal(b':');
        assert_eq!(scan.hex(), Some(0x16));
        scan.literal(b':');
        assert_eq!((scan.int(), scan.digits()), (None, None));
        assert_eq!(scan.fields(), 3);
    }

    #[test]
    fn text_ends_at_the_first_nul() {
        let mut scan = Scan::new(b"1 2\x003 4");
        assert_eq!((scan.int(), scan.int()), (Some(1), Some(2)));
        assert_eq!((scan.rest(), scan.int()), (&b""[..], None));
    }

    #[test]
    fn numbers_stop_at_their_limits() {
        let mut scan = Scan::new(b"99999999999999999999 -99999999999999999999 -1 1ffffffff");
        assert_eq!((scan.int(), scan.int()), (Some(-1), Some(0)));
        assert_eq!(scan.long(), Some(u64::MAX));
        assert_eq!(scan.hex_up_to(8), Some(0x1fff_ffff));
        assert_eq!(scan.hex_up_to(8), Some(0xf));
        let mut scan = Scan::new(b"FFFFFFFFFFFFFFFFFF 0x10 99999999999999999999999");
        assert_eq!((scan.hex(), scan.hex()), (Some(u64::MAX), Some(16)));
        assert_eq!(scan.long(), Some(u64::MAX));
        let mut scan = Scan::new(b"9223372036854775808 -9223372036854775809 -1 -1");
        assert_eq!((scan.int(), scan.int()), (Some(-1), Some(0)));
        assert_eq!((scan.long(), scan.int()), (Some(u64::MAX), Some(-1)));
    }
}
