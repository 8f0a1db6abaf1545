//! Which of the two programs this is: netstat, or the subcommands.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

use clap::Parser as _;

use crate::{
    cli::{Cli, Command},
    modes,
};

/// Runs a command line, argv[0] first.
///
/// A subcommand's word right after the program's name makes it ours, unless the program is called
/// `netstat`; anything else is netstat's.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if is_subcommand(&args) {
        return subcommand(Cli::parse_from(args).command);
    }
    let mut args = args.into_iter();
    modes::netstat(args.next().unwrap_or_default(), args).into()
}

fn is_subcommand(args: &[OsString]) -> bool {
    let [argv0, word, ..] = args else {
        return false;
    };
    let called_netstat = Path::new(argv0).file_name() == Some(OsStr::new("netstat"));
    !called_netstat && Command::WORDS.into_iter().any(|known| word == known)
}

fn subcommand(command: Command) -> ExitCode {
    let done = match command {
        Command::Log(options) => modes::log::run(&options).map(|()| true),
        Command::Check(options) => {
            modes::check::run(&mut std::io::stdout().lock(), options.verbose)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("netstat-bpf: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(args: &[&str], expected: bool) {
        let args: Vec<_> = args.iter().map(OsString::from).collect();
        assert_eq!(is_subcommand(&args), expected, "{args:?}");
    }

    #[test]
    fn a_word_in_first_place_makes_it_ours() {
        check(&["netstat-bpf", "log"], true);
        check(&["/usr/bin/netstat-bpf", "check", "--help"], true);
        check(&["/usr/bin/netstat", "log"], false);
        check(&["netstat-bpf", "-a", "log"], false);
        check(&["netstat-bpf", "logs"], false);
        check(&["netstat-bpf"], false);
        check(&[], false);
    }
}
