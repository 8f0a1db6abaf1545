//! AX.25, X.25, NET/ROM, ROSE and IPX where a kernel still has them.

use super::{cell, names::sanitized, scan::Scan};
use crate::cmdline::{Family, Options};

/// A line after which the reference gives up, with its message.
pub const IPX_SOURCE: &str =
    "netstat.c: Internal Error `ipx socket format error in source port'.\n";
/// As [`IPX_SOURCE`], for the other end.
pub const IPX_DESTINATION: &str =
    "netstat.c: Internal Error `ipx socket format error in destination port'.\n";

/// Appends the title of a family.
pub fn header(out: &mut Vec<u8>, family: Family, options: &Options) {
    out.extend_from_slice(title(family).as_bytes());
    if family == Family::Ipx {
        let user = if options.extend > 0 { " User\n" } else { "\n" };
        out.extend_from_slice(user.as_bytes());
    }
}

/// Appends the row of a line of a family's table; `user` appends the cell of a user.
///
/// # Errors
/// A line that ends the program, with the text for stderr.
pub fn row(
    out: &mut Vec<u8>,
    family: Family,
    (number, line): (usize, &[u8]),
    options: &Options,
    user: impl FnMut(i32, &mut Vec<u8>),
) -> Result<(), &'static str> {
    // The reference speaks of the problem on standard output. AX.25 has no header line.
    let complete = match family {
        Family::Ax25 if ax25(out, line).is_none() => "problem reading data from /proc/net/ax25\n",
        Family::Rose if number > 0 && rose(out, line).is_none() => {
            "Problem reading data from /proc/net/rose\n"
        }
        _ => "",
    };
    out.extend_from_slice(complete.as_bytes());
    match family {
        Family::X25 if number > 0 => x25(out, line, options.all),
        Family::Netrom if number > 0 => netrom(out, line),
        Family::Ipx if number > 0 => ipx(out, line, (options.extend > 0).then_some(user))?,
        _ => {}
    }
    Ok(())
}

fn title(family: Family) -> &'static str {
    match family {
        Family::Ipx => {
            "Active IPX sockets\n\
             Proto Recv-Q Send-Q Local Address              Foreign Address            State"
        }
        Family::Ax25 => {
            "Active AX.25 sockets\n\
             Dest       Source     Device  State        Vr/Vs    Send-Q  Recv-Q\n"
        }
        Family::X25 => {
            "Active X.25 sockets\n\
             Dest         Source          Device  LCI  State        Vr/Vs  Send-Q  Recv-Q\n"
        }
        Family::Netrom => {
            "Active NET/ROM sockets\n\
             User       Dest       Source     Device  State        Vr/Vs    Send-Q  Recv-Q\n"
        }
        Family::Rose => {
            "Active ROSE sockets\n\
             dest_addr   dest_call  src_addr    src_call  dev   lci neigh   state\n"
        }
        _ => "",
    }
}

/// Nothing if the line has too few words. The table has no header.
fn ax25(row: &mut Vec<u8>, line: &[u8]) -> Option<()> {
    const STATES: [&str; 5] = [
        "LISTENING",
        "SABM SENT",
        "DISC SENT",
        "ESTABLISHED",
        "RECOVERY",
    ];
    /// Words between `vr` and the queues: va, timers, counters, sizes.
    const SKIPPED: usize = 14;
    let mut scan = Scan::new(line);
    scan.word()?;
    let device = scan.word()?;
    let source = scan.word()?;
    let dest = scan.word()?;
    let dest = dest.split(|&byte| byte == b',').next().unwrap_or_default();
    let state = scan.int()?;
    let vs = scan.int()?;
    let vr = scan.int()?;
    for _ in 0..SKIPPED {
        scan.skip_word();
    }
    let [send, receive] = [(); 2].map(|()| scan.int().unwrap_or_default());
    texts(row, &[(dest, 9), (source, 9), (device, 6)]);
    word(row, &STATES, state, 11);
    row.extend_from_slice(format!("  {vr:03}/{vs:03}  {send:<6}  {receive:<6}\n").as_bytes());
    Some(())
}

