//! `netstat-bpf check`: every hook, its rung, and why.

use std::{fs, io::Write, path::Path};

use anyhow::Result;

use crate::kernel::{
    hooks::{self, Hook, Tried},
    listed::Lists,
    object::{Handlers, Object, Purpose},
    offsets::VMLINUX,
    refresh::Refresh,
    session::load_fds,
    walk::Walk,
};

use super::{live::proc_is_ours, privilege};

/// What is left where the live table does not work.
const FALLBACK: &str =
    "listings are read from /proc, by -c anew each round; log, agent and audit do not work";

/// What is left where only the hooks work (before Linux 5.17).
const WITHOUT_READERS: &str = "listings are read from /proc, by -c anew each round; log works, \
                               with the sockets of before it from /proc, of its own network \
                               namespace; agent and audit do not work";

/// What is missing where only the walk is refused (before Linux 6.1).
const WITHOUT_WALK: &str = "sockets older than the tracer are known of its own network namespace \
                            only; audit does not work";

/// Prints the report. Gives whether the live table works here.
///
/// # Errors
/// Writing.
pub fn run(out: &mut dyn Write, verbose: bool) -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    writeln!(out, "kernel     {}", release.trim_end())?;
    let btf = Path::new(VMLINUX).exists();
    line(
        out,
        "BTF",
        btf,
        &format!("{VMLINUX} (CONFIG_DEBUG_INFO_BTF=y)"),
    )?;
    let rights = privilege::rights();
    line(
        out,
        "rights",
        rights.is_none(),
        rights.as_deref().unwrap_or("CAP_BPF and CAP_PERFMON held"),
    )?;
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let confidential = privilege::lockdown().is_some();
    let state = if lockdown.is_empty() {
        "none"
    } else {
        lockdown.trim_end()
    };
    line(
        out,
        "lockdown",
        !confidential,
        &format!("{state} (confidentiality forbids reading kernel memory)"),
    )?;
    line(out, "/proc", proc_is_ours(), "shows our own PID namespace")?;
    if !btf || rights.is_some() || confidential {
        writeln!(out, "live table no: {FALLBACK}")?;
        return Ok(false);
    }
    let works = try_kernel(out, verbose)?;
    match works {
        Works::All => writeln!(out, "live table yes")?,
        Works::OwnNamespace => writeln!(out, "live table yes: {WITHOUT_WALK}")?,
        Works::Hooks => writeln!(out, "live table no: {WITHOUT_READERS}")?,
        Works::Nothing => writeln!(out, "live table no: {FALLBACK}")?,
    }
    Ok(matches!(works, Works::All | Works::OwnNamespace))
}

/// How much of the tracer works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Works {
    All,
    /// All but the walk over the hash tables of all namespaces.
    OwnNamespace,
    /// The hooks; not what reads the sockets of before them.
    Hooks,
    Nothing,
}

