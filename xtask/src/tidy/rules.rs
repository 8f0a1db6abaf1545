//! The checks that look at one file's text.

use std::path::Path;

use super::{Breach, lex};

const LONGEST: usize = 600;

/// A file that should be split.
pub(super) fn length(source: &str) -> Vec<Breach> {
    let lines = source.lines().count();
    if lines <= LONGEST {
        return Vec::new();
    }
    vec![Breach::new(
        lines,
        format!("over {LONGEST} lines: split it, or name it in xtask/src/tidy.rs"),
    )]
}

/// Something that a build made: not text, or named like an object.
pub(super) fn is_binary(path: &Path, bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(8192)];
    let object = ["o", "a", "so", "bin", "elf", "bc", "rlib"];
    let named = path
        .extension()
        .is_some_and(|found| object.iter().any(|name| found == *name));
    start.contains(&0) || named
}

/// `unsafe` blocks and impls without a `SAFETY:` comment on them or just above their statement.
pub(super) fn unsafe_without_safety(source: &str) -> Vec<Breach> {
    let code = lex::code_only(source);
    let code: Vec<&str> = code.lines().collect();
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (number, line) in code.iter().enumerate() {
        let opens = words_after(line, "unsafe").any(|after| {
            after.starts_with('{') || after.starts_with("impl ") || after.starts_with("impl<")
        });
        if opens && !(lines[number].contains("SAFETY:") || safety_above(&lines[..number], &code)) {
            found.push(Breach::new(
                number + 1,
                "`unsafe` without a `// SAFETY:` comment",
            ));
        }
    }
    found
}

/// Looks up through comments, attributes and the statement's own first lines.
fn safety_above(above: &[&str], code: &[&str]) -> bool {
    for (number, line) in above.iter().enumerate().rev() {
        let line = line.trim();
        let code = code[number].trim();
        let comment = line.starts_with("//");
        if comment && line.contains("SAFETY:") {
            return true;
        }
        let attribute = line.starts_with("#[");
        // `let x = if c {` and `} else {` are parts of a statement that goes on.
        let goes_on = code.ends_with('{') && (code.contains(" = ") || code.starts_with("} else"));
        let ends_before = !goes_on && (code.is_empty() || code.ends_with([';', '{', '}', ',']));
        if !comment && !attribute && ends_before {
            return false;
        }
    }
    false
}

/// What follows each use of a word in a line.
fn words_after<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(word).filter_map(move |(at, _)| {
        let before = line[..at].chars().next_back();
        let whole = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
        let after = &line[at + word.len()..];
        let ends = after
            .chars()
            .next()
            .is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
        (whole && ends).then(|| after.trim_start())
    })
}

/// Tests that do not run, and code that is not there.
pub(super) fn ignored_or_unfinished(source: &str) -> Vec<Breach> {
    let code = lex::code_only(source);
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for (text, what) in [
            (
                "#[ignore",
                "a test that does not run proves nothing: make it pass, or delete it",
            ),
            ("todo!(", "unfinished"),
            ("unimplemented!(", "unfinished"),
        ] {
            if line.contains(text) {
                found.push(Breach::new(number + 1, format!("`{text}`: {what}")));
            }
        }
    }
    found
}

/// Attributes of aya-ebpf that make a function a BPF program.
const HOOKS: &[&str] = &[
    "btf_tracepoint",
    "cgroup_skb",
    "cgroup_sock",
    "cgroup_sock_addr",
    "cgroup_sockopt",
    "cgroup_sysctl",
    "fentry",
    "fexit",
    "kprobe",
    "kretprobe",
    "lsm",
    "lsm_cgroup",
    "perf_event",
    "raw_tracepoint",
    "sk_lookup",
    "sk_msg",
    "sock_ops",
    "socket_filter",
    "tracepoint",
    "uprobe",
];

/// BPF programs whose doc comment does not say since which kernel they load and in which context
/// they run. The hook is named by the attribute, by the section, after `Hook:`, or is
/// `BPF_PROG_TEST_RUN` for what user space runs by itself.
pub(super) fn undocumented_hooks(source: &str) -> Vec<Breach> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(arguments) = hook_arguments(line.trim()) else {
            continue;
        };
        let docs: String = lines[..number]
            .iter()
            .rev()
            .map(|line| line.trim())
            .take_while(|line| line.starts_with("///") || line.starts_with("#["))
            .filter(|line| line.starts_with("///"))
            .collect::<Vec<_>>()
            .join("\n");
        let mut missing: Vec<&str> = ["Since:", "Context:"]
            .into_iter()
            .filter(|word| !docs.contains(word))
            .collect();
        let named = ["Hook:", "BPF_PROG_TEST_RUN"]
            .iter()
            .any(|word| docs.contains(word));
        if arguments.is_empty() && !named {
            missing.push("Hook:");
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            found.push(Breach::new(
                number + 1,
                format!("the hook's doc comment lacks {missing}"),
            ));
        }
    }
    found
}