/// Columns of fixed width; a channel's number is hexadecimal but read as a decimal one.
fn x25(row: &mut Vec<u8>, line: &[u8], all: bool) {
    const STATES: [&str; 5] = [
        "LISTENING",
        "SABM_SENT",
        "DISC_SENT",
        "ESTABLISHED",
        "RECOVERY",
    ];
    /// Words between `vr` and the queues: va and the timers.
    const SKIPPED: usize = 6;
    let columns = (
        line.get(..10),
        line.get(11..20),
        line.get(22..27),
        line.get(27..),
    );
    let (Some(dest), Some(source), Some(device), Some(rest)) = columns else {
        return;
    };
    let mut scan = Scan::new(rest);
    let [channel, state, vs, vr] = [(); 4].map(|()| scan.int().unwrap_or_default());
    for _ in 0..SKIPPED {
        scan.int();
    }
    let [send, receive] = [(); 2].map(|()| scan.int().unwrap_or_default());
    if channel == 0 && !all {
        return;
    }
    for (text, width) in [(dest, 16), (source, 16), (device, 8)] {
        let start = row.len();
        sanitized(row, text.trim_ascii_end());
        cell::pad(row, start, width);
    }
    row.extend_from_slice(format!("{channel:<3}  ").as_bytes());
    word(row, &STATES, state, 11);
    row.extend_from_slice(format!("  {vr:02}/{vs:02}  {send:<6}  {receive:<6}\n").as_bytes());
}

/// Columns of fixed width.
fn netrom(row: &mut Vec<u8>, line: &[u8]) {
    const STATES: [&str; 4] = ["LISTENING", "CONN SENT", "DISC SENT", "ESTABLISHED"];
    let columns = (
        line.get(..9),
        line.get(10..19),
        line.get(20..29),
        line.get(29..),
    );
    let (Some(user), Some(dest), Some(source), Some(rest)) = columns else {
        return;
    };
    let mut scan = Scan::new(rest);
    let device = scan.word().unwrap_or_default();
    // my circuit, your circuit
    scan.skip_word();
    scan.skip_word();
    let [state, vs, vr] = [(); 3].map(|()| scan.int().unwrap_or_default());
    // va, four timers, n2, window
    for _ in 0..7 {
        scan.skip_word();
    }
    let [send, receive] = [(); 2].map(|()| scan.int().unwrap_or_default());
    texts(row, &[(user, 9), (dest, 9), (source, 9), (device, 6)]);
    word(row, &STATES, state, 11);
    row.extend_from_slice(format!("  {vr:03}/{vs:03}  {send:<6}  {receive:<6}\n").as_bytes());
}

/// The reference keeps the words of a line in arrays that are too small for the addresses that
/// kernels write, so that the end of one word cuts another. What is shown follows from the places of
/// the arrays: device, callsigns, addresses.
fn rose(row: &mut Vec<u8>, line: &[u8]) -> Option<()> {
    const STATES: [&str; 4] = ["LISTENING", "CONN SENT", "DISC SENT", "ESTABLISHED"];
    const DEVICE: usize = 0;
    const SOURCE_CALL: usize = 6;
    const DEST_CALL: usize = 15;
    const SOURCE: usize = 24;
    const DEST: usize = 34;
    const ALL: usize = 44;
    let mut scan = Scan::new(line);
    let mut memory = [0; ALL];
    for start in [DEST, DEST_CALL, SOURCE, SOURCE_CALL, DEVICE] {
        let word = scan.word()?;
        // What would overrun the last array is lost.
        for (to, byte) in memory[start..].iter_mut().zip(word.iter().chain(&[0])) {
            *to = *byte;
        }
    }
    let [channel, neighbour, state] = [scan.int()?, scan.int()?, scan.int()?];
    let mut text = |start: usize, width, blanks: &[u8]| {
        let bytes = &memory[start..];
        let end = bytes.iter().position(|&byte| byte == 0);
        let from = row.len();
        sanitized(row, &bytes[..end.unwrap_or(bytes.len())]);
        cell::pad(row, from, width);
        row.extend_from_slice(blanks);
    };
    text(DEST, 10, b"  ");
    text(DEST_CALL, 9, b"  ");
    text(SOURCE, 10, b"  ");
    text(SOURCE_CALL, 9, b" ");
    text(DEVICE, 5, b" ");
    cell::text(row, format_args!("{channel:>3} {neighbour:>5}   "));
    word(row, &STATES, state, 0);
    row.push(b'\n');
    Some(())
}

/// Missing numbers are 0; the user's cell is there only on demand.
fn ipx(
    row: &mut Vec<u8>,
    line: &[u8],
    user: Option<impl FnMut(i32, &mut Vec<u8>)>,
) -> Result<(), &'static str> {
    let mut scan = Scan::new(line);
    let [source, destination] = [(); 2].map(|()| scan.word().unwrap_or_default());
    let [send, receive] = [(); 2].map(|()| scan.hex().unwrap_or_default());
    let [state, uid] = [(); 2].map(|()| scan.int().unwrap_or_default());
    let source = ipx_cell(source).ok_or(IPX_SOURCE)?;
    let destination = match destination {
        b"Not_Connected" => "-".to_owned(),
        address => ipx_cell(address).ok_or(IPX_DESTINATION)?,
    };
    let state = match state {
        1 => "ESTAB",
        7 => "",
        _ => "UNK.",
    };
    cell::text(
        row,
        format_args!("IPX   {send:>6} {receive:>6} {source:<26} {destination:<26} {state:<5}"),
    );
    if let Some(mut user) = user {
        row.push(b' ');
        let start = row.len();
        user(uid, row);
        cell::pad(row, start, 10);
    }
    row.push(b'\n');
    Ok(())
}

