//! Addresses and ports as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cell;

/// Appends an address as netstat prints it with `-n`: a v4-mapped one without its prefix.
pub fn numeric(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => v4(out, addr),
        IpAddr::V6(addr) => match addr.to_ipv4_mapped() {
            Some(mapped) => v4(out, mapped),
            None => v6(out, addr),
        },
    }
}

fn v4(out: &mut Vec<u8>, addr: Ipv4Addr) {
    for (at, octet) in addr.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        cell::unsigned(out, octet.into());
    }
}

/// As [`pair`] of numbers, of which none is ever cut.
pub fn short_pair(out: &mut Vec<u8>, host: Ipv4Addr, port: u16) {
    /// Before the blanks.
    const WIDTH: usize = 23;
    let mut text = [b' '; WIDTH];
    let mut len = 0;
    for octet in host.octets() {
        let digits = &OCTETS[usize::from(octet)];
        // Three bytes fit: the longest address and its dots have 16.
        text[len..len + 3].copy_from_slice(&digits.0);
        text[len + digits.1] = b'.';
        len += digits.1 + 1;
    }
    // What stands behind the digits of the last octet is overwritten, or was a blank.
    text[len - 1] = b':';
    text[len..len + 3].fill(b' ');
    if port == 0 {
        text[len] = b'*';
    } else {
        let mut buffer = itoa::Buffer::new();
        let port = buffer.format(port).as_bytes();
        text[len..len + port.len()].copy_from_slice(port);
    }
    out.extend_from_slice(&text);
}

/// The digits of each octet, and how many there are.
static OCTETS: [([u8; 3], usize); 256] = {
    let mut all = [([b' '; 3], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let skip = if octet < 10 {
            2
        } else if octet < 100 {
            1
        } else {
            0
        };
        let mut at = skip;
        while at < 3 {
            all[octet].0[at - skip] = b'0' + digits[at] as u8;
            at += 1;
        }
        all[octet].1 = 3 - skip;
        octet += 1;
    }
    all
};

/// As glibc's `inet_ntop`, which differs from [`Ipv6Addr`]'s `Display`: six leading zero groups
/// make the rest a dotted quad.
pub fn v6(out: &mut Vec<u8>, addr: Ipv6Addr) {
    let groups = addr.segments();
    let (start, length) = longest_zeros(groups);
    let compressed = start..start + length;
    let mut at = 0;
    while at < groups.len() {
        if length > 0 && at == start {
            out.extend_from_slice(b"::");
            at = compressed.end;
            continue;
        }
        if at > 0 && at != compressed.end {
            out.push(b':');
        }
        let quad = start == 0 && at == 6 && (length == 6 || (length == 5 && groups[5] == 0xffff));
        if quad {
            let [.., a, b, c, d] = addr.octets();
            v4(out, Ipv4Addr::new(a, b, c, d));
            return;
        }
        hex(out, groups[at]);
        at += 1;
    }
}

/// Where the first longest run of at least two zero groups begins, and its length; (0, 0) if none.
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

fn hex(out: &mut Vec<u8>, group: u16) {
    let digits = [12, 8, 4, 0].map(|shift| b"0123456789abcdef"[usize::from(group >> shift & 0xf)]);
    let zeros = digits[..3]
        .iter()
        .take_while(|&&digit| digit == b'0')
        .count();
    out.extend_from_slice(&digits[zeros..]);
}

/// `host:port` in a cell of 23 bytes. Unless `wide`, what does not fit is cut: the port keeps up to
/// 18 bytes, the host what is left of 22.
pub fn pair(out: &mut Vec<u8>, host: &[u8], port: &[u8], wide: bool) {
    const BOTH: usize = 22;
    const PORT: usize = 18;
    /// What netstat's own buffer holds.
    const WIDE: usize = 127;
    let start = out.len();
    let (host, port) = if !wide && host.len() + port.len() > BOTH {
        let port = &port[..port.len().min(PORT)];
        (&host[..host.len().min(BOTH - port.len())], port)
    } else {
        (host, port)
    };
    out.extend_from_slice(host);
    out.push(b':');
    out.extend_from_slice(port);
    out.truncate(start + WIDE);
    cell::pad(out, start, BOTH + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addr: &str, raw: &str, shown: &str) {
        let addr: Ipv6Addr = addr.parse().expect("an address");
        let mut out = Vec::new();
        v6(&mut out, addr);
        assert_eq!(String::from_utf8_lossy(&out), raw);
        out.clear();
        numeric(&mut out, addr.into());
        assert_eq!(String::from_utf8_lossy(&out), shown);
    }

    #[test]
    fn addresses_are_glibcs() {
        let same = |addr| check(addr, addr, addr);
        for addr in [
            "::",
            "::1",
            "::100",
            "fe80::1",
            "1::",
            "1::2",
            "64:ff9b::102:304",
        ] {
            same(addr);
        }
        same("::ffff:0:102:304");
        same("::fffe:102:304");
        same("0:2:3:4:5:6:7:8");
        same("1:2:3:4:5:6:7:0");
        same("1:2:3:4:5:6:7:8");
        same("1::4:0:0:7:8");
        same("1::4:5:0:0:8");
        same("fe80::");
        check("0:0:0:0:0:0:1:2", "::0.1.0.2", "::0.1.0.2");
        check("::1:0", "::0.1.0.0", "::0.1.0.0");
        check("::c0a8:2", "::192.168.0.2", "::192.168.0.2");
        check("::ffff:127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1");
        check("::ffff:0:0", "::ffff:0.0.0.0", "0.0.0.0");
        check("ABCD:0:0:1:0:0:0:F", "abcd:0:0:1::f", "abcd:0:0:1::f");
    }

    proptest::proptest! {
        #[test]
        fn a_short_pair_is_a_pair(host: [u8; 4], port: u16) {
            let host = Ipv4Addr::from(host);
            let (mut short, mut long) = (Vec::new(), Vec::new());
            short_pair(&mut short, host, port);
            let port = if port == 0 { "*".to_owned() } else { port.to_string() };
            pair(&mut long, host.to_string().as_bytes(), port.as_bytes(), false);
            proptest::prop_assert_eq!(short, long);
        }
    }

    #[track_caller]
    fn check_pair(host: &str, port: &str, narrow: &str, wide: &str) {
        for (is_wide, expected) in [(false, narrow), (true, wide)] {
            let mut out = Vec::new();
            pair(&mut out, host.as_bytes(), port.as_bytes(), is_wide);
            assert_eq!(String::from_utf8_lossy(&out), format!("{expected:<23}"));
        }
    }

    #[test]
    fn the_port_survives_the_cut() {
        check_pair("1.2.3.4", "80", "1.2.3.4:80", "1.2.3.4:80");
        check_pair(
            "2001:db8:1234:5678::1",
            "443",
            "2001:db8:1234:5678::443",
            "2001:db8:1234:5678::1:443",
        );
        check_pair(
            "fe80::20a:ff:fe00:0102",
            "65535",
            "fe80::20a:ff:fe00:65535",
            "fe80::20a:ff:fe00:0102:65535",
        );
        check_pair(
            "a-very-long-host-name-for-one-machine",
            "secondtcp",
            "a-very-long-h:secondtcp",
            "a-very-long-host-name-for-one-machine:secondtcp",
        );
        let service = "verylongservicename-of-some-36-bytes";
        check_pair(
            "localhost",
            service,
            "loca:verylongservicenam",
            &format!("localhost:{service}"),
        );
        check_pair(
            "h",
            service,
            "h:verylongservicenam",
            &format!("h:{service}"),
        );
    }
}
