//! The rules of GNU `getopt_long`: bundles, abbreviations, permutation, messages.

use super::table::{Described, EXTENSIONS, Effect, OPTIONS};

/// What the next step over the arguments gave.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// An option, with its argument if it takes one.
    Found(&'static Described, &'a [u8]),
    /// A mistake: the text after `ARGV0: `, without line end.
    Mistake(Vec<u8>),
}

/// A walk over the arguments after argv[0].
pub(super) struct Getopt<'a> {
    args: std::slice::Iter<'a, Vec<u8>>,
    /// The letters left of a bundle.
    bundle: &'a [u8],
    /// `POSIXLY_CORRECT`: the first operand ends the options.
    stop_at_operand: bool,
    /// Called `netstat`: there is no `--netns`.
    netstat: bool,
}

impl<'a> Getopt<'a> {
    pub(super) fn new(args: &'a [Vec<u8>], stop_at_operand: bool, netstat: bool) -> Self {
        Self {
            args: args.iter(),
            bundle: &[],
            stop_at_operand,
            netstat,
        }
    }

    fn letter(&mut self, letter: u8, rest: &'a [u8]) -> Step<'a> {
        self.bundle = rest;
        let Some(option) = OPTIONS.iter().find(|option| option.short == Some(letter)) else {
            return mistake(&[b"invalid option -- '", &[letter], b"'"]);
        };
        if !option.takes_argument() {
            return Step::Found(option, &[]);
        }
        self.bundle = &[];
        if !rest.is_empty() {
            return Step::Found(option, rest);
        }
        match self.args.next() {
            Some(argument) => Step::Found(option, argument),
            None => mistake(&[b"option requires an argument -- '", &[letter], b"'"]),
        }
    }

    fn word(&mut self, word: &'a [u8]) -> Step<'a> {
        let (name, value) = match word.iter().position(|&byte| byte == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let option = match find_long(name, self.netstat) {
            Match::One(option) => option,
            Match::None => return mistake(&[b"unrecognized option '--", word, b"'"]),
            Match::Several(names) => {
                let mut text = [b"option '--", word, b"' is ambiguous; possibilities:"].concat();
                for name in names {
                    text.extend_from_slice(b" '--");
                    text.extend_from_slice(name.as_bytes());
                    text.push(b'\'');
                }
                return Step::Mistake(text);
            }
        };
        let long = option.long.unwrap_or_default().as_bytes();
        match (option.takes_argument(), value) {
            (false, None) => Step::Found(option, &[]),
            (false, Some(_)) => mistake(&[b"option '--", long, b"' doesn't allow an argument"]),
            (true, Some(value)) => Step::Found(option, value),
            (true, None) => match self.args.next() {
                Some(argument) => Step::Found(option, argument),
                None => mistake(&[b"option '--", long, b"' requires an argument"]),
            },
        }
    }
}

impl<'a> Iterator for Getopt<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        if let Some((&letter, rest)) = self.bundle.split_first() {
            return Some(self.letter(letter, rest));
        }
        loop {
            let arg = self.args.next()?;
            match arg.as_slice() {
                b"--" => {
                    self.args = [].iter();
                    return None;
                }
                [b'-', b'-', word @ ..] => return Some(self.word(word)),
                [b'-', letter, rest @ ..] => return Some(self.letter(*letter, rest)),
                _ if self.stop_at_operand => {
                    self.args = [].iter();
                    return None;
                }
                _ => {}
            }
        }
    }
}

fn mistake(parts: &[&[u8]]) -> Step<'static> {
    Step::Mistake(parts.concat())
}

enum Match {
    One(&'static Described),
    None,
    Several(Vec<&'static str>),
}

/// An exact name, or the only option that begins so. Options that mean the same count as one.
fn find_long(name: &[u8], netstat: bool) -> Match {
    let named = || {
        OPTIONS
            .iter()
            .filter_map(|option| Some((option, option.long?)))
    };
    let known = |option: &&Described| !netstat || option.effect != Effect::Netns;
    let mut extensions = EXTENSIONS.iter().filter(known);
    if let Some(option) = extensions.find(|option| option.long.map(str::as_bytes) == Some(name)) {
        return Match::One(option);
    }
    if let Some((option, _)) = named().find(|(_, long)| long.as_bytes() == name) {
        return Match::One(option);
    }
    let mut fitting = named().filter(|(_, long)| long.as_bytes().starts_with(name));
    let Some((first, long)) = fitting.next() else {
        return Match::None;
    };
    let mut several = vec![long];
    several.extend(
        fitting
            .filter(|(other, _)| other.same != first.same)
            .map(|(_, long)| long),
    );
    if several.len() == 1 {
        Match::One(first)
    } else {
        Match::Several(several)
    }
}