/// `NET[:NODE]:PORT`; the port's bytes change places. `None` without a port.
fn ipx_cell(text: &[u8]) -> Option<String> {
    let colon = text.iter().rposition(|&byte| byte == b':')?;
    let port = Scan::new(&text[colon + 1..]).hex().unwrap_or_default() as u16;
    let mut parts = text[..colon].split(|&byte| byte == b':');
    let net = ipx_net(parts.next().unwrap_or_default());
    let node = ipx_node(parts.next().unwrap_or_default());
    let port = port.swap_bytes();
    Some(match (net.as_str(), node.as_str()) {
        ("", _) => format!(":{port:04X}"),
        (net, "") => format!("{net}:{port:04X}"),
        (net, node) => format!("{net}:{node}:{port:04X}"),
    })
}

/// The number of an IPX network; nothing for none and for all.
pub(super) fn ipx_net(text: &[u8]) -> String {
    match Scan::new(text).hex().unwrap_or_default() as u32 {
        0 | u32::MAX => String::new(),
        net => format!("{net:08X}"),
    }
}

/// The number of an IPX node, from its left; nothing for zero.
pub(super) fn ipx_node(text: &[u8]) -> String {
    const DIGITS: usize = 12;
    let digits = text.iter().take(DIGITS).map_while(|byte| {
        byte.is_ascii_hexdigit()
            .then(|| char::from(byte.to_ascii_uppercase()))
    });
    let digits: String = digits.collect();
    if digits.bytes().all(|digit| digit == b'0') {
        return String::new();
    }
    format!("{digits:0<DIGITS$}")
}

/// Each text in its cell, two blanks behind each.
fn texts(row: &mut Vec<u8>, cells: &[(&[u8], usize)]) {
    for &(text, width) in cells {
        let start = row.len();
        sanitized(row, text.trim_ascii_end());
        cell::pad(row, start, width);
        row.extend_from_slice(b"  ");
    }
}

fn word(row: &mut Vec<u8>, words: &[&str], number: i32, width: usize) {
    let known = usize::try_from(number)
        .ok()
        .and_then(|number| words.get(number));
    cell::left(row, known.unwrap_or(&"UNKNOWN").as_bytes(), width);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(print: impl Fn(&mut Vec<u8>), expected: &str) {
        let mut row = Vec::new();
        print(&mut row);
        assert_eq!(String::from_utf8_lossy(&row), expected);
    }

    #[test]
    fn lines_of_ax25_are_rows() {
        let line = b"0 ax0 N0CALL-1* N1CALL,D1 3 1 2 3 0 10 0 3 0 300 0 0 0 10 5 2 256 11 22 1234";
        check(
            |row| assert!(ax25(row, line).is_some()),
            "N1CALL     N0CALL-1*  ax0     ESTABLISHED  002/001  11      22    \n",
        );
        check(|row| assert!(ax25(row, b"0 a b c 2 1\n").is_none()), "");
    }

    #[test]
    fn lines_of_x25_are_rows_of_fixed_columns() {
        let line =
            b"7654321    1234567    x25a  010  3  1  2  3   0   3 200 180 180     7     8 99\n";
        let row =
            "7654321         1234567         x25a    10   ESTABLISHED  02/01  7       8     \n";
        check(|out| x25(out, line, false), row);
        let listener =
            b"*          1234567    ???   000  0  0  0  0   0   3 200 180 180     0     0 9\n";
        check(|out| x25(out, listener, false), "");
        check(|out| x25(out, b"short", true), "");
    }

    #[test]
    fn lines_of_netrom_are_rows_of_fixed_columns() {
        let line = b"N0CALL-1  N9CALL     N0CALL-2  nr0  01/02 03/04  3   1   2   3   0/120  0/05 \
            0/180   0/020  0/03   4     5     6 12\n";
        check(
            |row| netrom(row, line),
            "N0CALL-1   N9CALL      N0CALL-2  nr0     ESTABLISHED  002/001  5       6     \n",
        );
    }
}
