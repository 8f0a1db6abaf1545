//! The scripts of `tests/vm`. Lines `#: key value` at the top of one say where it runs:
//!
//! - `#: since 5.17`, `#: before 5.17`: on which kernels
//! - `#: boot lockdown=confidentiality`: words on the kernel's command line, which means a boot of
//!   its own
//! - `#: seconds 900`: how long it may take (120 unless told)
//! - `#: slow`: not in the quick subset

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::exec::workspace;

/// One script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) boot: String,
    pub(super) seconds: u64,
    pub(super) slow: bool,
    since: (u32, u32),
    before: (u32, u32),
}

impl Script {
    /// Reads the lines at the top.
    ///
    /// # Errors
    /// A line that means nothing.
    fn parse(name: &str, text: String) -> Result<Self> {
        let mut script = Self {
            name: name.to_owned(),
            text: String::new(),
            boot: String::new(),
            seconds: 120,
            slow: false,
            since: (0, 0),
            before: (u32::MAX, u32::MAX),
        };
        for line in text.lines().filter_map(|line| line.strip_prefix("#: ")) {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "boot" => script.boot = value.to_owned(),
                "seconds" => script.seconds = value.parse().with_context(|| wrong(name, line))?,
                "slow" => script.slow = true,
                "since" => script.since = version(value).with_context(|| wrong(name, line))?,
                "before" => script.before = version(value).with_context(|| wrong(name, line))?,
                _ => bail!(wrong(name, line)),
            }
        }
        script.text = text;
        Ok(script)
    }

    /// Whether it is meant for a kernel.
    pub(super) fn fits(&self, release: (u32, u32)) -> bool {
        // A kernel built from source has no name to read; it is taken for a new one.
        self.since <= release && (release < self.before || self.before == (u32::MAX, u32::MAX))
    }
}

fn wrong(name: &str, line: &str) -> String {
    format!("tests/vm/{name}: `#: {line}` means nothing (see xtask/src/vm/script.rs)")
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The scripts of `tests/vm`, in the order of their names.
///
/// # Errors
/// They cannot be read.
pub(super) fn all(filter: Option<&str>, quick: bool) -> Result<Vec<Script>> {
    let dir = workspace().join("tests/vm");
    let mut scripts = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".sh") && filter.is_none_or(|part| name.contains(part)) {
            let script = Script::parse(&name, fs::read_to_string(entry.path())?)?;
            if !(quick && script.slow) {
                scripts.push(script);
            }
        }
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scripts)
}

/// The boots that a kernel needs: the words for its command line, and the scripts.
pub(super) fn boots(scripts: &[Script], release: (u32, u32)) -> Vec<(&str, Vec<&Script>)> {
    let mut boots: Vec<(&str, Vec<&Script>)> = Vec::new();
    for script in scripts.iter().filter(|script| script.fits(release)) {
        match boots.iter_mut().find(|(boot, _)| *boot == script.boot) {
            Some((_, scripts)) => scripts.push(script),
            None => boots.push((&script.boot, vec![script])),
        }
    }
    boots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str, text: &str) -> Script {
        Script::parse(name, text.to_owned()).expect("it is right")
    }

    #[test]
    fn scripts_say_where_they_run() {
        let new = script("new.sh", "#: since 5.17\n# Words.\ntrue\n");
        let old = script("old.sh", "#: before 5.17\n#: seconds 9\n#: slow\n");
        assert!(new.fits((6, 1)) && !new.fits((5, 10)));
        assert!(old.fits((5, 10)) && !old.fits((5, 17)));
        assert!(new.fits((u32::MAX, u32::MAX)) && !old.fits((u32::MAX, u32::MAX)));
        assert_eq!((old.seconds, old.slow), (9, true));
        assert_eq!((new.seconds, new.slow), (120, false));
        for bad in ["#: since x\n", "#: sometimes\n", "#: seconds\n"] {
            let error = Script::parse("bad.sh", bad.to_owned()).expect_err("it is wrong");
            assert!(
                format!("{error:#}").contains("tests/vm/bad.sh"),
                "{error:#}"
            );
        }
    }

    #[test]
    fn scripts_of_one_command_line_share_a_boot() {
        let scripts = [
            script("1.sh", ""),
            script("2.sh", "#: boot x=1\n"),
            script("3.sh", ""),
            script("4.sh", "#: before 5.0\n"),
        ];
        let boots: Vec<_> = boots(&scripts, (6, 1))
            .into_iter()
            .map(|(boot, scripts)| (boot, scripts.iter().map(|s| s.name.as_str()).collect()))
            .collect();
        assert_eq!(boots, [("", vec!["1.sh", "3.sh"]), ("x=1", vec!["2.sh"])]);
    }
}
