//! Which test draws which scenario of the list of differential tests (section 17 of the
//! specification of netstat's output). Gaps in the numbers are the list's.

use std::{fs, path::Path};

/// The numbers of the list.
const NUMBERS: [u8; 49] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 18, 20, 21, 22, 25, 26, 27, 28, 29, 30, 31,
    32, 34, 35, 37, 38, 39, 40, 42, 43, 45, 47, 49, 50, 51, 52, 55, 56, 57, 58, 59, 60, 61, 63,
];

/// Scenarios, and their tests: directory, file and function, or the state that a macro makes a test of.
const TESTS: [(&[u8], &[&str]); 27] = [
    (
        &[1, 51],
        &[
            "compat scenarios an_empty_namespace",
            "compat live an_empty_namespace",
        ],
    ),
    (
        &[2, 3, 4, 28],
        &[
            "compat scenarios tcp_sockets_in_their_order",
            "compat live internet_sockets",
        ],
    ),
    (
        &[5, 6, 7, 8, 9],
        &[
            "compat scenarios datagram_and_raw_sockets_in_their_order",
            "compat live internet_sockets",
            "kernel kinds all_kinds_equal_netstat_once_and_continuously",
        ],
    ),
    (
        &[11, 50],
        &[
            "compat scenarios unix_sockets_in_their_order",
            "compat live unix_sockets",
            "kernel kinds all_kinds_equal_netstat_once_and_continuously",
        ],
    ),
    (
        &[12],
        &["compat scenarios datagram_and_raw_sockets_in_their_order"],
    ),
    (
        &[13, 14, 15, 52],
        &[
            "compat scenarios routes_groups_and_interfaces",
            "compat live routes_groups_and_interfaces",
            "compat interfaces interfaces_are_told_alike",
        ],
    ),
    (&[17], &["kernel states syn_sent"]),
    (&[18], &["kernel states syn_recv"]),
    (&[20], &["kernel states fin_wait2_mini"]),
    (&[21], &["kernel states time_wait"]),
    (
        &[22],
        &[
            "kernel states fin_wait1_orphan",
            "kernel states last_ack_orphan",
        ],
    ),
    (&[25], &["kernel states keepalive"]),
    (&[26], &["kernel states sent_data"]),
    (&[27], &["kernel states bound", "kernel states reset"]),
    (&[29], &["kernel owners two_listeners_on_one_port"]),
    (
        &[30],
        &["kernel kinds sockets_that_stay_are_printed_once_while_others_come_go_and_move"],
    ),
    (
        &[31, 32],
        &[
            "compat live internet_sockets",
            "compat sockets socket_rows_are_told_alike",
        ],
    ),
    (
        &[34, 35, 38, 39],
        &[
            "compat scenarios names_of_the_system",
            "compat live names_of_the_system",
            "compat names names_are_those_of_the_reference",
            "compat callers users_inside_a_user_namespace",
        ],
    ),
    (
        &[37],
        &[
            "compat resolver a_server_is_asked_as_the_reference_asks",
            "compat resolver rounds_ask_as_the_references_rounds_do",
        ],
    ),
    (
        &[40],
        &[
            "kernel rights names_of_owners",
            "compat processes programs_are_told_alike",
            "compat divergences control_bytes_are_question_marks",
        ],
    ),
    (
        &[42],
        &["compat callers a_deleted_program_and_a_changed_name"],
    ),
    (
        &[43, 45],
        &[
            "kernel owners inherited_while_the_parent_lives",
            "kernel owners inherited_when_the_parent_dies_first",
            "kernel owners kept_over_exec",
            "compat callers a_child_with_the_lower_number",
            "compat scenarios a_holder_in_another_namespace",
        ],
    ),
    (
        &[47],
        &[
            "kernel rights a_user_who_owns_nothing",
            "kernel rights a_user_who_owns_one_socket",
            "compat callers root_without_the_right_to_look",
            "compat callers nobody_and_a_proc_that_hides",
        ],
    ),
    (
        &[49],
        &[
            "compat scenarios unix_sockets_in_their_order",
            "compat live unix_sockets",
            "kernel kinds a_name_with_line_breaks_is_one_row",
            "compat divergences control_bytes_are_question_marks",
        ],
    ),
    (
        &[55, 56],
        &[
            "compat interfaces interfaces_are_told_alike",
            "compat interfaces link_layers_are_told_alike",
        ],
    ),
    (&[57], &["compat scenarios an_interface_that_is_gone"]),
    (
        &[58, 59, 60, 61, 63],
        &[
            "compat options chosen_command_lines_are_told_alike",
            "compat options every_prefix_of_a_long_option_is_told_alike",
            "compat command_lines random_command_lines_are_told_alike",
            "compat scenarios output_that_cannot_be_written",
            "compat scenarios both_streams_in_one",
        ],
    ),
];

#[test]
fn every_scenario_has_its_tests() {
    let mut drawn: Vec<u8> = TESTS
        .iter()
        .flat_map(|(numbers, _)| *numbers)
        .copied()
        .collect();
    drawn.sort_unstable();
    assert_eq!(drawn, NUMBERS);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for test in TESTS.iter().flat_map(|(_, tests)| *tests) {
        let words: Vec<_> = test.split(' ').collect();
        let [directory, file, name] = words[..] else {
            panic!("{test}: directory, file and name");
        };
        let path = root.join(directory).join(file).with_extension("rs");
        let source = fs::read_to_string(&path);
        let source = source.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let known = [format!("#[test]\nfn {name}()"), format!("\n    {name}: ")];
        assert!(known.iter().any(|text| source.contains(text)), "no {test}");
    }
}
