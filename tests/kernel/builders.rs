//! The ways into the states, held against the real netstat alone: what the other tests stand on.

use netstat_tests::{
    netns::within,
    oracle::real,
    row::Row,
    states::{COLUMNS, STACKS, WAYS, reach},
};

/// One namespace for each way and stack, and in it exactly the rows that the way promises.
#[test]
fn every_way_leads_to_its_rows_and_no_others() {
    for way in WAYS {
        for stack in STACKS {
            within(|net| {
                let scene = reach(net, way, stack);
                let mut seen = Row::parse_all(&real(net, &COLUMNS).stdout);
                let mut promised = scene.rows.clone();
                seen.sort();
                promised.sort();
                assert_eq!(seen, promised, "{way:?} {stack:?}");
            });
        }
    }
}

/// The peers of one TUN device do not disturb each other.
#[test]
fn every_way_in_one_namespace() {
    within(|net| {
        let scenes: Vec<_> = STACKS
            .into_iter()
            .flat_map(|stack| WAYS.map(|way| reach(net, way, stack)))
            .collect();
        let promised: usize = scenes.iter().map(|scene| scene.rows.len()).sum();
        let seen = Row::parse_all(&real(net, &COLUMNS).stdout);
        assert_eq!(seen.len(), promised, "{seen:#?}");
    });
}
