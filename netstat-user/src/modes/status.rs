//! `netstat-bpf status`: how the agent is.

use std::io::Write;

use anyhow::{Context as _, Result, anyhow};

use crate::{cli, client, clock};

/// How long an agent may be silent.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Asks and prints.
///
/// # Errors
/// There is no agent, or it does not answer.
pub fn run(out: &mut dyn Write, options: &cli::Status) -> Result<()> {
    let path = options.socket.clone().unwrap_or_else(client::socket);
    let json = client::status(&path, PATIENCE).map_err(|reason| {
        anyhow!(
            "status: {}: {reason} (is the agent running? netstat-bpf agent)",
            path.display()
        )
    })?;
    let _ = clock::ktime();
    out.write_all(&json)
        .and_then(|()| writeln!(out))
        .context("write the status")
}
