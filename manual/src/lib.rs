//! Man pages and shell completions, rendered from what the program itself parses by: the table of
//! netstat's options, and clap's description of the subcommands.

mod command;
mod page;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;
use netstat_user::cli::Cli;

pub use command::netstat_bpf;

/// The name of the program.
pub const PROGRAM: &str = "netstat-bpf";

/// One generated file: its path below the output directory, and its content.
#[derive(Debug)]
pub struct Document {
    /// Such as `man/netstat-bpf.1`.
    pub path: PathBuf,
    /// All of it.
    pub content: Vec<u8>,
}

/// Renders everything: `man/netstat-bpf.1`, a page for each subcommand, and
/// `completions/netstat-bpf.bash`, `_netstat-bpf` (zsh) and `netstat-bpf.fish`.
///
/// # Errors
/// A page that cannot be rendered.
pub fn documents() -> Result<Vec<Document>> {
    let mut found = vec![document(
        "man",
        &format!("{PROGRAM}.1"),
        page::main().into_bytes(),
    )];
    for command in Cli::command().get_subcommands() {
        let name = format!("{PROGRAM}-{}", command.get_name());
        let page = page::subcommand(command, &name).with_context(|| format!("render {name}.1"))?;
        found.push(document("man", &format!("{name}.1"), page));
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        let mut command = netstat_bpf();
        clap_complete::generate(shell, &mut command, PROGRAM, &mut script);
        let name = match shell {
            Shell::Zsh => format!("_{PROGRAM}"),
            other => format!("{PROGRAM}.{other}"),
        };
        found.push(document("completions", &name, script));
    }
    Ok(found)
}

fn document(directory: &str, name: &str, content: Vec<u8>) -> Document {
    Document {
        path: Path::new(directory).join(name),
        content,
    }
}

/// Writes the documents below a directory; returns where each is.
///
/// # Errors
/// A file that cannot be written.
pub fn write(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for document in documents()? {
        let path = directory.join(&document.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        fs::write(&path, document.content).with_context(|| format!("write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use netstat_user::cmdline::{
        Family,
        table::{EXTENSIONS, OPTIONS},
    };

    use super::*;

    fn text(path: &str) -> String {
        let documents = documents().expect("all documents");
        let found = documents
            .into_iter()
            .find(|document| document.path == Path::new(path));
        let content = found
            .unwrap_or_else(|| panic!("{path} is not made"))
            .content;
        String::from_utf8(content).expect("UTF-8")
    }

    #[track_caller]
    fn assert_has(text: &str, wanted: &str, path: &str) {
        assert!(text.contains(wanted), "{path} lacks `{wanted}`");
    }

    #[test]
    fn the_page_has_every_option() {
        let path = "man/netstat-bpf.1";
        let page = text(path);
        for option in OPTIONS.iter().chain(EXTENSIONS) {
            if let Some(letter) = option.short {
                assert_has(&page, &format!("\\fB\\-{}\\fR", char::from(letter)), path);
            }
            if let Some(long) = option.long {
                let long = long.replace('-', "\\-");
                assert_has(&page, &format!("\\fB\\-\\-{long}\\fR"), path);
            }
            let about = roff::Roff::new().text([roff::roman(option.about)]).render();
            let about = about.lines().last().unwrap_or_default();
            assert_has(&page, about, path);
        }
        for (word, _) in Family::WORDS {
            assert_has(&page, word, path);
        }
        for command in Cli::command().get_subcommands() {
            assert_has(&page, command.get_name(), path);
        }
    }

    /// Whether a completion script offers words, one after the other, where it lists options.
    fn offers(shell: &str, script: &str, words: &[&str]) -> bool {
        let lists = match shell {
            "bash" => "            opts=",
            "zsh" => "'",
            _ => "complete -c netstat-bpf",
        };
        let in_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut lines = script.lines().filter(|line| line.starts_with(lists));
        lines.any(|line| {
            let found: Vec<_> = line.split(|c| !in_word(c)).collect();
            found.windows(words.len()).any(|found| found == words)
        })
    }

    #[test]
    fn completions_offer_every_option_of_use_and_no_other() {
        for (shell, path) in [
            ("bash", "completions/netstat-bpf.bash"),
            ("zsh", "completions/_netstat-bpf"),
            ("fish", "completions/netstat-bpf.fish"),
        ] {
            let script = text(path);
            for option in OPTIONS.iter().chain(EXTENSIONS) {
                let letter = option.short.map(|letter| char::from(letter).to_string());
                for (dashes, fish, name) in
                    [("-", "-s", letter.as_deref()), ("--", "-l", option.long)]
                {
                    let Some(name) = name else { continue };
                    let offered = if shell == "fish" {
                        offers(shell, &script, &[fish, name])
                    } else {
                        offers(shell, &script, &[&format!("{dashes}{name}")])
                    };
                    assert_eq!(offered, option.is_useful(), "{path}: {dashes}{name}");
                }
            }
            for (word, _) in Family::WORDS {
                assert_has(&script, word, path);
            }
            for command in Cli::command().get_subcommands() {
                assert_has(&script, command.get_name(), path);
            }
        }
    }

    #[test]
    fn every_subcommand_has_a_page_with_all_its_options() {
        for command in Cli::command().get_subcommands_mut() {
            let path = format!("man/netstat-bpf-{}.1", command.get_name());
            let page = text(&path);
            let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set());
            for argument in arguments {
                let name = match argument.get_long() {
                    Some(long) => long.replace('-', "\\-"),
                    None => argument.get_id().to_string().to_uppercase(),
                };
                assert_has(&page, &name, &path);
            }
        }
    }
}