/// The text in the parentheses of a hook's attribute; `None` if the line is no such attribute.
fn hook_arguments(line: &str) -> Option<&str> {
    if let Some(section) = line.strip_prefix("#[unsafe(link_section = \"iter/") {
        return Some(section);
    }
    let inside = line.strip_prefix("#[")?.trim_end().trim_end_matches(']');
    let end = inside
        .find(|c: char| !(c.is_ascii_lowercase() || c == '_'))
        .unwrap_or(inside.len());
    HOOKS
        .contains(&&inside[..end])
        .then(|| inside[end..].trim_matches(['(', ')']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_seen() {
        assert_eq!(length(&"x\n".repeat(600)), []);
        assert_eq!(length(&"x\n".repeat(601)).len(), 1);
    }

    #[test]
    fn a_binary_is_seen() {
        assert!(is_binary(Path::new("prog"), b"\x7fELF\x02\x01\x01\0"));
        assert!(is_binary(Path::new("prog.o"), b"text"));
        assert!(!is_binary(Path::new("README.md"), "Grüße".as_bytes()));
    }

    #[test]
    fn unsafe_without_a_reason_is_seen() {
        for bad in [
            "let x = unsafe { f() };",
            "// unsafe, but fine\nlet x = unsafe { f() };",
            "// SAFETY: a\nlet x = unsafe { f() };\nlet y = unsafe { g() };",
            "unsafe impl Pod for X {}",
            "let x = \"SAFETY\"; unsafe { f() };",
        ] {
            assert_eq!(unsafe_without_safety(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn unsafe_with_a_reason_passes() {
        for good in [
            "// SAFETY: a\n// b\nlet x = unsafe { f() };",
            "// SAFETY: a\n#[cfg(x)]\nunsafe impl Pod for X {}",
            "// SAFETY: a\nlet x =\n    unsafe { f() };",
            "// SAFETY: a\n*x = if c {\n    0\n} else {\n    unsafe { f() }\n};",
            "f(unsafe { g() }); // SAFETY: a",
            "#[unsafe(no_mangle)]\nstatic X: u8 = 0;",
            "unsafe fn f() {}\nunsafe extern \"C\" {}",
            "let x = \"unsafe { }\";",
        ] {
            assert_eq!(unsafe_without_safety(good), [], "{good}");
        }
    }

    #[test]
    fn an_ignored_test_is_seen() {
        assert_eq!(
            ignored_or_unfinished("#[test]\n#[ignore = \"x\"]\nfn f() {}").len(),
            1
        );
        assert_eq!(ignored_or_unfinished("fn f() { todo!() }").len(), 1);
        assert_eq!(ignored_or_unfinished("// todo!()\nf(\"#[ignore]\");"), []);
    }

    #[test]
    fn a_hook_without_kernel_and_context_is_seen() {
        for bad in [
            "#[btf_tracepoint(function = \"x\")]\nfn f() {}",
            "/// Since: 5.5\n#[fentry(function = \"x\")]\nfn f() {}",
            "/// Since: 5.5\n/// Context: softirq\n\n#[fexit(function = \"x\")]\nfn f() {}",
            "/// Since: 5.5. Context: process\n#[raw_tracepoint]\nfn f() {}",
            "#[unsafe(link_section = \"iter/tcp\")]\nfn f() {}",
        ] {
            assert_eq!(undocumented_hooks(bad).len(), 1, "{bad}");
        }
        for good in [
            "/// Since: 5.5\n///\n/// Context: softirq\n#[inline]\n#[fentry(function = \"x\")]\nfn f() {}",
            "/// Hook: test run. Since: 5.10. Context: process\n#[raw_tracepoint]\nfn f() {}",
            "/// Since: 5.9. Context: process\n#[unsafe(link_section = \"iter/tcp\")]\nfn f() {}",
            "#[unsafe(link_section = \"license\")]\nstatic L: u8 = 0;",
            "#[map]\nstatic M: u8 = 0;",
        ] {
            assert_eq!(undocumented_hooks(good), [], "{good}");
        }
    }
}
