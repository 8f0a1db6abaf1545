//! The globals of the BPF object, computed from the running kernel.

use anyhow::{Context as _, Result, anyhow};
use netstat_common::offsets as names;

use super::btf::{Btf, Field};

/// The kernel's own type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

macro_rules! table {
    ($($name:ident: $of:literal, $path:literal;)*) => {
        /// Global, struct, member path.
        const FIELDS: &[(&str, &str, &str)] = &[$((stringify!($name), $of, $path)),*];
    };
}

macro_rules! optional_table {
    ($($name:ident: $of:literal, $path:literal;)*) => {
        /// As `FIELDS`, of what a kernel may lack.
        const OPTIONAL: &[(&str, &str, &str)] = &[$((stringify!($name), $of, $path)),*];
    };
}

netstat_common::for_each_offset!(table);

macro_rules! walk_table {
    ($($name:ident: $of:literal, $path:literal;)*) => {
        /// As `FIELDS`, for the walk.
        const WALK_FIELDS: &[(&str, &str, &str)] = &[$((stringify!($name), $of, $path)),*];
    };
}

netstat_common::for_each_walk_offset!(walk_table);

macro_rules! list_table {
    ($($name:ident: $of:literal, $path:literal;)*) => {
        /// As `FIELDS`, for lists of UDP and Unix sockets.
        const LIST_FIELDS: &[(&str, &str, &str)] = &[$((stringify!($name), $of, $path)),*];
    };
}

netstat_common::for_each_list_offset!(list_table);

macro_rules! type_table {
    ($($name:ident: $of:literal;)*) => {
        /// Global, struct.
        const TYPES: &[(&str, &str)] = &[$((stringify!($name), $of)),*];
    };
}

netstat_common::for_each_type!(type_table);

/// The globals, and what only user space needs.
pub struct Layout {
    /// Names and values of read-only globals of the BPF object.
    pub globals: Vec<(&'static str, u64)>,
    /// Whether the TCP hash tables can be found and walked.
    pub knows_tables: bool,
    /// Bytes from one bucket of listeners to the next, and to the head of the chain in it.
    pub listener_bucket: (u32, u64),
    /// Why UDP and Unix sockets cannot be listed.
    pub no_lists: Option<String>,
    /// Number of the function that gives an address a type; `None` before Linux 6.2.
    pub rdonly_cast: Option<u32>,
}

netstat_common::for_each_optional_offset!(optional_table);

/// What the running kernel looks like.
///
/// # Errors
/// Names the struct or field that the kernel's BTF lacks.
pub fn layout(blob: &[u8]) -> Result<Layout> {
    let btf = Btf::parse(blob).with_context(|| format!("{VMLINUX} is not BTF that can be read"))?;
    let mut finder = Finder {
        btf: &btf,
        structs: Vec::new(),
    };
    let mut globals = Vec::with_capacity(FIELDS.len() + OPTIONAL.len() + 8);
    for &(name, of, path) in FIELDS {
        globals.push((name, finder.need(of, path)?.bytes()));
    }
    for &(name, of, path) in OPTIONAL {
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
    let walk: Option<Vec<_>> = WALK_FIELDS
        .iter()
        .map(|&(name, of, path)| Some((name, finder.field(of, path)?.bytes())))
        .collect();
    let mut no_lists = None;
    for &(name, of, path) in LIST_FIELDS {
        match finder.field(of, path) {
            Some(field) => globals.push((name, field.bytes())),
            None => no_lists = Some(missing(of, path).to_string()),
        }
    }
    for &(name, of) in TYPES {
        globals.push((name, u64::from(finder.of(of).unwrap_or(0))));
    }
    let listener_bucket = finder.listener_bucket();
    let knows_tables = walk.is_some() && listener_bucket.is_some();
    globals.extend(walk.unwrap_or_default());
    Ok(Layout {
        globals,
        knows_tables,
        listener_bucket: listener_bucket.unwrap_or_default(),
        no_lists,
        rdonly_cast: btf.function(names::RDONLY_CAST),
    })
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

    /// `None` before 5.19, where listeners are in lists of another kind.
    fn listener_bucket(&mut self) -> Option<(u32, u64)> {
        const BUCKET: &str = "inet_listen_hashbucket";
        if self.field("inet_hashinfo", "listening_hash").is_some() {
            return None;
        }
        let head = self.field(BUCKET, "nulls_head")?.bytes();
        let id = self.of(BUCKET)?;
        let size = u32::try_from(self.btf.size(id)?).ok()?;
        Some((size, head))
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
        let error = layout(b"\x9f\xeb").map(|_| ()).expect_err("no BTF");
        assert!(format!("{error:#}").contains(VMLINUX));
        let error = missing("sock", "sk_uid");
        assert!(error.to_string().contains("`sk_uid` in `struct sock`"));
    }
}
