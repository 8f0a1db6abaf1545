//! Random command lines and surroundings over one small world.

use std::os::unix::process::CommandExt as _;

use netstat_tests::fixture::{Bench, Random, cases};
use netstat_user::cmdline::{Family, table::OPTIONS};

use crate::options;

/// Operands, and arguments that follow options or stand where none is wanted.
const WORDS: [&str; 14] = [
    "",
    "-",
    "--",
    "5",
    "foo",
    "inet",
    "inet6,unix",
    "ip,foo",
    "-n",
    "=",
    "--=",
    "caf\u{e9}",
    "log",
    "check",
];

fn long(random: &mut Random) -> String {
    let names: Vec<_> = OPTIONS.iter().filter_map(|option| option.long).collect();
    let name = names[random.below(names.len())];
    let end = match random.below(3) {
        0 => 1 + random.below(name.len()),
        _ => name.len(),
    };
    let mut word = format!("--{}", &name[..end]);
    match random.below(12) {
        0 => word += "=",
        1 => word += "=inet",
        2 => word.push('x'),
        _ => {}
    }
    word
}

fn bundle(random: &mut Random) -> String {
    let letters: Vec<_> = OPTIONS.iter().filter_map(|option| option.short).collect();
    let mut word = "-".to_owned();
    for _ in 0..1 + random.below(4) {
        // Help, version and mistakes end the program, so most lines do without.
        let letter = match random.below(30) {
            0 => char::from(b'!' + random.below(94) as u8),
            _ => char::from(letters[random.below(letters.len())]),
        };
        if !matches!(letter, 'h' | 'V' | '?' | 'Z') || random.once_in(4) {
            word.push(letter);
        }
    }
    word
}

fn line(random: &mut Random) -> Vec<String> {
    let count = random.below(5);
    let words = (0..count).map(|_| match random.below(8) {
        0 => random.pick(&WORDS).to_owned(),
        1 => {
            let words = (0..1 + random.below(3)).map(|_| {
                let at = random.below(Family::WORDS.len());
                Family::WORDS[at].0
            });
            let words: Vec<_> = words.collect();
            format!("-A{}", words.join(","))
        }
        2 | 3 => long(random),
        _ => bundle(random),
    });
    words.collect()
}

/// An endless listing cannot be compared; `rounds` has those.
fn is_endless(words: &[String]) -> bool {
    words.iter().any(|word| match word.strip_prefix("--") {
        Some(long) => long.starts_with("conti"),
        None => word.starts_with('-') && word.contains('c'),
    })
}

#[test]
fn random_command_lines_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        options::fixture(bench);
        let mut compared = 0;
        while compared < cases() * 5 {
            let words = line(&mut bench.random);
            if is_endless(&words) {
                continue;
            }
            compared += 1;
            let random = &mut bench.random;
            let name = random.pick(&["netstat", "/usr/bin/netstat", "./netstat", "x/netstat"]);
            let posix = random.once_in(4);
            let size = random.once_in(4).then(|| random.below(200).to_string());
            let arguments: Vec<_> = words.iter().map(String::as_str).collect();
            bench.compare_with(&arguments, |command| {
                command.arg0(name);
                if posix {
                    command.env("POSIXLY_CORRECT", "");
                }
                if let Some(size) = &size {
                    command.env("COLUMNS", size).env("LINES", size);
                }
            });
        }
    });
}
