//! The cell of `-o`.

use super::cell;

/// `off`, `on`, `keepalive`, ... of a TCP row.
pub fn tcp(out: &mut Vec<u8>, timer: i32, ticks: u64, retransmits: u64, probes: i32) {
    let name: &[u8] = match timer {
        0 => b"off",
        1 => b"on",
        2 => b"keepalive",
        3 => b"timewait",
        4 => b"probe",
        _ => &unknown(timer),
    };
    write(
        out,
        name,
        if timer == 0 { 0 } else { ticks },
        retransmits,
        probes,
    );
}

/// `off`, `on1`, `on2` of a UDP, UDP-Lite or raw row.
pub fn udp(out: &mut Vec<u8>, timer: i32, ticks: u64, retransmits: u64, probes: i32) {
    let name: &[u8] = match timer {
        0 => b"off",
        1 => b"on1",
        2 => b"on2",
        _ => &unknown(timer),
    };
    write(
        out,
        name,
        if timer == 0 { 0 } else { ticks },
        retransmits,
        probes,
    );
}

fn unknown(timer: i32) -> Vec<u8> {
    format!("unkn-{timer}").into_bytes()
}

fn write(out: &mut Vec<u8>, name: &[u8], ticks: u64, retransmits: u64, probes: i32) {
    /// From here on a double, which is what netstat prints, is too coarse for hundredths.
    const COARSE: u64 = 1 << 46;
    out.extend_from_slice(name);
    out.extend_from_slice(b" (");
    if ticks < COARSE {
        cell::unsigned(out, ticks / 100);
        out.push(b'.');
        out.push(b'0' + (ticks / 10 % 10) as u8);
        out.push(b'0' + (ticks % 10) as u8);
    } else {
        out.extend_from_slice(format!("{:.2}", ticks as f64 / 100.0).as_bytes());
    }
    out.push(b'/');
    cell::signed(out, retransmits.cast_signed());
    out.push(b'/');
    cell::signed(out, probes.into());
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    type Cell = fn(&mut Vec<u8>, i32, u64, u64, i32);

    #[track_caller]
    fn check(cell: Cell, timer: i32, ticks: u64, expected: &str) {
        let mut out = Vec::new();
        cell(&mut out, timer, ticks, 3, -1);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn timers_have_names_and_hundredths() {
        check(tcp, 0, 123, "off (0.00/3/-1)");
        check(tcp, 1, 161, "on (1.61/3/-1)");
        check(tcp, 2, 719_874, "keepalive (7198.74/3/-1)");
        check(tcp, 3, 5_990, "timewait (59.90/3/-1)");
        check(tcp, 4, 5, "probe (0.05/3/-1)");
        check(tcp, 77, 0, "unkn-77 (0.00/3/-1)");
        check(tcp, 1, u64::from(u32::MAX), "on (42949672.95/3/-1)");
        check(udp, 0, 9, "off (0.00/3/-1)");
        check(udp, 1, 9, "on1 (0.09/3/-1)");
        check(udp, 2, 9, "on2 (0.09/3/-1)");
        check(udp, 4, 9, "unkn-4 (0.09/3/-1)");
    }

    proptest::proptest! {
        #[test]
        fn integers_print_as_the_double_would(ticks in 0_u64..1 << 46) {
            let mut out = Vec::new();
            write(&mut out, b"on", ticks, 0, 0);
            let expected = format!("on ({:.2}/0/0)", ticks as f64 / 100.0);
            proptest::prop_assert_eq!(out, expected.into_bytes());
        }
    }
}
