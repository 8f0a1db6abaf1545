//! As much of Rust's lexer as the checks need.

/// The source with the insides of comments, strings and characters blanked; lines stay lines.
pub(super) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut previous = ' ';
    while let Some(c) = rest.chars().next() {
        let inside_word = previous.is_alphanumeric() || previous == '_';
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !inside_word => prefixed_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(c);
            previous = c;
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            previous = ' ';
            rest = &rest[length..];
        }
    }
    code
}

/// The code above the unit tests, which stand at the end of a file.
pub(super) fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod ")
        .map_or(code, |tests| &code[..tests])
}

/// The length of a block comment, which may hold others.
fn comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"`, `r#"`, `b"`, `br"` and their like; 0 if it is none.
fn prefixed_string(rest: &str) -> usize {
    let prefix = rest
        .find(|c: char| !c.is_ascii_lowercase())
        .unwrap_or(rest.len());
    let raw = match &rest[..prefix] {
        "r" | "br" | "cr" => true,
        "b" | "c" => false,
        _ => return 0,
    };
    let after = &rest[prefix..];
    if !raw {
        return if after.starts_with('"') {
            prefix + string(after)
        } else {
            0
        };
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = prefix + hashes + 1;
    rest[start..]
        .find(&end)
        .map_or(rest.len(), |at| start + at + end.len())
}

/// A character; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let inside = &rest[1..];
    let first = match inside.strip_prefix('\\') {
        // The escaped character may itself be a quote.
        Some(escape) => 1 + escape.chars().next().map_or(0, char::len_utf8),
        None => inside.chars().next().map_or(0, char::len_utf8),
    };
    match inside[first..].find('\'') {
        Some(0) => first + 2,
        Some(more) if inside.starts_with('\\') => first + more + 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        for (source, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("f(\"x \\\" y\") z", "f(        ) z"),
            ("r#\"a \" b\"# z", "           z"),
            ("for 'a '\"' '\\'' z", "for 'a          z"),
            ("b'x' bar", "b    bar"),
            ("'\\u{1f}' z", "         z"),
        ] {
            assert_eq!(code_only(source), code, "{source}");
        }
    }

    #[test]
    fn tests_at_the_end_are_cut() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
        assert_eq!(without_tests("a\n"), "a\n");
    }
}
