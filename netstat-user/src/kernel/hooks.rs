//! Which hooks are attached, by which rung of the ladder, and why.
//!
//! A group of hooks is attached by the first rung whose programs all attach, tried at start and
//! never guessed from a version. Only minisocks have more than one rung: every kernel whose BTF
//! tells where fields are has the tracepoints of the other groups.

use anyhow::{Context as _, Result, anyhow, bail};

use super::object::{Handlers, Object, Purpose};

/// A way to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Tracepoints with typed arguments.
    Tracepoint,
    /// Trampolines at the entry or the exit of functions.
    Fentry,
    /// Breakpoints at the entry of functions.
    Kprobe,
}

impl Rung {
    #[cfg(test)]
    const LADDER: [Self; 3] = [Self::Tracepoint, Self::Fentry, Self::Kprobe];

    /// As `check` shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tracepoint => "tp_btf",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        }
    }

    /// The rung that `NETSTAT_BPF_RUNG` forces.
    ///
    /// # Errors
    /// It names none.
    pub fn forced() -> Result<Option<Self>> {
        let Some(word) = std::env::var_os("NETSTAT_BPF_RUNG") else {
            return Ok(None);
        };
        match word.to_str() {
            Some("") => Ok(None),
            Some("tp") => Ok(Some(Self::Tracepoint)),
            Some("fentry") => Ok(Some(Self::Fentry)),
            Some("kprobe") => Ok(Some(Self::Kprobe)),
            _ => bail!(
                "NETSTAT_BPF_RUNG={} is none of tp, fentry, kprobe",
                word.display()
            ),
        }
    }
}

/// A hook and what became of it.
#[derive(Clone, Debug)]
pub struct Hook {
    /// BPF program.
    pub program: &'static str,
    /// Tracepoint or function.
    pub target: &'static str,
    /// How it is attached.
    pub rung: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// `None` if it is attached, else why not.
    pub refused: Option<String>,
}

/// How a program is loaded and attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `tp_btf`.
    Tracepoint,
    /// `fentry`.
    Fentry,
    /// `fexit`.
    Fexit,
    /// kprobe at the entry.
    Kprobe,
}

struct Step {
    program: &'static str,
    how: How,
    /// Names that kernels give the target; the first that this kernel has is taken.
    targets: &'static [&'static str],
    purpose: &'static str,
    /// Kernels without the target do not need it.
    optional: bool,
}

struct Group {
    purpose: &'static str,
    log_only: bool,
    rungs: &'static [(Rung, &'static [Step])],
}

const fn step(
    program: &'static str,
    how: How,
    targets: &'static [&'static str],
    purpose: &'static str,
) -> Step {
    Step {
        program,
        how,
        targets,
        purpose,
        optional: false,
    }
}

const fn optional(step: Step) -> Step {
    Step {
        optional: true,
        ..step
    }
}

const TW_BEGIN: &str = "TIME_WAIT begin";
const TW_END: &str = "TIME_WAIT end";
const REQ_BEGIN: &str = "SYN_RECV begin";
const REQ_END: &str = "SYN_RECV end";
const SCHEDULE: &[&str] = &["__inet_twsk_schedule"];
const HASHDANCE: &[&str] = &["inet_twsk_hashdance_schedule"];
const UNHASH: &[&str] = &["inet_twsk_bind_unhash"];
const HASH_ADD: &[&str] = &["inet_csk_reqsk_queue_hash_add"];
const DROP: &[&str] = &["__inet_csk_reqsk_queue_drop", "inet_csk_reqsk_queue_drop"];