fn try_kernel(out: &mut dyn Write, verbose: bool) -> Result<Works> {
    let from_kallsyms = Handlers::from_kallsyms().unwrap_or_default();
    let hidden = from_kallsyms.timewait == 0 || from_kallsyms.request == 0;
    let handlers = hooks::handlers();
    let how = if hidden {
        "learned from sockets of our own"
    } else {
        "from /proc/kallsyms"
    };
    let detail = handlers
        .as_ref()
        .err()
        .map_or_else(|| how.to_owned(), |error| format!("{error:#}"));
    line(
        out,
        "timers",
        handlers.is_ok(),
        &format!("addresses of the minisock timer functions: {detail}"),
    )?;
    let object = Object::new(Purpose::Log, false).and_then(|mut object| {
        object.tell_handlers(handlers.unwrap_or_default())?;
        Ok(object)
    });
    let mut object = match object {
        Ok(object) => object,
        Err(error) => {
            line(out, "object", false, &format!("{error:#}"))?;
            return Ok(Works::Nothing);
        }
    };
    let iterator = object.load_iter("iter_tcp", "tcp");
    let walk = Walk::new(&mut object).map(|_| ());
    let descriptors = load_fds(&mut object).map(drop);
    let refresh = Refresh::new(&mut object).map(|_| ());
    let readers = iterator.is_ok() && descriptors.is_ok() && refresh.is_ok();
    let walks = walk.is_ok();
    const RUN: &str = "raw_tp run on demand";
    let mut parts = vec![
        (
            "iter_tcp",
            "iter/tcp",
            if readers {
                "sockets older than us"
            } else {
                "sockets older than us; not used without iter_fds and refresh"
            },
            iterator,
        ),
        (
            "walk",
            RUN,
            "sockets of all namespaces, for audit too",
            walk,
        ),
        (
            "iter_fds",
            "iter/task",
            "who has which socket open",
            descriptors,
        ),
        ("refresh", RUN, "live fields", refresh),
    ];
    if !readers {
        let few = Refresh::of_few(&mut object).map(|_| ());
        parts.push(("refresh_few", RUN, "FIN_WAIT2 to TIME_WAIT, for log", few));
    }
    for (program, rung, purpose, result) in parts {
        let refused = result.err().map(|error| format!("{error:#}"));
        hook(
            out,
            &Hook {
                program,
                target: "",
                rung,
                purpose,
                refused,
            },
            verbose,
        )?;
    }
    // Without it these sockets are read from /proc, and the table works.
    let lists = Lists::new(&mut object).err();
    hook(
        out,
        &Hook {
            program: "iter_udp",
            target: "",
            rung: "iter/udp, iter/unix",
            purpose: "UDP and Unix sockets, else from /proc",
            refused: lists.map(|error| format!("{error:#}")),
        },
        verbose,
    )?;
    let hooked = rungs(out, &mut object, verbose)?;
    Ok(match (hooked, readers) {
        (true, true) if walks => Works::All,
        (true, true) => Works::OwnNamespace,
        (true, false) => Works::Hooks,
        (false, _) => Works::Nothing,
    })
}

/// Prints what is attached, and each rung of the ladder. Gives whether every group of hooks works.
fn rungs(out: &mut dyn Write, object: &mut Object, verbose: bool) -> Result<bool> {
    let tried = hooks::try_all(object)?;
    for rung in &tried {
        for attached in rung.hooks.iter().filter(|_| rung.taken) {
            hook(out, attached, verbose)?;
        }
    }
    let mut hooked = true;
    let mut groups: Vec<&str> = tried.iter().map(|rung| rung.group).collect();
    groups.dedup();
    for group in groups {
        let rungs: Vec<&Tried> = tried.iter().filter(|rung| rung.group == group).collect();
        hooked &= rungs.iter().any(|rung| rung.taken);
        for rung in rungs {
            let verdict = if rung.works { "ok" } else { "NO" };
            let used = if rung.taken { "used: " } else { "" };
            let why = if verbose {
                rung.why.as_str()
            } else {
                // A verifier log has many lines; its first says what is refused.
                rung.why.lines().next().unwrap_or_default()
            };
            writeln!(
                out,
                "rung       {verdict}  {:<22} {:<7} {used}{why}",
                rung.group,
                rung.rung.name()
            )?;
        }
    }
    Ok(hooked)
}

fn line(out: &mut dyn Write, what: &str, fine: bool, detail: &str) -> Result<()> {
    let verdict = if fine { "ok" } else { "NO" };
    Ok(writeln!(out, "{what:<10} {verdict}  {detail}")?)
}

fn hook(out: &mut dyn Write, hook: &Hook, verbose: bool) -> Result<()> {
    let place = match hook.target {
        "" => hook.rung.to_owned(),
        target => format!("{} {target}", hook.rung),
    };
    let verdict = if hook.refused.is_none() { "ok" } else { "NO" };
    write!(
        out,
        "hook       {verdict}  {:<12} {place:<28} {}",
        hook.program, hook.purpose
    )?;
    match &hook.refused {
        Some(reason) if verbose => writeln!(out, ": {reason}")?,
        // A verifier log has many lines; its first says what is refused.
        Some(reason) => writeln!(out, ": {}", reason.lines().next().unwrap_or_default())?,
        None => writeln!(out)?,
    }
    Ok(())
}
