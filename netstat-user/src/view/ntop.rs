//! IPv6 addresses as glibc's `inet_ntop` writes them.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Differs from `Display`: six leading zero groups make the rest a dotted quad.
#[must_use]
pub fn ntop6(addr: &Ipv6Addr) -> String {
    let groups = addr.segments();
    let (start, length) = longest_zeros(groups);
    let quad = start == 0 && (length == 6 || (length == 5 && groups[5] == 0xffff));
    let mut out = String::with_capacity(39);
    let mut at = 0;
    while at < groups.len() {
        if length > 0 && at == start {
            out.push_str("::");
            at += length;
            continue;
        }
        if at > 0 && !out.ends_with(':') {
            out.push(':');
        }
        if quad && at == 6 {
            let [.., a, b, c, d] = addr.octets();
            // A String takes all text.
            let _ = write!(out, "{}", Ipv4Addr::new(a, b, c, d));
            break;
        }
        let _ = write!(out, "{:x}", groups[at]);
        at += 1;
    }
    out
}

/// As [`ntop6`], and a v4-mapped address without its prefix: netstat's numeric form.
#[must_use]
pub fn numeric6(addr: &Ipv6Addr) -> String {
    addr.to_ipv4_mapped()
        .map_or_else(|| ntop6(addr), |mapped| mapped.to_string())
}

/// Start and length of the first longest run of two or more zero groups; (0, 0) if there is none.
fn longest_zeros(groups: [u16; 8]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut run = 0;
    for (at, group) in groups.into_iter().enumerate() {
        run = if group == 0 { run + 1 } else { 0 };
        if run >= 2 && run > best.1 {
            best = (at + 1 - run, run);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_glibcs() {
        let cases = [
            ("::", "::"),
            ("::1", "::1"),
            ("::0.1.0.2", "::0.1.0.2"),
            ("::c0a8:2", "::192.168.0.2"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("::fffe:102:304", "::fffe:102:304"),
            ("64:ff9b::102:304", "64:ff9b::102:304"),
            ("1:0:0:4:5:0:0:8", "1::4:5:0:0:8"),
            ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"),
            ("fe80::", "fe80::"),
        ];
        for (addr, text) in cases {
            assert_eq!(ntop6(&addr.parse().expect("an address")), text);
        }
        assert_eq!(
            numeric6(&"::ffff:1.2.3.4".parse().expect("an address")),
            "1.2.3.4"
        );
    }
}
