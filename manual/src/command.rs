//! netstat's options and the subcommands as one clap command. It only describes: netstat's command
//! line has getopt's rules, which clap does not have, so nothing parses with it.

use clap::{Arg, ArgAction, Command, CommandFactory as _, builder::PossibleValuesParser};
use netstat_user::{
    cli::Cli,
    cmdline::{
        Family,
        table::{Described, EXTENSIONS, Effect, OPTIONS},
    },
};

use crate::PROGRAM;

/// The whole command line. Options that do nothing are left out: nobody should be offered them.
#[must_use]
pub fn netstat_bpf() -> Command {
    let options = OPTIONS
        .iter()
        .chain(EXTENSIONS)
        .filter(|option| option.is_useful() && !has_twin(option));
    Cli::command()
        .name(PROGRAM)
        .disable_help_flag(true)
        .disable_version_flag(true)
        // To netstat `help` is an operand.
        .disable_help_subcommand(true)
        .args(options.map(argument))
}

/// `--unix` stands twice in the table: alone, and with `-x`.
fn has_twin(option: &Described) -> bool {
    option.short.is_none()
        && OPTIONS
            .iter()
            .any(|other| other.long == option.long && other.short.is_some())
}

fn argument(option: &Described) -> Arg {
    let mut argument = Arg::new(option.long.unwrap_or(option.about)).help(option.about);
    if let Some(long) = option.long {
        argument = argument.long(long);
    }
    if let Some(short) = option.short {
        argument = argument.short(char::from(short));
    }
    if option.effect == Effect::Netns {
        argument.value_name("NAMESPACE")
    } else if option.takes_argument() {
        let words = Family::WORDS.map(|(word, _)| word);
        argument
            .value_name("FAMILY")
            .value_delimiter(',')
            .value_parser(PossibleValuesParser::new(words))
    } else {
        argument.action(ArgAction::Count)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn clap_finds_no_conflict() {
        super::netstat_bpf().debug_assert();
    }
}
