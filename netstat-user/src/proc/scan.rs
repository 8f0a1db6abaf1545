//! A scanner with the manners of `sscanf`: fields in order until one does not fit.

/// A line and how far it is scanned. Once a field does not fit, no later one does.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'a> {
    rest: &'a [u8],
    fields: usize,
    failed: bool,
}

impl<'a> Scan<'a> {
    /// Starts at the beginning of a line.
    #[must_use]
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self {
            rest: line,
            fields: 0,
            failed: false,
        }
    }

    /// How many fields fitted.
    #[must_use]
    pub(crate) fn fields(&self) -> usize {
        self.fields
    }

    /// A decimal number (`%d`, `%ld`), cut to 32 bits.
    pub(crate) fn int(&mut self) -> i32 {
        let (negative, magnitude) = self.magnitude(10);
        if negative {
            magnitude.min(1 << 63).wrapping_neg() as i32
        } else {
            magnitude.min(i64::MAX.cast_unsigned()) as i32
        }
    }

    /// A decimal number (`%lu`).
    pub(crate) fn long(&mut self) -> u64 {
        self.number(10)
    }

    /// A hexadecimal number (`%X`), cut to 32 bits.
    pub(crate) fn hex(&mut self) -> u32 {
        self.number(16) as u32
    }

    /// A hexadecimal number (`%lX`).
    pub(crate) fn long_hex(&mut self) -> u64 {
        self.number(16)
    }

    /// This byte and no other.
    pub(crate) fn literal(&mut self, byte: u8) {
        match self.rest.split_first() {
            Some((&first, rest)) if !self.failed && first == byte => self.rest = rest,
            _ => self.failed = true,
        }
    }

    /// Up to 64 hexadecimal digits (`%64[0-9A-Fa-f]`), after white space.
    pub(crate) fn digits(&mut self) -> &'a [u8] {
        const LONGEST: usize = 64;
        self.skip_space();
        let length = self
            .rest
            .iter()
            .take(LONGEST)
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        self.take(length)
    }

    /// Bytes up to white space (`%s`).
    pub(crate) fn word(&mut self) -> &'a [u8] {
        self.skip_space();
        let length = self
            .rest
            .iter()
            .take_while(|&&byte| !is_space(byte))
            .count();
        self.take(length)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        if self.failed || length == 0 {
            self.failed = true;
            return &[];
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.fields += 1;
        taken
    }

    fn skip_space(&mut self) {
        let blanks = self.rest.iter().take_while(|&&byte| is_space(byte)).count();
        self.rest = &self.rest[blanks..];
    }

    /// As `strtoul`: the largest number if it does not fit.
    fn number(&mut self, radix: u32) -> u64 {
        match self.magnitude(radix) {
            (true, magnitude) if magnitude < u64::MAX => magnitude.wrapping_neg(),
            (_, magnitude) => magnitude,
        }
    }

    /// The sign of a number and its digits; `0x` may stand before hexadecimal ones.
    fn magnitude(&mut self, radix: u32) -> (bool, u64) {
        if self.failed {
            return (false, 0);
        }
        self.skip_space();
        let (negative, mut digits) = match self.rest {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if let (16, [b'0', b'x' | b'X', rest @ ..]) = (radix, digits) {
            digits = rest;
        }
        let length = digits
            .iter()
            .take_while(|&&byte| char::from(byte).is_digit(radix))
            .count();
        if length == 0 {
            self.failed = true;
            return (false, 0);
        }
        let magnitude = digits[..length].iter().fold(0_u64, |number, &byte| {
            let digit = char::from(byte).to_digit(radix).unwrap_or_default();
            number
                .checked_mul(radix.into())
                .and_then(|number| number.checked_add(digit.into()))
                .unwrap_or(u64::MAX)
        });
        self.rest = &digits[length..];
        self.fields += 1;
        (negative, magnitude)
    }
}

/// C's `isspace`.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_scanned_until_one_does_not_fit() {
        let mut scan = Scan::new(b"  12: 0100007F:0016 4294967295 -3 x 9");
        assert_eq!(scan.int(), 12);
        scan.literal(b':');
        assert_eq!(scan.digits(), b"0100007F");
        scan.literal(b':');
        assert_eq!(scan.hex(), 0x16);
        assert_eq!(scan.int(), -1);
        assert_eq!(scan.int(), -3);
        assert_eq!(scan.fields(), 5);
        assert_eq!(scan.int(), 0);
        assert_eq!(scan.word(), b"");
        assert_eq!(scan.fields(), 5);
    }

    #[test]
    fn numbers_that_do_not_fit_are_the_largest() {
        let mut scan = Scan::new(b"FFFFFFFFFFFFFFFFFF 0x10 99999999999999999999999");
        assert_eq!(scan.long_hex(), u64::MAX);
        assert_eq!(scan.long_hex(), 16);
        assert_eq!(scan.long(), u64::MAX);
        let mut scan = Scan::new(b"9223372036854775808 -9223372036854775809 -1 -1");
        assert_eq!((scan.int(), scan.int()), (-1, 0));
        assert_eq!((scan.long(), scan.int()), (u64::MAX, -1));
    }
}
