//! Interfaces to bytes: the table and the long form.

use super::{
    addr, cell,
    iface::{Counters, Inet, Inet6, Interface},
    names::sanitized,
};

/// The first line, once per program.
pub const TITLE: &str = "Kernel Interface table\n";

/// The header of the table.
pub const HEADER: &str = concat!(
    "Iface             MTU    RX-OK RX-ERR RX-DRP RX-OVR",
    "    TX-OK TX-ERR TX-DRP TX-OVR Flg\n",
);

const BROADCAST: u16 = 0x2;
const POINT_TO_POINT: u16 = 0x10;

/// The order is that of the letters in the table.
const LETTERS: [(u16, char); 14] = [
    (0x200, 'A'),
    (BROADCAST, 'B'),
    (0x4, 'D'),
    (0x8, 'L'),
    (0x1000, 'M'),
    (0x8000, 'd'),
    (0x100, 'P'),
    (0x20, 'N'),
    (0x80, 'O'),
    (POINT_TO_POINT, 'P'),
    (0x800, 's'),
    (0x400, 'm'),
    (0x40, 'R'),
    (0x1, 'U'),
];

/// The order is that of the words in the long form.
const WORDS: [(u16, &str); 14] = [
    (0x1, "UP"),
    (BROADCAST, "BROADCAST"),
    (0x4, "DEBUG"),
    (0x8, "LOOPBACK"),
    (POINT_TO_POINT, "POINTOPOINT"),
    (0x20, "NOTRAILERS"),
    (0x40, "RUNNING"),
    (0x80, "NOARP"),
    (0x100, "PROMISC"),
    (0x200, "ALLMULTI"),
    (0x800, "SLAVE"),
    (0x400, "MASTER"),
    (0x1000, "MULTICAST"),
    (0x8000, "DYNAMIC"),
];

/// Appends a row of the table.
pub fn row(out: &mut Vec<u8>, interface: &Interface) {
    const NAME: usize = 15;
    let name = &interface.name;
    let start = out.len();
    sanitized(out, &name[..name.len().min(NAME)]);
    cell::pad(out, start, NAME);
    cell::text(out, format_args!(" {:>5} ", interface.mtu));
    match &interface.counters {
        Some(c) => {
            cell::text(
                out,
                format_args!(
                    "{:>8} {:>6} {:>6} {:<6} ",
                    c.rx_packets, c.rx_errors, c.rx_dropped, c.rx_fifo
                ),
            );
            cell::text(
                out,
                format_args!(
                    "{:>8} {:>6} {:>6} {:>6} ",
                    c.tx_packets, c.tx_errors, c.tx_dropped, c.tx_fifo
                ),
            );
        }
        None => cell::left(out, b"     - no statistics available -", 56),
    }
    let flags = interface.flags as u16;
    if flags == 0 {
        out.extend_from_slice(b"[NO FLAGS]");
    }
    let letters: String = LETTERS
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, letter)| letter)
        .collect();
    out.extend_from_slice(letters.as_bytes());
    out.push(b'\n');
}

/// Appends the long form.
pub fn block(out: &mut Vec<u8>, interface: &Interface) {
    let flags = interface.flags as u16;
    sanitized(out, &interface.name);
    cell::text(out, format_args!(": flags={}", interface.flags));
    let words: Vec<&str> = WORDS
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|&(_, word)| word)
        .collect();
    if flags == 0 {
        out.push(b'<');
    } else if !words.is_empty() {
        cell::text(out, format_args!("<{}>", words.join(",")));
    }
    cell::text(out, format_args!("  mtu {}\n", interface.mtu));
    if let Some(inet) = &interface.inet {
        inet_line(out, inet, flags);
    }
    for inet6 in &interface.inet6 {
        inet6_line(out, inet6);
    }
    out.extend_from_slice(b"        ");
    interface.hardware.name_and_addr(out);
    if let Some(queue) = interface.queue {
        cell::text(out, format_args!("  txqueuelen {queue}"));
    }
    cell::text(out, format_args!("  ({})\n", interface.hardware.title()));
    if let Some(counters) = &interface.counters {
        counter_lines(out, counters, interface.hardware.compresses());
    }
    map_line(out, interface);
    out.push(b'\n');
}

fn inet_line(out: &mut Vec<u8>, inet: &Inet, flags: u16) {
    let Inet {
        addr,
        mask,
        broadcast,
        destination,
    } = inet;
    cell::text(out, format_args!("        inet {addr}  netmask {mask}"));
    if flags & BROADCAST != 0 {
        cell::text(out, format_args!("  broadcast {broadcast}"));
    }
    if flags & POINT_TO_POINT != 0 {
        cell::text(out, format_args!("  destination {destination}"));
    }
    out.push(b'\n');
}

