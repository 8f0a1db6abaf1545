//! A long random life of a namespace, stopped again and again to compare one running `-c` with
//! netstat.
//!
//! `NETSTAT_TEST_SEED` repeats a run's steps, `NETSTAT_TEST_STEPS` makes it longer.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

use netstat_tests::{
    continuous::Continuous,
    netns::{Net, within},
    oracle::{assert_live, assert_same},
    workload::{Dice, World},
};

const STEPS: usize = 16000;
/// Steps between two stops are drawn anew each time, up to this.
const STRIDE: usize = 1600;

#[test]
fn one_running_table_equals_netstat_at_every_stop() {
    let seed = setting("NETSTAT_TEST_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("the clock is after 1970").as_secs()
    });
    let steps = setting("NETSTAT_TEST_STEPS").map_or(STEPS, |steps| steps as usize);
    // Said first, so that a failure can be repeated.
    println!("NETSTAT_TEST_SEED={seed} NETSTAT_TEST_STEPS={steps}");
    within(|net| run(net, seed, steps));
}

fn run(net: &Net, seed: u64, steps: usize) {
    let mut live = [
        Continuous::start(net, &["-anpt"]),
        Continuous::start(net, &["-anteo"]),
    ];
    let mut dice = Dice::new(seed);
    let mut world = World::new(net);
    let (mut done, mut stops, mut rows) = (0, 0, 0);
    while done < steps {
        let stride = (1 + dice.below(STRIDE)).min(steps - done);
        for _ in 0..stride {
            world.step(&mut dice);
        }
        done += stride;
        stops += 1;
        println!("step {done}, {world}");
        rows += assert_live(net, &mut live);
    }
    rows += assert_same(net, &["-anpt"]);
    println!("{done} steps, {stops} stops, {rows} rows compared, 0 differences");
    assert!(
        rows > steps / 20,
        "a workload that leaves next to no rows tests nothing"
    );
}

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let value = text.parse();
    Some(value.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
