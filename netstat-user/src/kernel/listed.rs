//! Lists of UDP and Unix sockets, made by the kernel's iterators on demand.
//!
//! These sockets have no states, so no events tell of them; a list costs nothing in between. A
//! socket that is given another address while the iterator runs moves to another hash bucket, and
//! a single pass may miss it there. So each list is what two passes together have found.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use netstat_common::{
    listed::{Pass, UdpSock, UnixSock},
    names,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{map::Mapped, object::Object};

/// What the two kinds of socket have in common.
trait Listed: Copy {
    /// Name of the BPF program.
    const PROGRAM: &'static str;
    fn skaddr(&self) -> u64;
    fn bucket(&self) -> u32;
}

impl Listed for UdpSock {
    const PROGRAM: &'static str = "iter_udp";
    fn skaddr(&self) -> u64 {
        self.skaddr
    }
    fn bucket(&self) -> u32 {
        self.bucket
    }
}

impl Listed for UnixSock {
    const PROGRAM: &'static str = "iter_unix";
    fn skaddr(&self) -> u64 {
        self.skaddr
    }
    fn bucket(&self) -> u32 {
        self.bucket
    }
}

/// The iterators and the memory that they share with us.
pub struct Lists {
    pass: Mapped<Pass, true>,
    udp: Mapped<UdpSock>,
    unix: Mapped<UnixSock>,
}

impl Lists {
    /// Loads the programs. It needs no more rights than CAP_BPF and CAP_PERFMON.
    ///
    /// # Errors
    /// The kernel lacks an iterator (Linux before 5.16), a field or Unix sockets; or mmap(2).
    pub fn new(object: &mut Object) -> Result<Self> {
        if let Some(lacking) = &object.no_lists {
            bail!("{lacking}");
        }
        object.load_iter(UdpSock::PROGRAM, "udp")?;
        object.load_iter(UnixSock::PROGRAM, "unix")?;
        // SAFETY: the maps are arrays of so many such values, every byte pattern of which is
        // valid; the programs write them only while `pass` reads the iterator's file.
        unsafe {
            Ok(Self {
                pass: object.map_memory(names::PASS, 1)?,
                udp: object.map_memory(names::UDP_SOCKS, object.room)?,
                unix: object.map_memory(names::UNIX_SOCKS, object.room)?,
            })
        }
    }

    /// As [`Lists::new`], with the whole reason in words.
    pub(super) fn load(object: &mut Object) -> Result<Self, String> {
        Self::new(object).map_err(|error| format!("{error:#}"))
    }

    /// The UDP sockets of the caller's network namespace, in the order of /proc/net/udp.
    ///
    /// # Errors
    /// bpf(2), or a hash bucket of more sockets than a pass takes.
    pub fn udp(&mut self, object: &mut Object) -> Result<Vec<UdpSock>> {
        let Self { pass, udp, .. } = self;
        let first = pass_all(object, pass, udp, false)?;
        let socks = union(first, pass_all(object, pass, udp, false)?);
        Ok(by_chain(&socks))
    }

    /// The Unix sockets of the caller's network namespace, in the order of /proc/net/unix.
    ///
    /// # Errors
    /// As [`Lists::udp`].
    pub fn unix(&mut self, object: &mut Object) -> Result<Vec<UnixSock>> {
        let Self { pass, unix, .. } = self;
        let first = pass_all(object, pass, unix, false)?;
        // Only bind() moves a socket, once in its life, and then it has a name.
        let mut socks = union(first, pass_all(object, pass, unix, true)?);
        socks.sort_by_key(UnixSock::bucket);
        Ok(socks)
    }
}