fn inet6_line(out: &mut Vec<u8>, inet6: &Inet6) {
    const COMPATIBLE: u64 = 0x80;
    const SCOPES: [(u64, &str); 3] = [(0x20, "link"), (0x40, "site"), (0x10, "host")];
    let Inet6 { prefix, scope, .. } = inet6;
    out.extend_from_slice(b"        inet6 ");
    addr::numeric(out, inet6.addr.into());
    cell::text(
        out,
        format_args!("  prefixlen {prefix}  scopeid {scope:#x}<"),
    );
    let mut words = Vec::new();
    if scope & COMPATIBLE != 0 {
        words.push("compat");
    }
    if scope & !COMPATIBLE == 0 {
        words.push("global");
    }
    words.extend(
        SCOPES
            .iter()
            .filter(|(bit, _)| scope & bit != 0)
            .map(|&(_, word)| word),
    );
    cell::text(out, format_args!("{}>\n", words.join(",")));
}

fn counter_lines(out: &mut Vec<u8>, c: &Counters, compresses: bool) {
    let traffic = |out: &mut Vec<u8>, direction: &str, packets: u64, bytes: u64| {
        let (whole, tenth, unit) = scaled(bytes);
        cell::text(
            out,
            format_args!(
                "        {direction} packets {packets}  bytes {bytes} ({whole}.{tenth} {unit})\n"
            ),
        );
    };
    traffic(out, "RX", c.rx_packets, c.rx_bytes);
    if compresses {
        cell::text(
            out,
            format_args!("        RX compressed:{}\n", c.rx_compressed),
        );
    }
    let (errors, dropped, fifo, frame) = (c.rx_errors, c.rx_dropped, c.rx_fifo, c.rx_frame);
    cell::text(
        out,
        format_args!(
            "        RX errors {errors}  dropped {dropped}  overruns {fifo}  frame {frame}\n"
        ),
    );
    traffic(out, "TX", c.tx_packets, c.tx_bytes);
    if compresses {
        cell::text(
            out,
            format_args!("        TX compressed {}\n", c.tx_compressed),
        );
    }
    let (errors, dropped, fifo) = (c.tx_errors, c.tx_dropped, c.tx_fifo);
    cell::text(
        out,
        format_args!("        TX errors {errors}  dropped {dropped} overruns {fifo}"),
    );
    cell::text(
        out,
        format_args!("  carrier {}  collisions {}\n", c.carrier, c.collisions),
    );
}

/// Bytes in the largest unit that they exceed: whole, tenth (cut, not rounded), unit.
fn scaled(bytes: u64) -> (u64, u64, &'static str) {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes > 1 << 60 {
        let tenths = bytes / ((1 << 60) / 10);
        return (tenths / 10, tenths % 10, "EiB");
    }
    for (power, unit) in UNITS.into_iter().enumerate().rev() {
        let size = 1 << (10 * (power + 1));
        if bytes > size {
            let tenths = (u128::from(bytes) * 10 / u128::from(size)) as u64;
            return (tenths / 10, tenths % 10, unit);
        }
    }
    (bytes, 0, "B")
}

fn map_line(out: &mut Vec<u8>, interface: &Interface) {
    /// Lower addresses are other things than ports.
    const LOWEST_PORT: u16 = 0x100;
    let map = &interface.map;
    let port = map.base_addr >= LOWEST_PORT;
    if map.irq == 0 && map.mem_start == 0 && map.dma == 0 && !port {
        return;
    }
    out.extend_from_slice(b"        device ");
    if map.irq != 0 {
        cell::text(out, format_args!("interrupt {}  ", map.irq));
    }
    if port {
        cell::text(out, format_args!("base {:#x}  ", map.base_addr));
    }
    if map.mem_start != 0 {
        cell::text(
            out,
            format_args!("memory {:#x}-{:x}  ", map.mem_start, map.mem_end),
        );
    }
    if map.dma != 0 {
        cell::text(out, format_args!("  dma {:#x}", map.dma));
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::iface_hardware::Hardware;
    use super::*;

    #[test]
    fn bytes_are_cut_to_tenths() {
        assert_eq!(scaled(0), (0, 0, "B"));
        assert_eq!(scaled(1024), (1024, 0, "B"));
        assert_eq!(scaled(1025), (1, 0, "KiB"));
        assert_eq!(scaled(1_197_876_032), (1, 1, "GiB"));
        assert_eq!(scaled(1 << 60), (1024, 0, "PiB"));
        assert_eq!(scaled(u64::MAX), (16, 0, "EiB"));
    }

    proptest::proptest! {
        #[test]
        fn no_name_drives_a_terminal(name: Vec<u8>, kind in 0_u16..1000, addr: [u8; 14]) {
            let hardware = Hardware { kind, addr };
            let interface = Interface { name, hardware, ..Interface::default() };
            let mut out = Vec::new();
            row(&mut out, &interface);
            proptest::prop_assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
            block(&mut out, &interface);
            let out = String::from_utf8(out).expect("always UTF-8");
            proptest::prop_assert!(!out.replace('\n', "").contains(char::is_control));
            proptest::prop_assert_eq!(out.lines().count(), 4);
        }
    }

    #[test]
    fn a_label_has_no_counters() {
        let mut out = Vec::new();
        row(
            &mut out,
            &Interface {
                name: b"eth0:3".to_vec(),
                mtu: 1500,
                ..Interface::default()
            },
        );
        let expected = format!(
            "{:<15}  1500 {:<56}[NO FLAGS]\n",
            "eth0:3", "     - no statistics available -"
        );
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
