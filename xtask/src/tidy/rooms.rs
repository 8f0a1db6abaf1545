//! What the pure rooms must not touch: clock, file, socket, log, terminal, kernel.

use super::{Breach, lex};

/// Paths that a pure room may not name, with what they would bring in.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::fs", "files"),
    ("std::env", "the environment"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("std::net::TcpListener", "sockets"),
    ("std::net::TcpStream", "sockets"),
    ("std::net::ToSocketAddrs", "name lookups"),
    ("std::net::UdpSocket", "sockets"),
    ("std::os::unix::net", "sockets"),
    ("std::io::stdin", "the terminal"),
    ("std::io::stdout", "the terminal"),
    ("std::io::stderr", "the terminal"),
    ("aya", "the kernel"),
    ("log", "logging"),
    ("nix", "system calls"),
    ("procfs", "files"),
    ("tokio", "the event loop"),
    ("crate::kernel", "the kernel"),
    ("crate::modes", "the world"),
    ("crate::proc", "files"),
];

/// Calls, found as text: a type may be imported whole, its clock may not be read.
const FORBIDDEN_TEXT: &[(&str, &str)] = &[
    ("Instant::now", "the clock"),
    ("SystemTime::now", "the clock"),
    ("fs::", "files"),
    ("io::stdin(", "the terminal"),
    ("io::stdout(", "the terminal"),
    ("io::stderr(", "the terminal"),
    ("TcpStream::", "sockets"),
    ("TcpListener::", "sockets"),
    ("UdpSocket::", "sockets"),
    ("print!(", "the terminal"),
    ("println!(", "the terminal"),
    ("eprint!(", "the terminal"),
    ("eprintln!(", "the terminal"),
];

/// Breaches of a file in a pure room; its unit tests may do as they like.
pub(super) fn breaches(source: &str) -> Vec<Breach> {
    let code = lex::code_only(source);
    let code = lex::without_tests(&code);
    let mut found = Vec::new();
    for (line, path) in imports(code) {
        for (forbidden, what) in FORBIDDEN {
            if is_within(&path, forbidden) {
                found.push(Breach::new(
                    line,
                    format!("a pure room imports `{path}`: {what}"),
                ));
            }
        }
    }
    let (paths, crates): (Vec<_>, Vec<_>) =
        FORBIDDEN.iter().partition(|(path, _)| path.contains("::"));
    for (number, line) in code.lines().enumerate() {
        if line.trim_start().starts_with("use ") {
            continue;
        }
        let texts = FORBIDDEN_TEXT.iter().chain(paths.iter().copied());
        let texts = texts.filter(|(text, _)| mentions(line, text).any(|_| true));
        let crates = crates.iter().copied().filter(|(name, _)| {
            // `crate::log::x` is not the crate `log`.
            let path = format!("{name}::");
            mentions(line, &path).any(|before| before != Some(':'))
        });
        for (text, what) in texts.chain(crates) {
            found.push(Breach::new(
                number + 1,
                format!("a pure room uses `{text}`: {what}"),
            ));
        }
    }
    found
}

/// Whether `path` is `forbidden` or below it, or imports everything around it.
fn is_within(path: &str, forbidden: &str) -> bool {
    let around = path
        .strip_suffix("::*")
        .is_some_and(|all| forbidden.starts_with(&format!("{all}::")));
    around || path == forbidden || path.starts_with(&format!("{forbidden}::"))
}

/// Where a line has the text as whole words: the character before each.
fn mentions<'a>(line: &'a str, text: &'a str) -> impl Iterator<Item = Option<char>> + 'a {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(text).filter_map(move |(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + text.len()..].chars().next();
        let ends = !text.ends_with(in_word) || !after.is_some_and(in_word);
        (!before.is_some_and(in_word) && ends).then_some(before)
    })
}

/// Every path that `use` brings in, with braces opened out, and the line of its `use`.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line_start = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = code[line_start..at].trim();
        if !(before.is_empty() || before.starts_with("pub")) {
            continue;
        }
        let tree = &code[at + 4..];
        let tree = &tree[..tree.find(';').unwrap_or(tree.len())];
        let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = code[..at].matches('\n').count() + 1;
        expand("", &tree, &mut |path| found.push((line, path)));
    }
    found
}

fn expand(prefix: &str, tree: &str, sink: &mut impl FnMut(String)) {
    let tree = tree.trim();
    let Some((head, inside)) = tree.split_once('{') else {
        let path = tree
            .split(" as ")
            .next()
            .unwrap_or(tree)
            .trim_start_matches("::");
        let path = format!("{prefix}{path}");
        if !path.is_empty() {
            sink(path.strip_suffix("::self").unwrap_or(&path).to_owned());
        }
        return;
    };
    let prefix = format!("{prefix}{}", head.trim().trim_start_matches("::"));
    let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
    let mut depth = 0_i32;
    let mut start = 0;
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &inside[start..at], sink);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inside[start..].trim().is_empty() {
        expand(&prefix, &inside[start..], sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_opened_out() {
        let code = "use std::{\n    fs::{self, File},\n    net::IpAddr as A,\n};\npub(crate) use aya::Ebpf;\n";
        let paths: Vec<String> = imports(code).into_iter().map(|(_, path)| path).collect();
        assert_eq!(
            paths,
            ["std::fs", "std::fs::File", "std::net::IpAddr", "aya::Ebpf"]
        );
    }

    #[test]
    fn each_way_out_of_a_pure_room_is_seen() {
        for bad in [
            "use std::fs;",
            "use std::{collections::BTreeMap, fs::File};",
            "use std::net::{IpAddr, TcpStream};",
            "use std::*;",
            "pub use aya::Ebpf;",
            "use crate::proc::sockets;",
            "use crate::{kernel::load, view::row};",
            "fn f() { std::fs::read(x); }",
            "fn f() { fs::read(x); }",
            "fn f() { std::time::Instant::now(); }",
            "fn f() { let t = SystemTime::now(); }",
            "fn f() { println!(); }",
            "fn f() { log::info!(); }",
            "fn f() { write(io::stdout().lock()); }",
            "fn f() { std::net::UdpSocket::bind(x); }",
            "fn f() { crate::proc::read(); }",
        ] {
            assert!(!breaches(bad).is_empty(), "not seen: {bad}");
        }
    }

    #[test]
    fn what_a_pure_room_needs_is_let_through() {
        for good in [
            "use std::net::{IpAddr, Ipv4Addr};",
            "use std::time::{Duration, Instant};",
            "use std::{fmt::Write as _, io::{self, Write}};",
            "// std::fs is for the world\nfn f() { g(\"println!()\"); }",
            "use crate::view::row::InetRow;",
            "fn f() { crate::log::x(); self.log.push(1); dialog::open(); }",
            "fn f() { writeln!(out, \"x\"); }",
            "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }",
        ] {
            assert_eq!(breaches(good), [], "{good}");
        }
    }
}