/// In the order of attachment.
///
/// What takes a socket out of the table comes before what puts it in: attaching takes
/// milliseconds, and a socket whose begin was seen and whose end was not would stay for ever.
/// Programs on one tracepoint run in this order too: the second copy must come after the first.
///
/// Minisocks are heard of by their timers first: that is exact on every kernel. The other rungs
/// miss request sockets that are moved to another listener (`net.ipv4.tcp_migrate_req`), and an
/// attachment cannot show whether the compiler has inlined a function elsewhere.
const GROUPS: &[Group] = &[
    Group {
        // A table without a memory drops a socket when it goes to CLOSE.
        purpose: "end of full sockets",
        log_only: true,
        rungs: &[(
            Rung::Tracepoint,
            &[step(
                "tcp_destroy",
                How::Tracepoint,
                &["tcp_destroy_sock"],
                "end of full sockets",
            )],
        )],
    },
    Group {
        purpose: "minisocks",
        log_only: false,
        rungs: &[
            (
                Rung::Tracepoint,
                &[
                    step(
                        "timer_cancel",
                        How::Tracepoint,
                        &["timer_cancel"],
                        "TIME_WAIT and SYN_RECV end",
                    ),
                    step(
                        "timer_start",
                        How::Tracepoint,
                        &["timer_start"],
                        "TIME_WAIT and SYN_RECV begin",
                    ),
                ],
            ),
            (
                Rung::Fentry,
                &[
                    step("tw_end", How::Fentry, UNHASH, TW_END),
                    step("req_end", How::Fexit, DROP, REQ_END),
                    step("tw_begin", How::Fentry, SCHEDULE, TW_BEGIN),
                    optional(step("tw_hashed", How::Fexit, HASHDANCE, TW_BEGIN)),
                    step("req_begin", How::Fexit, HASH_ADD, REQ_BEGIN),
                ],
            ),
            (
                Rung::Kprobe,
                &[
                    step("kp_tw_end", How::Kprobe, UNHASH, TW_END),
                    step("kp_req_end", How::Kprobe, DROP, REQ_END),
                    step("kp_tw_begin", How::Kprobe, SCHEDULE, TW_BEGIN),
                    optional(step("kp_tw_hashed", How::Kprobe, HASHDANCE, TW_BEGIN)),
                    step("kp_req_begin", How::Kprobe, HASH_ADD, REQ_BEGIN),
                ],
            ),
        ],
    },
    Group {
        purpose: "state of full sockets",
        log_only: false,
        rungs: &[(
            Rung::Tracepoint,
            &[
                step(
                    "tcp_state",
                    How::Tracepoint,
                    &["inet_sock_set_state"],
                    "state of full sockets",
                ),
                step(
                    "tcp_state_2",
                    How::Tracepoint,
                    &["inet_sock_set_state"],
                    "what the first copy is skipped for",
                ),
            ],
        )],
    },
    Group {
        purpose: "owners",
        log_only: true,
        rungs: &[(
            Rung::Tracepoint,
            &[
                step(
                    "proc_exit",
                    How::Tracepoint,
                    &["sched_process_exit"],
                    "owners: exit",
                ),
                step(
                    "proc_exec",
                    How::Tracepoint,
                    &["sched_process_exec"],
                    "owners: exec",
                ),
                step(
                    "proc_fork",
                    How::Tracepoint,
                    &["task_newtask"],
                    "owners: fork",
                ),
            ],
        )],
    },
];

/// Attaches every hook that `purpose` wants.
///
/// # Errors
/// A group that no rung attaches: a table without it could be wrong and not know.
pub fn attach(object: &mut Object, purpose: Purpose) -> Result<Vec<Hook>> {
    let mut hooks = Vec::new();
    if purpose == Purpose::Snapshot {
        return Ok(hooks);
    }
    let forced = Rung::forced()?;
    for group in GROUPS {
        if group.log_only && !purpose.may_log() {
            continue;
        }
        let mut refusals = Vec::new();
        let mut attached = None;
        for &(rung, steps) in wanted(group, forced) {
            match attach_rung(object, rung, steps) {
                Ok(done) => {
                    attached = Some(done);
                    break;
                }
                Err(error) => refusals.push(error),
            }
        }
        match (attached, refusals.pop()) {
            (Some(done), _) => hooks.extend(done),
            (None, last) => {
                let last = last.unwrap_or_else(|| anyhow!("no rung of the ladder has it"));
                let before = refusals.iter().map(|error| format!("{error:#}"));
                let reasons: Vec<String> = before.collect();
                return Err(match reasons.len() {
                    0 => last,
                    _ => last.context(reasons.join("; ")),
                })
                .with_context(|| format!("no hook for {}", group.purpose));
            }
        }
    }
    Ok(hooks)
}

/// The rungs of a group that may be tried. One that is forced is for the groups that have it.
fn wanted(
    group: &Group,
    forced: Option<Rung>,
) -> impl Iterator<Item = &'static (Rung, &'static [Step])> {
    let rungs: &'static [(Rung, &'static [Step])] = group.rungs;
    let forced = forced.filter(|forced| rungs.iter().any(|(rung, _)| rung == forced));
    rungs
        .iter()
        .filter(move |(rung, _)| forced.is_none_or(|forced| forced == *rung))
}

/// Attaches all programs of a rung, or none.
fn attach_rung(object: &mut Object, rung: Rung, steps: &'static [Step]) -> Result<Vec<Hook>> {
    let by_timers = steps.iter().any(|step| step.program == "timer_start");
    if by_timers && (object.handlers.timewait == 0 || object.handlers.request == 0) {
        bail!(
            "{}: the timer functions of minisocks are hidden and could not be learned \
             (remedy: sysctl kernel.kptr_restrict=1)",
            rung.name()
        );
    }
    let mut done: Vec<Hook> = Vec::new();
    for step in steps {
        match attach_step(object, step) {
            Ok(Some(target)) => done.push(Hook {
                program: step.program,
                target,
                rung: rung.name(),
                purpose: step.purpose,
                refused: None,
            }),
            Ok(None) => {}
            Err(error) => {
                for hook in done {
                    object.detach(hook.program);
                }
                return Err(error.context(rung.name()));
            }
        }
    }
    Ok(done)
}

