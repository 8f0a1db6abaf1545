//! How the agent is, for people.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::proto::status::{Program, Status};

/// What the BPF programs cost while the kernel kept statistics, between two answers of the agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs {
    /// Name to times that it ran and nanoseconds that it took.
    pub by_program: BTreeMap<String, (u64, u64)>,
    /// Nanoseconds between the two answers.
    pub between_ns: u64,
    /// CPU nanoseconds of the agent meanwhile.
    pub agent_ns: u64,
}

impl Costs {
    /// The difference of two answers.
    #[must_use]
    pub fn between(before: &Status, after: &Status) -> Self {
        let earlier = |name: &str| -> Option<&Program> {
            before.programs.iter().find(|known| known.program == name)
        };
        let by_program = after.programs.iter().map(|now| {
            let (count, time) =
                earlier(&now.program).map_or((0, 0), |then| (then.run_count, then.run_time_ns));
            let ran = now.run_count.saturating_sub(count);
            (
                now.program.clone(),
                (ran, now.run_time_ns.saturating_sub(time)),
            )
        });
        Self {
            by_program: by_program.collect(),
            between_ns: after.now_ns.saturating_sub(before.now_ns),
            agent_ns: after.process.cpu_ns.saturating_sub(before.process.cpu_ns),
        }
    }
}

/// The screen. `costs` are `None` where they could not be measured.
#[must_use]
pub fn text(status: &Status, costs: Option<&Costs>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(&mut out, status, costs);
    out
}

fn write_text(
    out: &mut String,
    status: &Status,
    costs: Option<&Costs>,
) -> Result<(), std::fmt::Error> {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let lost = &status.lost;
    writeln!(
        out,
        "agent     {} (protocol {}), process {}, up {}",
        safe(&status.version),
        status.protocol,
        status.pid,
        duration(status.uptime_ns)
    )?;
    let exact_for = status.now_ns.saturating_sub(status.exact_since_ns);
    write!(out, "exact     for {}", duration(exact_for))?;
    match &status.in_doubt {
        Some(what) => writeln!(out, "; in doubt now: {}", safe(what))?,
        None => writeln!(out)?,
    }
    writeln!(
        out,
        "lost      {} ring full, {} unreadable, {} undecoded, {} skipped; {} over the SYN budget",
        lost.ring_full, lost.unreadable, lost.undecoded, lost.skipped, status.over_budget
    )?;
    writeln!(
        out,
        "checks    {} healings, {} audits, {} mismatches, {} gaps, {} errors",
        status.healings, status.audits, status.mismatches, status.gaps, status.drain_errors
    )?;
    let states = status
        .states
        .iter()
        .map(|(state, count)| format!("{count} {}", safe(state)));
    writeln!(
        out,
        "sockets   {} in the table: {}",
        status.sockets,
        states.collect::<Vec<_>>().join(", ")
    )?;
    writeln!(
        out,
        "events    {} since the start, {} of them by the second copy only",
        status.events, status.second_copy
    )?;
    let clients = &status.clients;
    writeln!(
        out,
        "clients   {} connected, {} so far, {} snapshots; refused {} busy, {} rights, {} bad; \
         {} too slow, {} gone, {} failed",
        clients.connected,
        clients.connections,
        clients.snapshots,
        clients.refused_busy,
        clients.refused_rights,
        clients.refused_bad_request,
        clients.given_up_slow,
        clients.gone,
        clients.failed
    )?;
    writeln!(
        out,
        "log       {} follow it; {} changes not sent to who was too slow",
        clients.logs, clients.log_dropped
    )?;
    let share = 100.0 * status.process.cpu_ns as f64 / status.uptime_ns.max(1) as f64;
    writeln!(
        out,
        "cost      {:.3} s CPU since the start ({share:.2} %), {:.1} MiB, {:.1} MiB in BPF maps, {} files, {} threads",
        seconds(status.process.cpu_ns),
        status.process.rss_bytes as f64 / 1_048_576.0,
        status.process.maps_bytes as f64 / 1_048_576.0,
        status.process.descriptors,
        status.process.threads
    )?;
    for hook in &status.hooks {
        let how = match &hook.refused {
            Some(reason) => format!("not attached: {}", safe(reason)),
            None => safe(&hook.rung),
        };
        writeln!(
            out,
            "hook      {:<14} {:<22} {how}",
            safe(&hook.program),
            safe(&hook.target)
        )?;
    }
    let Some(costs) = costs else {
        return writeln!(
            out,
            "programs  not measured: the kernel's statistics need CAP_SYS_ADMIN"
        );
    };
    writeln!(
        out,
        "measured  {:.1} s, in which the agent took {:.2} % of a CPU",
        seconds(costs.between_ns),
        100.0 * costs.agent_ns as f64 / costs.between_ns.max(1) as f64
    )?;
    for (program, (count, ns)) in costs.by_program.iter().filter(|(_, cost)| cost.0 > 0) {
        writeln!(
            out,
            "program   {:<14} {:>8} runs, {:>6.0} ns each",
            safe(program),
            count,
            *ns as f64 / *count as f64
        )?;
    }
    Ok(())
}

