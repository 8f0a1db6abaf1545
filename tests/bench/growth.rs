//! How a listing grows with processes and with network namespaces.

use std::{fs::File, path::Path, process::Command};

use anyhow::Result;

use crate::{
    measure::{Bench, Load, cost, enter},
    plot::{self, Series},
    report::{Report, ms},
    snapshot::{NO_AGENT, from_agent, start_agent},
    stats::median,
};

/// Sockets in all, while the processes grow.
const SOCKETS: usize = 20_000;
/// Sockets of each namespace, while the namespaces grow.
const EACH: usize = 200;

/// Both, as tables and plots.
pub(crate) fn run(bench: &Bench, report: &mut Report, output: &Path) -> Result<()> {
    report.subheading("Processes and namespaces");
    let mut alone = Series::new("one shot");
    let mut agent = Series::new("from the agent");
    report.columns(&["processes", "sockets", "one shot, ms", "from the agent, ms"]);
    let processes: &[usize] = if bench.quick {
        &[2, 100]
    } else {
        &[2, 20, 200, 1000]
    };
    for &processes in processes {
        eprintln!("bench: scale, {processes} processes");
        let load = hold(SOCKETS, processes)?;
        let times = measure(bench, report, &load.netns()?)?;
        point(
            report,
            (processes, SOCKETS),
            times,
            [&mut alone, &mut agent],
        );
    }
    plot::draw(
        &output.join("benchmark-processes.svg"),
        "One listing of 20,000 sockets",
        ("processes", "ms"),
        &[alone, agent],
    )?;
    let mut alone = Series::new("one shot");
    let mut agent = Series::new("from the agent");
    report.columns(&[
        "namespaces",
        "sockets",
        "one shot, ms",
        "from the agent, ms",
    ]);
    let namespaces: &[usize] = if bench.quick { &[1, 20] } else { &[1, 10, 100] };
    for &namespaces in namespaces {
        eprintln!("bench: scale, {namespaces} namespaces");
        let loads: Result<Vec<_>> = (0..namespaces).map(|_| hold(EACH, 1)).collect();
        let loads = loads?;
        let times = measure(bench, report, &loads[0].netns()?)?;
        let what = (namespaces, namespaces * EACH);
        point(report, what, times, [&mut alone, &mut agent]);
    }
    plot::draw(
        &output.join("benchmark-namespaces.svg"),
        "One namespace of many, 200 sockets each",
        ("namespaces", "ms"),
        &[alone, agent],
    )?;
    report.text("![processes](benchmark-processes.svg)\n\n![namespaces](benchmark-namespaces.svg)");
    Ok(())
}

fn hold(sockets: usize, processes: usize) -> Result<Load> {
    let (sockets, processes) = (sockets.to_string(), processes.to_string());
    Load::start(&["hold", "--sockets", &sockets, "--processes", &processes])
}

/// Seconds of a listing alone, and from the agent.
fn measure(bench: &Bench, report: &mut Report, netns: &File) -> Result<[f64; 2]> {
    let agent = start_agent(bench, report, netns);
    let mut walls = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        let mut alone = Command::new(&bench.program);
        alone.arg("-anpt").env("NETSTAT_BPF_AGENT", NO_AGENT);
        let both = [Some(alone), agent.as_ref().map(|_| from_agent(bench))];
        for (walls, command) in walls.iter_mut().zip(both) {
            if let Some(mut command) = command {
                enter(&mut command, netns);
                walls.push(cost(&mut command, &bench.scratch.join("listing"))?.wall);
            }
        }
    }
    Ok(walls.map(|walls| median(&walls)))
}

fn point(
    report: &mut Report,
    (of, sockets): (usize, usize),
    times: [f64; 2],
    series: [&mut Series; 2],
) {
    for (series, time) in series.into_iter().zip(times) {
        if time > 0.0 {
            series.points.push((of as f64, time * 1e3));
        }
    }
    let [alone, agent] = times;
    report.row(&[
        &of.to_string(),
        &sockets.to_string(),
        &ms(alone),
        &ms(agent),
    ]);
}
