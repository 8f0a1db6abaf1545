//! Link layers: their names and the form of their addresses.

use super::{cell, names::sanitized};

/// A link layer address (SIOCGIFHWADDR).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    /// ARPHRD_*
    pub kind: u16,
    /// The address; what the kernel does not fill is 0.
    pub addr: [u8; 14],
}

/// How an address is written.
#[derive(Clone, Copy)]
enum Form {
    /// Not at all.
    Nothing,
    /// As nothing, but with its blank.
    Empty,
    /// So many bytes in lower case hexadecimal, joined.
    Lower(usize, &'static str),
    /// The same in upper case.
    Upper(usize, &'static str),
    /// A data link connection identifier.
    Number,
    /// An amateur radio call sign.
    Callsign,
    /// A string.
    Text,
    /// One hexadecimal digit a byte.
    Ash,
}

impl Hardware {
    /// Whether packets are counted by how they compress.
    #[must_use]
    pub fn compresses(&self) -> bool {
        matches!(self.kind, 257 | 259)
    }

    /// Appends name and address.
    pub fn name_and_addr(&self, out: &mut Vec<u8>) {
        let (name, form, _) = self.known();
        out.extend_from_slice(name.as_bytes());
        if !matches!(form, Form::Nothing) {
            out.push(b' ');
        }
        let joined = |out: &mut Vec<u8>, length: usize, between: &str, upper: bool| {
            // What is longer than what the ioctl gives is 0.
            let bytes = self
                .addr
                .iter()
                .copied()
                .chain(std::iter::repeat(0))
                .take(length);
            for (at, byte) in bytes.enumerate() {
                let between = if at == 0 { "" } else { between };
                if upper {
                    cell::text(out, format_args!("{between}{byte:02X}"));
                } else {
                    cell::text(out, format_args!("{between}{byte:02x}"));
                }
            }
        };
        match form {
            Form::Nothing | Form::Empty => {}
            Form::Lower(length, between) => joined(out, length, between, false),
            Form::Upper(length, between) => joined(out, length, between, true),
            Form::Number => {
                let [a, b, ..] = self.addr;
                cell::text(out, format_args!("{}", i16::from_ne_bytes([a, b])));
            }
            Form::Callsign => callsign(out, &self.addr),
            Form::Text => {
                let text = self.addr.split(|&byte| byte == 0).next();
                sanitized(out, text.unwrap_or_default());
            }
            Form::Ash => {
                const DIGITS: usize = 64;
                out.push(b'[');
                for at in 0..DIGITS {
                    let digit = self.addr.get(at).copied().unwrap_or(0) & 0xf;
                    cell::text(out, format_args!("{digit:x}"));
                }
                out.push(b']');
            }
        }
    }

    /// The words in brackets.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.known().2
    }

    fn known(&self) -> (&'static str, Form, &'static str) {
        use Form::{Ash, Callsign, Empty, Lower, Nothing, Number, Text, Upper};
        match self.kind {
            0 => ("netrom", Callsign, "AMPR NET/ROM"),
            1 => ("ether", Lower(6, ":"), "Ethernet"),
            3 => ("ax25", Callsign, "AMPR AX.25"),
            7 => ("arcnet", Upper(1, ""), "ARCnet"),
            15 => ("dlci", Number, "Frame Relay DLCI"),
            27 => ("eui64", Upper(8, ":"), "Generic EUI-64"),
            256 => ("slip", Nothing, "Serial Line IP"),
            257 => ("cslip", Nothing, "VJ Serial Line IP"),
            258 => ("slip6", Nothing, "6-bit Serial Line IP"),
            259 => ("cslip6", Nothing, "VJ 6-bit Serial Line IP"),
            264 => ("adaptive", Nothing, "Adaptive Serial Line IP"),
            270 => ("rose", Lower(5, ""), "AMPR ROSE"),
            271 => ("x25", Text, "generic X.25"),
            512 => ("ppp", Nothing, "Point-to-Point Protocol"),
            513 => ("hdlc", Nothing, "(Cisco)-HDLC"),
            516 => ("lapb", Nothing, "LAPB"),
            768 => ("tunnel", Empty, "IPIP Tunnel"),
            770 => ("frad", Nothing, "Frame Relay Access Device"),
            772 => ("loop", Nothing, "Local Loopback"),
            774 => ("fddi", Upper(6, "-"), "Fiber Distributed Data Interface"),
            776 => ("sit", Nothing, "IPv6-in-IPv4"),
            780 => ("hippi", Upper(6, ":"), "HIPPI"),
            781 => ("ash", Ash, "Ash"),
            782 => ("ec", Nothing, "Econet"),
            783 => ("irda", Lower(4, ":"), "IrLAP"),
            _ => ("unspec", Upper(16, "-"), "UNSPEC"),
        }
    }
}

/// Six letters and a station number, each shifted left by one bit.
fn callsign(out: &mut Vec<u8>, addr: &[u8; 14]) {
    const LETTERS: usize = 6;
    let letters: Vec<u8> = addr[..LETTERS].iter().map(|byte| byte >> 1).collect();
    let length = letters.iter().position(|letter| matches!(letter, b' ' | 0));
    sanitized(out, &letters[..length.unwrap_or(LETTERS)]);
    let station = addr[LETTERS] >> 1 & 0xf;
    let ended = length.is_some_and(|at| letters[at] == 0);
    if station != 0 && !ended {
        cell::text(out, format_args!("-{station}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_has_its_form() {
        let shown = |kind| {
            let mut addr = [0; 14];
            addr[..8].copy_from_slice(&[0x86, 0xa2, 0x9a, 0xa4, 0x60, 0xe6, 0, 0]);
            let mut out = Vec::new();
            Hardware { kind, addr }.name_and_addr(&mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(shown(1), "ether 86:a2:9a:a4:60:e6");
        assert_eq!(shown(774), "fddi 86-A2-9A-A4-60-E6");
        assert_eq!(shown(0), "netrom CQMR0s");
        assert_eq!(shown(270), "rose 86a29aa460");
        assert_eq!(shown(772), "loop");
        assert_eq!(shown(768), "tunnel ");
        assert_eq!(
            shown(65534),
            "unspec 86-A2-9A-A4-60-E6-00-00-00-00-00-00-00-00-00-00"
        );
    }
}