/// The target that was taken; `None` for one that this kernel lacks and does not need.
fn attach_step(object: &mut Object, step: &Step) -> Result<Option<&'static str>> {
    if step.how == How::Tracepoint {
        let target = step.targets[0];
        object.attach(step.program, step.how, target)?;
        return Ok(Some(target));
    }
    match step.targets.iter().find(|name| object.has_function(name)) {
        Some(target) => {
            object.attach(step.program, step.how, target)?;
            Ok(Some(target))
        }
        None if step.optional => Ok(None),
        None => bail!("this kernel has no function {}", step.targets.join(" or ")),
    }
}

/// Tries every rung of every group, for `netstat-bpf check`: what would be attached, and what each
/// rung that is not used says.
///
/// # Errors
/// A rung that is forced and does not exist.
pub fn try_all(object: &mut Object) -> Result<Vec<Tried>> {
    let forced = Rung::forced()?;
    let mut tried = Vec::new();
    for group in GROUPS {
        let mut used = false;
        for &(rung, steps) in group.rungs {
            let may = wanted(group, forced).any(|(other, _)| *other == rung);
            let attached = attach_rung(object, rung, steps);
            let (hooks, refused) = match attached {
                Ok(hooks) => (hooks, None),
                Err(error) => (Vec::new(), Some(format!("{error:#}"))),
            };
            let taken = may && !used && refused.is_none();
            for hook in hooks.iter().filter(|_| !taken) {
                object.detach(hook.program);
            }
            let why = match (&refused, taken, may) {
                (Some(reason), ..) if used => {
                    let rung = format!("{}: ", rung.name());
                    format!(
                        "not needed; {}",
                        reason.strip_prefix(&rung).unwrap_or(reason)
                    )
                }
                (Some(reason), ..) => reason.clone(),
                (None, true, _) if forced.is_some() && group.rungs.len() > 1 => {
                    "NETSTAT_BPF_RUNG".to_owned()
                }
                (None, true, _) => "first that attaches".to_owned(),
                (None, false, false) => "attaches; NETSTAT_BPF_RUNG forces another".to_owned(),
                (None, false, true) => "attaches; not needed".to_owned(),
            };
            used |= taken;
            tried.push(Tried {
                group: group.purpose,
                rung,
                hooks,
                taken,
                works: refused.is_none(),
                why,
            });
        }
    }
    Ok(tried)
}

/// A rung of a group, and what became of it.
#[derive(Debug)]
pub struct Tried {
    /// What the group is for.
    pub group: &'static str,
    /// The rung.
    pub rung: Rung,
    /// What it attaches; empty if it is refused.
    pub hooks: Vec<Hook>,
    /// Whether a tracer would use it.
    pub taken: bool,
    /// Whether all of it attaches.
    pub works: bool,
    /// Why it is used, or not.
    pub why: String,
}

/// The functions that minisock timers call; zeros if a rung is forced that does not need them.
///
/// # Errors
/// Reading /proc/kallsyms, or learning from timers where it hides addresses.
pub fn handlers() -> Result<Handlers> {
    if Rung::forced()?.is_some_and(|forced| forced != Rung::Tracepoint) {
        return Ok(Handlers::default());
    }
    let found = Handlers::from_kallsyms()?;
    if found.timewait != 0 && found.request != 0 {
        return Ok(found);
    }
    super::learn::handlers()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_attached_before_begins() {
        for group in GROUPS {
            for (rung, steps) in group.rungs {
                let begin = steps
                    .iter()
                    .position(|step| step.purpose.ends_with("begin"));
                let end = steps.iter().rposition(|step| step.purpose.ends_with("end"));
                if let (Some(begin), Some(end)) = (begin, end) {
                    assert!(end < begin, "{} {rung:?}", group.purpose);
                }
            }
        }
    }

    #[test]
    fn a_forced_rung_is_for_the_groups_that_have_it() {
        let rungs = |group: &Group, forced| -> Vec<Rung> {
            wanted(group, forced).map(|(rung, _)| *rung).collect()
        };
        for group in GROUPS {
            let all: Vec<Rung> = group.rungs.iter().map(|(rung, _)| *rung).collect();
            assert_eq!(rungs(group, None), all);
            assert!(all.is_sorted_by_key(|rung| Rung::LADDER.iter().position(|r| r == rung)));
            for forced in Rung::LADDER {
                let expected = if all.contains(&forced) {
                    vec![forced]
                } else {
                    all.clone()
                };
                assert_eq!(rungs(group, Some(forced)), expected, "{}", group.purpose);
            }
        }
    }
}
