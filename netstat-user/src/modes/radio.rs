//! AX.25, X.25 and NET/ROM where a kernel still has them; only titles for IPX and ROSE.

use std::{fs::File, io::Write};

use crate::{
    cmdline::{Family, Options},
    proc::for_each_line,
    view::{cell, names::sanitized, scan::Scan},
};

/// Prints the title of a family and a row for each line of its table.
pub(super) fn print(family: Family, file: File, options: &Options, out: &mut dyn Write) {
    // Write errors are nothing to the reference.
    let _ = out.write_all(title(family).as_bytes());
    if family == Family::Ipx {
        let user = if options.extend > 0 { " User" } else { "" };
        let _ = writeln!(out, "{user}");
    }
    let mut row = Vec::new();
    for_each_line(file, |number, line| {
        let complete = match family {
            Family::Ax25 => ax25(&mut row, line).is_some(),
            Family::X25 if number > 0 => x25(&mut row, line, options.all),
            Family::Netrom if number > 0 => netrom(&mut row, line),
            _ => true,
        };
        if !complete {
            // The reference says so on standard output.
            let _ = writeln!(out, "problem reading data from /proc/net/ax25");
        }
        let _ = out.write_all(&row);
        row.clear();
    });
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
fn x25(row: &mut Vec<u8>, line: &[u8], all: bool) -> bool {
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
        line.get(11..21),
        line.get(22..27),
        line.get(27..),
    );
    let (Some(dest), Some(source), Some(device), Some(rest)) = columns else {
        return true;
    };
    let mut scan = Scan::new(rest);
    let [channel, state, vs, vr] = [(); 4].map(|()| scan.int().unwrap_or_default());
    for _ in 0..SKIPPED {
        scan.int();
    }
    let [send, receive] = [(); 2].map(|()| scan.int().unwrap_or_default());
    if channel == 0 && !all {
        return true;
    }
    for (text, width) in [(dest, 16), (source, 16), (device, 8)] {
        let start = row.len();
        sanitized(row, text.trim_ascii_end());
        cell::pad(row, start, width);
    }
    row.extend_from_slice(format!("{channel:<3}  ").as_bytes());
    word(row, &STATES, state, 11);
    row.extend_from_slice(format!("  {vr:02}/{vs:02}  {send:<6}  {receive:<6}\n").as_bytes());
    true
}

/// Columns of fixed width.
fn netrom(row: &mut Vec<u8>, line: &[u8]) -> bool {
    const STATES: [&str; 4] = ["LISTENING", "CONN SENT", "DISC SENT", "ESTABLISHED"];
    let columns = (
        line.get(..9),
        line.get(10..19),
        line.get(20..29),
        line.get(29..),
    );
    let (Some(user), Some(dest), Some(source), Some(rest)) = columns else {
        return true;
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
    true
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
    fn check(print: impl Fn(&mut Vec<u8>) -> bool, complete: bool, expected: &str) {
        let mut row = Vec::new();
        assert_eq!(print(&mut row), complete);
        assert_eq!(String::from_utf8_lossy(&row), expected);
    }

    #[test]
    fn lines_of_ax25_are_rows() {
        let line = b"0 ax0 N0CALL-1* N1CALL,D1 3 1 2 3 0 10 0 3 0 300 0 0 0 10 5 2 256 11 22 1234";
        check(
            |row| ax25(row, line).is_some(),
            true,
            "N1CALL     N0CALL-1*  ax0     ESTABLISHED  002/001  11      22    \n",
        );
        check(|row| ax25(row, b"0 a b c 2 1\n").is_some(), false, "");
    }

    #[test]
    fn lines_of_x25_are_rows_of_fixed_columns() {
        let line =
            b"7654321    1234567    x25a  010  3  1  2  3   0   3 200 180 180     7     8 99\n";
        let row =
            "7654321         1234567         x25a    10   ESTABLISHED  02/01  7       8     \n";
        check(|out| x25(out, line, false), true, row);
        let listener =
            b"*          1234567    ???   000  0  0  0  0   0   3 200 180 180     0     0 9\n";
        check(|out| x25(out, listener, false), true, "");
        check(|out| x25(out, b"short", true), true, "");
    }

    #[test]
    fn lines_of_netrom_are_rows_of_fixed_columns() {
        let line = b"N0CALL-1  N9CALL     N0CALL-2  nr0  01/02 03/04  3   1   2   3   0/120  0/05 \
            0/180   0/020  0/03   4     5     6 12\n";
        check(
            |row| netrom(row, line),
            true,
            "N0CALL-1   N9CALL      N0CALL-2  nr0     ESTABLISHED  002/001  5       6     \n",
        );
    }
}
