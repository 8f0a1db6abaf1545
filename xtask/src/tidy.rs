//! Invariants of the tree itself, as tests: plain `cargo test` fails when one is broken.
//!
//! Each checker takes text and returns what is wrong, so that its own tests can feed it bad text.

mod lex;
mod rooms;
mod rules;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::exec::{output, workspace};

/// One breach: where, and what.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    line: usize,
    what: String,
}

impl Breach {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self {
            line,
            what: what.into(),
        }
    }
}

/// Files over the limit of [`rules::length`], each with its reason.
const LONG_FILES: &[(&str, &str)] = &[(
    "netstat-user/src/conn/table_tests.rs",
    "traces and properties of one fold; its parts are read together",
)];

/// Files that are not text, each with its reason.
const BINARY_FILES: &[(&str, &str)] = &[];

#[test]
fn rooms_are_pure() {
    check("netstat-user/src", "rs", |path, text| {
        let pure = ["conn", "view", "cmdline", "proto"];
        let in_room = pure.iter().any(|room| {
            let inside = path.strip_prefix("netstat-user/src").unwrap_or(path);
            inside.starts_with(room) || inside == Path::new(room).with_extension("rs")
        });
        if in_room {
            rooms::breaches(text)
        } else {
            Vec::new()
        }
    });
}

#[test]
fn unsafe_says_why_it_is_sound() {
    check("", "rs", |_, text| rules::unsafe_without_safety(text));
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    check("", "rs", |_, text| rules::ignored_or_unfinished(text));
}

#[test]
fn hooks_name_their_kernel_and_context() {
    check("netstat-ebpf/src", "rs", |_, text| {
        rules::undocumented_hooks(text)
    });
}

#[test]
fn long_files_have_a_reason() {
    check("", "rs", |path, text| match named(LONG_FILES, path) {
        true => Vec::new(),
        false => rules::length(text),
    });
    assert_entries_exist(LONG_FILES);
}

#[test]
fn no_binary_is_tracked() {
    let mut breaches = Vec::new();
    for path in files() {
        let Ok(bytes) = fs::read(workspace().join(&path)) else {
            continue;
        };
        if rules::is_binary(&path, &bytes) && !named(BINARY_FILES, &path) {
            breaches.push(path);
        }
    }
    assert!(
        breaches.is_empty(),
        "build products do not belong in git: {breaches:?}"
    );
    assert_entries_exist(BINARY_FILES);
}

/// Runs a checker over every file below `dir` with an extension, and fails with all breaches.
fn check(dir: &str, extension: &str, checker: impl Fn(&Path, &str) -> Vec<Breach>) {
    let mut seen = 0;
    let mut breaches = String::new();
    for path in files() {
        if !path.starts_with(dir) || path.extension().is_none_or(|found| found != extension) {
            continue;
        }
        // A tracked file that was just deleted is no breach.
        let Ok(text) = fs::read_to_string(workspace().join(&path)) else {
            continue;
        };
        seen += 1;
        for Breach { line, what } in checker(&path, &text) {
            breaches += &format!("{}:{line}: {what}\n", path.display());
        }
    }
    assert!(
        seen > 0,
        "no .{extension} file below `{dir}`: the check checks nothing"
    );
    assert!(breaches.is_empty(), "\n{breaches}");
}

/// The files of the repository; of the directory, where there is no repository.
fn files() -> Vec<PathBuf> {
    let root = workspace();
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(&root)
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached"]);
    git.args(["--others", "--exclude-standard"]);
    if let Some(list) = output(&mut git) {
        return list.split_terminator('\0').map(PathBuf::from).collect();
    }
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != "target" && name != ".git" {
                dirs.push(path);
            } else if path.is_file() {
                found.push(path.strip_prefix(&root).unwrap().to_owned());
            }
        }
    }
    found
}

fn named(entries: &[(&str, &str)], path: &Path) -> bool {
    entries.iter().any(|(name, _)| Path::new(name) == path)
}

fn assert_entries_exist(entries: &[(&str, &str)]) {
    for (name, reason) in entries {
        assert!(
            workspace().join(name).exists(),
            "{name} is named in tidy.rs but is gone"
        );
        assert!(!reason.is_empty(), "{name} has no reason");
    }
}
