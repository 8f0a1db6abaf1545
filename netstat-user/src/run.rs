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
    let (args, agent) = without_no_agent(args);
    let mut args = args.into_iter();
    modes::netstat(args.next().unwrap_or_default(), args, agent).into()
}

/// The arguments without `--no-agent`, and whether an agent may be asked.
///
/// Only the whole word counts, so that abbreviations of netstat's options mean what they mean there;
/// a program that is called `netstat` has no such option.
fn without_no_agent(mut args: Vec<OsString>) -> (Vec<OsString>, bool) {
    if args.first().is_some_and(|argv0| is_netstat(argv0)) {
        return (args, true);
    }
    let end = args.iter().position(|arg| arg == "--");
    let end = end.unwrap_or(args.len());
    let before = args.len();
    let mut at = 0;
    args.retain(|arg| {
        at += 1;
        at > end || arg != "--no-agent"
    });
    let agent = args.len() == before;
    (args, agent)
}

fn is_netstat(argv0: &OsStr) -> bool {
    Path::new(argv0).file_name() == Some(OsStr::new("netstat"))
}

fn is_subcommand(args: &[OsString]) -> bool {
    let [argv0, word, ..] = args else {
        return false;
    };
    !is_netstat(argv0) && Command::WORDS.into_iter().any(|known| word == known)
}

fn subcommand(command: Command) -> ExitCode {
    let done = match command {
        Command::Log(options) => modes::log::run(&options).map(|()| true),
        Command::Agent(options) => modes::agent::run(&options).map(|()| true),
        Command::Status(options) => {
            modes::status::run(&mut std::io::stdout().lock(), &options).map(|()| true)
        }
        Command::Check(options) => {
            modes::check::run(&mut std::io::stdout().lock(), options.verbose)
        }
        // It has exit statuses of its own.
        Command::Audit(options) => return modes::audit::run(&options).into(),
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

    #[test]
    fn no_agent_is_taken_out_as_a_whole_word() {
        let check = |args: &[&str], expected: &[&str], agent| {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            let (left, may) = without_no_agent(args);
            assert_eq!(
                (left, may),
                (expected.iter().map(OsString::from).collect(), agent)
            );
        };
        check(
            &["x", "-an", "--no-agent", "-p"],
            &["x", "-an", "-p"],
            false,
        );
        check(&["x", "--no-agen"], &["x", "--no-agen"], true);
        check(&["x", "--", "--no-agent"], &["x", "--", "--no-agent"], true);
        check(&["x", "--no-agent", "--no-agent"], &["x"], false);
        check(
            &["/bin/netstat", "--no-agent"],
            &["/bin/netstat", "--no-agent"],
            true,
        );
        check(&[], &[], true);
    }
}
