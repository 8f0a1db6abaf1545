//! The globals of the BPF object, computed from the running kernel.

use anyhow::{Context as _, Result, anyhow};
use netstat_common::offsets as names;

use super::btf::{Btf, Field};

/// The kernel's own type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

macro_rules! table {
    ($($name:ident: $of:literal, $path:literal;)*) => {
        &[$((stringify!($name), $of, $path)),*]
    };
}

/// Global, struct, member path.
type Fields = &'static [(&'static str, &'static str, &'static str)];

const FIELDS: Fields = netstat_common::for_each_offset!(table);
/// What a kernel may lack.
const OPTIONAL: Fields = netstat_common::for_each_optional_offset!(table);
/// What a kernel may lack and lists of UDP and Unix sockets need.
const LIST_FIELDS: Fields = netstat_common::for_each_list_offset!(table);

/// Names and values of the read-only globals that describe this kernel.
///
/// # Errors
/// Names the struct or field that the kernel's BTF lacks.
pub fn globals(blob: &[u8]) -> Result<Vec<(&'static str, u64)>> {
    let btf = Btf::parse(blob).with_context(|| format!("{VMLINUX} is not BTF that can be read"))?;
    let mut finder = Finder {
        btf: &btf,
        structs: Vec::new(),
    };
    let optional = OPTIONAL.iter().chain(LIST_FIELDS);
    let mut globals = Vec::with_capacity(FIELDS.len() + optional.clone().count() + 8);
    for &(name, of, path) in FIELDS {
        globals.push((name, finder.need(of, path)?.bytes()));
    }
    for &(name, of, path) in optional {
        let found = finder.field(of, path).map(Field::bytes);
        globals.push((name, found.unwrap_or(names::ABSENT)));
    }
    globals.push((
        names::KEEPALIVE_TIMER,
        finder.first(&[
            ("inet_connection_sock", "icsk_keepalive_timer"),
            ("sock", "sk_timer"),
        ])?,
    ));
    globals.push((
        names::RTO_EXPIRES,
        // Linux 7 moved the timer into struct sock; 6.18 dropped `icsk_timeout`.
        finder.first(&[
            ("inet_connection_sock", "icsk_timeout"),
            ("inet_connection_sock", "icsk_retransmit_timer.expires"),
            ("sock", "tcp_retransmit_timer.expires"),
        ])?,
    ));
    let timeouts = finder.need("request_sock", "num_timeout")?;
    globals.push((names::REQ_TIMEOUT, timeouts.bytes()));
    globals.push((names::REQ_TIMEOUT_SHIFT, u64::from(timeouts.bits % 8)));
    // The commit that lists `sk_uid` for sockets without a file came together with `sk_ino`.
    globals.push((
        names::UID_WITHOUT_FILE,
        u64::from(finder.field("sock", "sk_ino").is_some()),
    ));
    let upid = finder.of("upid").ok_or_else(|| missing("upid", ""))?;
    globals.push((
        names::UPID_SIZE,
        btf.size(upid).context("size of struct upid")?,
    ));
    Ok(globals)
}

/// The first field that lists of UDP and Unix sockets need and these globals lack.
#[must_use]
pub fn lacking(globals: &[(&str, u64)]) -> Option<String> {
    let lacks = |name: &str| globals.contains(&(name, names::ABSENT));
    let (_, of, path) = LIST_FIELDS.iter().find(|(name, ..)| lacks(name))?;
    Some(format!("no field `{path}` in `struct {of}`"))
}

struct Finder<'a> {
    btf: &'a Btf<'a>,
    structs: Vec<(&'static str, Option<u32>)>,
}

impl Finder<'_> {
    fn of(&mut self, name: &'static str) -> Option<u32> {
        if let Some((_, found)) = self.structs.iter().find(|(known, _)| *known == name) {
            return *found;
        }
        let found = self.btf.find(name);
        self.structs.push((name, found));
        found
    }

    fn field(&mut self, of: &'static str, path: &str) -> Option<Field> {
        let id = self.of(of)?;
        self.btf.field(id, path)
    }

    fn need(&mut self, of: &'static str, path: &str) -> Result<Field> {
        self.field(of, path).ok_or_else(|| missing(of, path))
    }

    fn first(&mut self, places: &[(&'static str, &str)]) -> Result<u64> {
        let found = places.iter().find_map(|(of, path)| self.field(of, path));
        let (of, path) = places.last().copied().unwrap_or_default();
        found.map(Field::bytes).ok_or_else(|| missing(of, path))
    }
}

fn missing(of: &str, path: &str) -> anyhow::Error {
    anyhow!(
        "this kernel's BTF has no field `{path}` in `struct {of}`: netstat-bpf does not know this kernel"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_is_named() {
        let error = globals(b"\x9f\xeb").expect_err("no BTF");
        assert!(format!("{error:#}").contains(VMLINUX));
        assert_eq!(lacking(&[("UNIX_ADDR", 8)]), None);
        assert_eq!(
            lacking(&[("UNIX_ADDR", names::ABSENT)]).as_deref(),
            Some("no field `addr` in `struct unix_sock`")
        );
        let error = missing("sock", "sk_uid");
        assert!(error.to_string().contains("`sk_uid` in `struct sock`"));
    }
}
