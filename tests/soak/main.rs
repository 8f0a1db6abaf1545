//! `soak MINUTES [SEED]`: see `cargo xtask soak`. Exit status 1 on any difference from netstat.

use std::{
    env,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use netstat_tests::{
    netns::within,
    soak::{Plan, run},
};

fn main() -> Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let minutes: u64 = arguments
        .next()
        .context("usage: soak MINUTES [SEED]")?
        .parse()
        .context("minutes")?;
    let seed = match arguments.next() {
        Some(seed) => seed.parse().context("seed")?,
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?
            .as_secs(),
    };
    let plan = Plan {
        time: Duration::from_secs(60 * minutes),
        seed,
    };
    let outcome = within(|net| run(net, plan));
    Ok(if outcome.mismatches == 0 && outcome.events > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
