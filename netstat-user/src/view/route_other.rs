//! Routing tables of the families that current kernels lack: AX.25, NET/ROM, ROSE, DDP, X.25, IPX.
//!
//! All but DDP and IPX have columns of fixed width. Of a line that is shorter than its columns the
//! reference prints what its memory holds; here it has what it has.

use super::{
    cell,
    names::sanitized,
    radio,
    route_rows::{self, FIB_FLAGS},
    scan::{Scan, is_space},
};

/// A family with such a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the families")]
pub enum OtherTable {
    Ax25,
    Netrom,
    Rose,
    Ddp,
    X25,
    Ipx,
}

impl OtherTable {
    /// What is printed before the rows.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Ax25 => "Kernel AX.25 routing table\nDestination  Iface    Use\n",
            Self::Netrom => {
                "Kernel NET/ROM routing table\n\
                 Destination  Mnemonic  Quality  Neighbour  Iface\n"
            }
            Self::Rose => {
                "Kernel ROSE routing table\n\
                 Destination  neigh1 callsign  device  neigh2 callsign  device  \
                 neigh3 callsign  device\n"
            }
            Self::Ddp => "Destination     Gateway         Device          Flags\n",
            Self::X25 => "Kernel X.25 routing table\nDestination          Iface\n",
            Self::Ipx => {
                "Kernel IPX routing table\n\
                 Destination               Router Net                Router Node\n"
            }
        }
    }

    /// The rows of a file with its header line; `neighbours` is the file that NET/ROM and ROSE name
    /// them in.
    #[must_use]
    pub fn rows(self, file: &[u8], neighbours: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let lines = file.split_inclusive(|&byte| byte == b'\n').skip(1);
        let lines = lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line));
        match self {
            Self::Ddp => ddp(&mut out, file),
            Self::Ax25 => lines.for_each(|line| ax25(&mut out, line)),
            Self::Netrom => lines.for_each(|line| netrom(&mut out, line, neighbours)),
            Self::Rose => lines.for_each(|line| rose(&mut out, line, neighbours)),
            Self::X25 => lines.for_each(|line| x25(&mut out, line)),
            Self::Ipx => lines.for_each(|line| ipx(&mut out, line)),
        }
        out
    }
}

/// The bytes of some columns, as many as the line has.
fn columns(line: &[u8], start: usize, end: usize) -> &[u8] {
    line.get(start..end.min(line.len())).unwrap_or_default()
}

/// Bytes of the file in a cell.
fn left(out: &mut Vec<u8>, text: &[u8], width: usize) {
    let start = out.len();
    sanitized(out, text);
    cell::pad(out, start, width);
}

fn ax25(out: &mut Vec<u8>, line: &[u8]) {
    left(out, columns(line, 0, 9), 9);
    out.extend_from_slice(b"    ");
    left(out, columns(line, 10, 14), 5);
    // No kernel has told the use.
    out.extend_from_slice(b"      0\n");
}

/// The callsign and the device of a neighbour.
fn neighbour<'a>(neighbours: &'a [u8], number: &[u8], device_end: usize) -> Option<[&'a [u8]; 2]> {
    let mut lines = neighbours.split(|&byte| byte == b'\n').skip(1);
    let line = lines.find(|line| !number.is_empty() && columns(line, 0, 5) == number)?;
    Some([columns(line, 6, 15), columns(line, 16, device_end)])
}

fn netrom(out: &mut Vec<u8>, line: &[u8], neighbours: &[u8]) {
    /// Bytes of one of a node's routes: quality, obsolescence count, neighbour.
    const ROUTE: usize = 15;
    let which = Scan::new(columns(line, 18, line.len())).int();
    let which = usize::try_from(which.unwrap_or(1)).unwrap_or(1).max(1) - 1;
    let start = 24_usize.saturating_add(which.saturating_mul(ROUTE));
    left(out, columns(line, 0, 9), 9);
    out.extend_from_slice(b"    ");
    left(out, columns(line, 10, 17), 7);
    out.extend_from_slice(b"   ");
    let quality = columns(line, start, start.saturating_add(3));
    let number = columns(line, start.saturating_add(8), start.saturating_add(13));
    if let Some([callsign, device]) = neighbour(neighbours, number, 20) {
        left(out, quality, 3);
        out.extend_from_slice(b"      ");
        left(out, callsign, 9);
        out.extend_from_slice(b"  ");
        sanitized(out, device);
        out.push(b'\n');
    }
}

fn rose(out: &mut Vec<u8>, line: &[u8], neighbours: &[u8]) {
    /// The most neighbours that a node has.
    const MOST: i32 = 3;
    let count = Scan::new(columns(line, 15, line.len())).int();
    let count = count.unwrap_or_default().clamp(0, MOST) as usize;
    left(out, columns(line, 0, 10), 10);
    out.extend_from_slice(b"   ");
    for at in 0..count {
        let start = 18 + at * 6;
        let number = columns(line, start, start + 5);
        left(out, number, 5);
        out.extend_from_slice(b"  ");
        if let Some([callsign, device]) = neighbour(neighbours, number, 21) {
            left(out, callsign, 9);
            out.extend_from_slice(b"    ");
            left(out, device, 5);
        }
    }
    out.push(b'\n');
}

/// Words of any line, four for each row.
fn ddp(out: &mut Vec<u8>, file: &[u8]) {
    let words = file.split(|&byte| is_space(byte));
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    for row in words.chunks_exact(4).skip(1) {
        let [destination, gateway, flags, device] = row else {
            continue;
        };
        for text in [destination, gateway, device] {
            left(out, text, 16);
        }
        let flags = Scan::new(flags).int().unwrap_or_default() as u32;
        out.extend_from_slice(route_rows::letters_of(&FIB_FLAGS, flags).as_bytes());
        out.push(b'\n');
    }
}

fn x25(out: &mut Vec<u8>, line: &[u8]) {
    let digits = Scan::new(columns(line, 16, 24)).int().unwrap_or_default();
    let start = out.len();
    if digits == 0 {
        out.push(b'*');
    } else {
        let address = columns(line, 0, 15);
        let length = usize::try_from(digits).unwrap_or(address.len());
        sanitized(out, &address[..length.min(address.len())]);
        cell::text(out, format_args!("/{digits}"));
    }
    cell::pad(out, start, 20);
    out.push(b' ');
    left(out, columns(line, 25, 35), 5);
    out.push(b'\n');
}

fn ipx(out: &mut Vec<u8>, line: &[u8]) {
    let mut scan = Scan::new(line);
    let words = (scan.word(), scan.word(), scan.word());
    let (Some(destination), Some(network), Some(node)) = words else {
        return;
    };
    let nets = [destination, network].map(radio::ipx_net);
    for text in [nets[0].as_str(), &nets[1], &radio::ipx_node(node)] {
        cell::left(out, text.as_bytes(), 25);
        out.push(b' ');
    }
    out.pop();
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Rows end with a line feed (but for NET/ROM's without a neighbour), and nothing in them
        /// drives a terminal.
        #[test]
        fn any_file_gives_harmless_rows(file: Vec<u8>, neighbours: Vec<u8>) {
            for table in [
                OtherTable::Ax25, OtherTable::Netrom, OtherTable::Rose, OtherTable::Ddp,
                OtherTable::X25, OtherTable::Ipx,
            ] {
                let rows = table.rows(&file, &neighbours);
                let text = std::str::from_utf8(&rows);
                proptest::prop_assert!(
                    text.is_ok_and(|text| text.chars().all(|c| c == '\n' || !c.is_control())),
                    "{table:?} {rows:?}"
                );
            }
        }
    }
}