/// Runs an iterator over all buckets, in as many passes as the memory takes.
fn pass_all<T: Listed>(
    object: &mut Object,
    pass: &mut Mapped<Pass, true>,
    memory: &Mapped<T>,
    named_only: bool,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        pass.get_mut()[0] = Pass {
            from,
            named_only: u32::from(named_only),
            ..Pass::default()
        };
        let mut file = object.iterate(T::PROGRAM)?;
        while read(&mut file).with_context(|| format!("read {}", T::PROGRAM))? > 0 {}
        // SAFETY: our own, aligned memory; volatile, since the program wrote it.
        let answer = unsafe { pass.get().as_ptr().read_volatile() };
        let socks = memory.get();
        let socks = &socks[..socks.len().min(answer.count as usize)];
        if answer.full == 0 {
            found.extend_from_slice(socks);
            return Ok(found);
        }
        // The last bucket may be cut short: it comes again.
        let Some(cut) = socks.last().map(Listed::bucket).filter(|cut| *cut > from) else {
            bail!(
                "{}: more than {} sockets in a hash bucket",
                T::PROGRAM,
                memory.get().len()
            );
        };
        found.extend(socks.iter().filter(|sock| sock.bucket() < cut));
        from = cut;
    }
}

fn read(file: &mut std::fs::File) -> std::io::Result<usize> {
    loop {
        match file.read(&mut [0; 64]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A million objects in one call: the next goes on.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            result => return result,
        }
    }
}

/// The first pass, and what only the second saw; each socket once.
fn union<T: Listed>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    let mut known = FxHashSet::default();
    known.reserve(first.len());
    let both = first.into_iter().chain(second);
    both.filter(|sock| known.insert(sock.skaddr())).collect()
}

/// Sorts as /proc/net/udp does: chain by chain of the hash table by port.
///
/// The links may have been read while they changed: the order may then be another, but no socket
/// is left out or comes twice.
fn by_chain(socks: &[UdpSock]) -> Vec<UdpSock> {
    let known: FxHashSet<u64> = socks.iter().map(|sock| sock.skaddr).collect();
    let mut heads = Vec::new();
    let mut after: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
    for (index, sock) in socks.iter().enumerate() {
        if known.contains(&sock.before) {
            after.entry(sock.before).or_default().push(index);
        } else {
            heads.push(index);
        }
    }
    heads.sort_by_key(|index| socks[*index].before);
    let mut sorted = Vec::with_capacity(socks.len());
    let mut taken = vec![false; socks.len()];
    let mut next = Vec::new();
    // Rings without a head come last.
    for start in heads.into_iter().chain(0..socks.len()) {
        next.push(start);
        while let Some(index) = next.pop() {
            if !std::mem::replace(&mut taken[index], true) {
                sorted.push(socks[index]);
                next.extend(after.get(&socks[index].skaddr).into_iter().flatten());
            }
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::FromZeros as _;

    use super::*;

    fn sock(skaddr: u64, before: u64) -> UdpSock {
        UdpSock {
            skaddr,
            before,
            ..UdpSock::new_zeroed()
        }
    }

    fn addresses(socks: &[UdpSock]) -> Vec<u64> {
        socks.iter().map(|sock| sock.skaddr).collect()
    }

    #[test]
    fn chains_come_by_the_address_of_their_heads() {
        // 900 is the first head, 910 the second.
        let socks = [
            sock(10, 910),
            sock(11, 10),
            sock(20, 900),
            sock(22, 21),
            sock(21, 20),
        ];
        assert_eq!(addresses(&by_chain(&socks)), [20, 21, 22, 10, 11]);
    }

    proptest! {
        #[test]
        fn any_links_keep_each_socket_once(links in prop::collection::btree_map(0u64..40, 0u64..60, 0..40)) {
            let socks: Vec<_> = links.iter().map(|(at, before)| sock(*at, *before)).collect();
            let mut sorted = addresses(&by_chain(&socks));
            sorted.sort_unstable();
            prop_assert_eq!(sorted, links.into_keys().collect::<Vec<_>>());
        }

        #[test]
        fn two_passes_give_each_socket_once(first: Vec<u8>, second: Vec<u8>) {
            let unique = |all: &[u8]| all.iter().map(|at| u64::from(*at)).collect::<std::collections::BTreeSet<_>>();
            let socks = |all: &[u8]| unique(all).into_iter().map(|at| sock(at, 0)).collect::<Vec<_>>();
            let mut both = addresses(&union(socks(&first), socks(&second)));
            both.sort_unstable();
            let expected: Vec<_> = unique(&[first, second].concat()).into_iter().collect();
            prop_assert_eq!(both, expected);
        }
    }
}
