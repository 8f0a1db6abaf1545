//! Rights: what tracing needs, and giving up the rest.

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};

/// What is kept after the hooks are attached: running the refresh program and the iterators, and
/// the command lines of other users' processes under hidepid.
const KEPT: [Capability; 3] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_PTRACE,
];

/// Why tracing is not allowed to this process or on this host; `None` if it is.
#[must_use]
pub fn missing() -> Option<String> {
    rights().or_else(lockdown)
}

/// Whether the kernel is locked down so far that BPF programs may not read its memory.
///
/// Unknown where securityfs is not mounted: the programs' load fails then.
#[must_use]
pub fn lockdown() -> Option<String> {
    let modes = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    modes.contains("[confidentiality]").then(|| {
        "this kernel is locked down: lockdown=confidentiality forbids BPF programs to read kernel \
         memory (boot with lockdown=integrity or none)"
            .to_owned()
    })
}

/// Which of the rights that BPF needs this process lacks.
#[must_use]
pub fn rights() -> Option<String> {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    if held.contains(&Capability::CAP_SYS_ADMIN) {
        return None;
    }
    let lacks: Vec<String> = [Capability::CAP_BPF, Capability::CAP_PERFMON]
        .iter()
        .filter(|capability| !held.contains(capability))
        .map(ToString::to_string)
        .collect();
    (!lacks.is_empty()).then(|| {
        format!(
            "missing {} (run as root, or give the program these rights)",
            lacks.join(" and ")
        )
    })
}

/// What this process lacks to read the descriptors of every process itself. The kernel's list of
/// owners is for those alone who could.
#[must_use]
pub fn missing_for_owners() -> Option<String> {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    let enters = [
        Capability::CAP_DAC_READ_SEARCH,
        Capability::CAP_DAC_OVERRIDE,
    ]
    .iter()
    .any(|capability| held.contains(capability));
    let looks = held.contains(&Capability::CAP_SYS_PTRACE);
    (!enters || !looks).then(|| {
        "missing CAP_SYS_PTRACE or CAP_DAC_READ_SEARCH, without which not all owners may be seen"
            .to_owned()
    })
}

/// Drops every capability but those that tracing goes on to need, for good.
///
/// # Errors
/// capset(2).
pub fn drop_all_but_tracing() -> Result<()> {
    let held = caps::read(None, CapSet::Permitted).context("read own capabilities")?;
    let kept: CapsHashSet = KEPT
        .into_iter()
        .filter(|capability| held.contains(capability))
        .collect();
    caps::clear(None, CapSet::Ambient).context("clear ambient capabilities")?;
    caps::clear(None, CapSet::Inheritable).context("clear inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("drop effective capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("drop permitted capabilities")?;
    Ok(())
}