/// Text of the agent's that may go to a terminal.
fn safe(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "?")
}

fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn status() -> Status {
        let json = r#"{"version":"0.1.0","protocol":1,"pid":7,"uptime_ns":90000000000,
            "now_ns":100000000000,"exact_since_ns":10000000000,"exact_since_wall_ns":0,
            "in_doubt":null,"sockets":3,"states":{"LISTEN":2,"TIME_WAIT":1},"events":12,
            "lost":{"ring_full":0,"unreadable":0,"undecoded":0,"skipped":0},"healings":0,
            "audits":9,"mismatches":0,"over_budget":0,"drain_errors":0,"second_copy":1,
            "hooks":[{"program":"tcp_state","target":"inet_sock_set_state","rung":"tp_btf",
            "refused":null},{"program":"walk","target":"","rung":"iter/tcp",
            "refused":"no\u001b[2J"}],
            "programs":[{"program":"tcp_state","run_time_ns":1000,"run_count":10,
            "recursion_misses":0}],"answers_bytes":0,
            "process":{"cpu_ns":9000000,"rss_bytes":26214400,"maps_bytes":18350080,"descriptors":30,"threads":2}}"#;
        serde_json::from_str(json).expect("a status")
    }

    #[test]
    fn a_status_for_people() {
        let before = status();
        let mut after = before.clone();
        after.now_ns += 1_000_000_000;
        after.process.cpu_ns += 1_000_000;
        after.programs[0].run_count += 100;
        after.programs[0].run_time_ns += 9_000;
        let costs = Costs::between(&before, &after);
        expect![[r#"
            agent     0.1.0 (protocol 1), process 7, up 1 min 30 s
            exact     for 1 min 31 s
            lost      0 ring full, 0 unreadable, 0 undecoded, 0 skipped; 0 over the SYN budget
            checks    0 healings, 9 audits, 0 mismatches, 0 gaps, 0 errors
            sockets   3 in the table: 2 LISTEN, 1 TIME_WAIT
            events    12 since the start, 1 of them by the second copy only
            clients   0 connected, 0 so far, 0 snapshots; refused 0 busy, 0 rights, 0 bad; 0 too slow, 0 gone, 0 failed
            log       0 follow it; 0 changes not sent to who was too slow
            cost      0.010 s CPU since the start (0.01 %), 25.0 MiB, 17.5 MiB in BPF maps, 30 files, 2 threads
            hook      tcp_state      inet_sock_set_state    tp_btf
            hook      walk                                  not attached: no?[2J
            measured  1.0 s, in which the agent took 0.10 % of a CPU
            program   tcp_state           100 runs,     90 ns each
        "#]]
        .assert_eq(&text(&after, Some(&costs)));
    }

    #[test]
    fn numbers_that_make_no_sense_do_no_harm() {
        let mut later = status();
        later.uptime_ns = 0;
        later.now_ns = 0;
        later.programs.clear();
        let costs = Costs::between(&status(), &later);
        assert!(text(&later, Some(&costs)).contains("exact     for 0 s"));
        assert!(text(&later, None).contains("CAP_SYS_ADMIN"));
    }
}
