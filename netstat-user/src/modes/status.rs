//! `netstat-bpf status`: how the agent is.

use std::{io::Write, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use aya::sys::{Stats, enable_stats};

use crate::{
    cli, client, clock,
    proto::status::Status,
    view::status::{Costs, text},
};

/// How long an agent may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the kernel keeps statistics for us.
const SAMPLE: Duration = Duration::from_secs(1);

/// Asks and prints.
///
/// # Errors
/// There is no agent, or it does not answer.
pub fn run(out: &mut dyn Write, options: &cli::Status) -> Result<()> {
    let path = options.socket.clone().unwrap_or_else(client::socket);
    let written = if options.json {
        let mut json = ask(&path)?;
        json.push(b'\n');
        out.write_all(&json)
    } else {
        let (status, costs) = measured(&path)?;
        out.write_all(text(&status, costs.as_ref()).as_bytes())
    };
    written.context("write the status")
}

/// The agent's state, and what its programs cost in a second of statistics.
///
/// The right to switch these on is the caller's: the agent has given it up.
fn measured(path: &Path) -> Result<(Status, Option<Costs>)> {
    let Ok(kept_while_open) = enable_stats(Stats::RunTime) else {
        return Ok((read(path)?, None));
    };
    let before = read(path)?;
    clock::sleep(SAMPLE);
    let after = read(path)?;
    drop(kept_while_open);
    let costs = Costs::between(&before, &after);
    Ok((after, Some(costs)))
}

fn read(path: &Path) -> Result<Status> {
    let json = ask(path)?;
    serde_json::from_slice(&json).context("status: the agent's answer is of another version")
}

fn ask(path: &Path) -> Result<Vec<u8>> {
    client::status(path, PATIENCE).map_err(|reason| {
        anyhow!(
            "status: {}: {reason} (is the agent running? netstat-bpf agent)",
            path.display()
        )
    })
}
