//! The rows of the IPv4 routing table and cache.

use super::{
    cell,
    names::sanitized,
    route::{Level, Route},
};

const REJECT: u32 = 0x200;

/// Letters of the forwarding table, in the order in which they are printed. `!` replaces what is
/// there.
pub(super) const FIB_FLAGS: [(u32, &str); 20] = [
    (0x1, "U"),
    (0x2, "G"),
    (REJECT, "!"),
    (0x4, "H"),
    (0x8, "R"),
    (0x10, "D"),
    (0x20, "M"),
    (0x1_0000, "d"),
    (0x2_0000, "a"),
    (0x4_0000, "c"),
    (0x20_0000, "o"),
    (0x40_0000, "e"),
    (0x100_0000, "c"),
    (0x200_0000, "f"),
    (0x400_0000, "p"),
    (0x8000_0000, "l"),
    (0x40, "u"),
    (0x80, "w"),
    (0x100, "i"),
    (0x400, "n"),
];

/// Letters of the cache.
const CACHE_FLAGS: [(u32, &str); 20] = [
    (0x2, "G"),
    (REJECT, "!"),
    (0x8, "R"),
    (0x10, "D"),
    (0x20, "M"),
    (0x1, "-"),
    (0x4, "o"),
    (0x1_0000, "n"),
    (0x2_0000, "d"),
    (0x8_0000, "t"),
    (0x20_0000, "f"),
    (0x40_0000, "q"),
    (0x80_0000, "Ns"),
    (0x100_0000, "r"),
    (0x400_0000, "i"),
    (0x800_0000, "Nd"),
    (0x1000_0000, "b"),
    (0x2000_0000, "m"),
    (0x4000_0000, "#"),
    (0x8000_0000, "l"),
];

/// The letters of the flags that are set; `!` replaces those before it.
fn letters(table: &[(u32, &str)], flags: u32) -> String {
    let text = letters_of(table, flags);
    match text.find('!') {
        Some(reject) => text[reject..].to_owned(),
        None => text,
    }
}

/// The letters of the flags that are set.
pub(super) fn letters_of(table: &[(u32, &str)], flags: u32) -> String {
    let set = table.iter().filter(|(bit, _)| flags & bit != 0);
    set.map(|(_, letter)| *letter).collect()
}

/// Appends a row of the forwarding table; `addrs` are destination, gateway and mask.
pub(super) fn fib_row(out: &mut Vec<u8>, level: Level, route: &Route, addrs: [&[u8]; 3]) {
    let [destination, gateway, mask] = addrs;
    if level == Level::Title {
        return;
    }
    let reject = route.flags & REJECT != 0;
    addr_cell(out, destination);
    addr_cell(out, if reject { b"-" } else { gateway });
    addr_cell(out, mask);
    let flags = letters(&FIB_FLAGS, route.flags);
    if !reject {
        open_row(out, level, route, &flags);
        if level == Level::All {
            cell::text(out, format_args!("{}", route.irtt));
        }
        out.push(b'\n');
        return;
    }
    let Route { metric, uses, .. } = *route;
    match level {
        Level::Title => {}
        Level::Metric => cell::text(out, format_args!("{flags:<5} {metric:<6} -  {uses:>7} -\n")),
        Level::Window => cell::text(out, format_args!("{flags:<5}     - -          - -\n")),
        Level::All => cell::text(
            out,
            format_args!("{flags:<5} {metric:<6} -  {uses:>7} -        -     -      -\n"),
        ),
    }
}

/// Appends a row of the cache; `addrs` are source, destination and gateway.
pub(super) fn cache_row(
    out: &mut Vec<u8>,
    level: Level,
    route: &Route,
    addrs: [&[u8]; 3],
    specific: &[u8],
) {
    if level == Level::Title {
        return;
    }
    for addr in addrs {
        addr_cell(out, addr);
    }
    open_row(out, level, route, &letters(&CACHE_FLAGS, route.flags));
    if level == Level::All {
        let Route {
            irtt,
            tos,
            hh_references,
            hh_up_to_date,
            ..
        } = *route;
        cell::text(
            out,
            format_args!("{irtt:<5} {tos:<3} {hh_references:<3}   {hh_up_to_date:<3} "),
        );
        cell::right_text(out, specific, 15);
    }
    out.push(b'\n');
}

/// Appends an address in a cell of 15 bytes and a blank.
fn addr_cell(out: &mut Vec<u8>, text: &[u8]) {
    cell::left(out, text, 15);
    out.push(b' ');
}

/// What both tables share after the addresses, up to the window of the longest form.
fn open_row(out: &mut Vec<u8>, level: Level, route: &Route, flags: &str) {
    let Route {
        metric,
        references,
        uses,
        mtu,
        window,
        irtt,
        ..
    } = *route;
    match level {
        Level::Title => {}
        Level::Metric => {
            cell::text(
                out,
                format_args!("{flags:<5} {metric:<6} {references:<2} {uses:>7} "),
            );
            sanitized(out, &route.iface);
        }
        Level::Window => {
            cell::text(
                out,
                format_args!("{flags:<5} {mtu:>5} {window:<5} {irtt:>6} "),
            );
            sanitized(out, &route.iface);
        }
        Level::All => {
            const IFACE: usize = 6;
            cell::text(
                out,
                format_args!("{flags:<5} {metric:<6} {references:<3} {uses:>6} "),
            );
            let cut = &route.iface[..route.iface.len().min(IFACE)];
            let start = out.len();
            sanitized(out, cut);
            cell::pad(out, start, IFACE);
            cell::text(out, format_args!("   {mtu:<5} {window:<6} "));
        }
    }
}
