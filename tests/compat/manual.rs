//! The man pages and completions, held against the programs that read them.

use std::{fs, path::Path, process::Command};

fn run(program: &str, arguments: &[&str], files: &[&Path]) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .args(files)
        .env("LC_ALL", "C.UTF-8")
        .output();
    let output = output
        .unwrap_or_else(|error| panic!("{program}: {error} (remedy: cargo xtask setup --tests)"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The words that a shell offers where `line` ends, after a blank in bash.
fn offered(shell: &str, directory: &Path, line: &str) -> Vec<String> {
    let script = match shell {
        "bash" => format!(
            "source {}/completions/netstat-bpf.bash; COMP_WORDS=({line} ''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); words=({line}); \
             _netstat__bpf netstat-bpf '' \"${{words[-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            directory.display()
        ),
        _ => format!(
            "source {}/completions/netstat-bpf.fish; complete -C '{line}'",
            directory.display()
        ),
    };
    let (done, said) = run(shell, &["-c", &script], &[]);
    assert!(done, "{shell}: {said}");
    let words = said
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    words.map(str::to_owned).collect()
}

#[test]
fn pages_and_completions_are_read_without_complaint() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let paths = netstat_manual::write(directory.path()).expect("write the documents");
    let mut seen = 0;
    for path in &paths {
        let name = path.display();
        let extension = path.extension().unwrap_or_default();
        let readers: &[(&str, &[&str])] = match extension.to_str() {
            Some("1") => &[
                ("groff", &["-ww", "-man", "-Tutf8", "-z"]),
                ("mandoc", &["-T", "lint", "-W", "warning"]),
            ],
            Some("bash") => &[("bash", &["-n"])],
            Some("fish") => &[("fish", &["-n"])],
            _ => &[("zsh", &["-n"])],
        };
        for (program, arguments) in readers {
            let (done, said) = run(program, arguments, &[path]);
            assert!(done && said.is_empty(), "{program} on {name}: {said}");
            seen += 1;
        }
        assert!(
            fs::metadata(path).is_ok_and(|file| file.len() > 100),
            "{name}"
        );
    }
    assert!(
        seen > paths.len(),
        "{seen} readers of {} files",
        paths.len()
    );
}

#[test]
fn shells_offer_options_commands_and_families() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    netstat_manual::write(directory.path()).expect("write the documents");
    // fish offers the values of an option only in the word that begins with it.
    for (shell, nothing, family) in [
        ("bash", "netstat-bpf", "netstat-bpf -A"),
        ("fish", "netstat-bpf ", "netstat-bpf --protocol="),
    ] {
        let first = offered(shell, directory.path(), nothing);
        for word in ["log", "check"] {
            assert!(
                first.iter().any(|known| known == word),
                "{shell}: {first:?}"
            );
        }
        let families = offered(shell, directory.path(), family);
        for word in ["inet", "inet6", "unix"] {
            assert!(
                families.iter().any(|known| known.ends_with(word)),
                "{shell}: {families:?}"
            );
        }
    }
}
