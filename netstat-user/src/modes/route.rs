//! `-r`: routing tables.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    report::{put, read, shown, words},
    route_other,
};
use crate::{
    cmdline::Family,
    view::{
        Names,
        route::{self, Level, Reader, Table},
        route6::{self, Route6},
    },
};

/// What to print.
#[derive(Clone, Debug)]
pub struct RouteRequest {
    /// The root of procfs.
    pub proc: PathBuf,
    /// The families in the order of the command line; IPv4 if there is none.
    pub families: Vec<Family>,
    /// How many times `-e` was given.
    pub extend: u32,
    /// `-n`, `--numeric-hosts` or `-N`
    pub numeric: bool,
    /// `-F`
    pub fib: bool,
    /// `-C`
    pub cache: bool,
}

/// Prints one round and gives the exit status.
pub fn run(
    request: &RouteRequest,
    names: &mut dyn Names,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    let families = match &request.families[..] {
        [] => &[Family::Inet],
        families => families,
    };
    for &family in families {
        let status = match family {
            Family::Inet => inet(request, names, out, err),
            Family::Inet6 => inet6(request, names, out, err),
            other => route_other::run(&request.proc, other, out, err),
        };
        if status != 0 {
            return status;
        }
    }
    0
}

/// The tables asked for, in their order.
fn tables(request: &RouteRequest) -> impl Iterator<Item = Table> {
    let fib = request.fib || !request.cache;
    [(fib, Table::Fib), (request.cache, Table::Cache)]
        .into_iter()
        .filter_map(|(asked, table)| asked.then_some(table))
}

fn inet(
    request: &RouteRequest,
    names: &mut dyn Names,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    for table in tables(request) {
        let status = inet_table(request, table, names, out, err);
        if status != 0 {
            return status;
        }
    }
    0
}

fn inet_table(
    request: &RouteRequest,
    table: Table,
    names: &mut dyn Names,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    let name = match table {
        Table::Fib => "route",
        Table::Cache => "rt_cache",
    };
    let file = match read(&request.proc, name) {
        Ok(file) => file,
        Err(error) => {
            put(err, format!("{}: {}\n", shown(name), words(&error)));
            put(out, "INET (IPv4) not configured in this system.\n");
            return 1;
        }
    };
    let level = Level::from_extend(request.extend);
    let mut text = table.title().as_bytes().to_vec();
    let mut lines = file.split_inclusive(|&byte| byte == b'\n');
    let status = match (lines.next(), table) {
        (None, Table::Fib) => {
            text.extend_from_slice(table.header(level).as_bytes());
            1
        }
        (None, Table::Cache) => {
            // The reference prints the errno of whatever failed last, which is this.
            put(err, format!("{}: No such file or directory\n", shown(name)));
            255
        }
        (Some(header), _) => {
            text.extend_from_slice(table.header(level).as_bytes());
            match Reader::new(table, header) {
                Ok(mut reader) => {
                    for line in lines {
                        if let Some(found) = reader.line(line) {
                            route::row(&mut text, table, level, found, request.numeric, names);
                        }
                    }
                    0
                }
                Err(column) => {
                    let column = String::from_utf8_lossy(column);
                    let name = shown(name);
                    put(
                        err,
                        format!("warning: {name} does not contain required field {column}\n"),
                    );
                    1
                }
            }
        }
    };
    put(out, &text);
    status
}

fn inet6(
    request: &RouteRequest,
    names: &mut dyn Names,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    for table in tables(request) {
        let cache = table == Table::Cache;
        match inet6_table(&request.proc, cache, request.numeric, names) {
            Ok(text) => put(out, &text),
            Err(error) => {
                put(err, format!("{}: {}\n", shown("ipv6_route"), words(&error)));
                put(out, "INET6 (IPv6) not configured in this system.\n");
                return 1;
            }
        }
    }
    0
}

fn inet6_table(
    root: &Path,
    cache: bool,
    numeric: bool,
    names: &mut dyn Names,
) -> std::io::Result<Vec<u8>> {
    let file = read(root, "ipv6_route")?;
    let mut text = if cache {
        b"Kernel IPv6 routing cache\n".to_vec()
    } else {
        b"Kernel IPv6 routing table\n".to_vec()
    };
    text.extend_from_slice(route6::HEADER.as_bytes());
    let mut route = Route6::default();
    for line in file.split_inclusive(|&byte| byte == b'\n') {
        route.line(line);
        if route.cached() == cache {
            route.row(&mut text, numeric, names);
        }
    }
    Ok(text)
}
