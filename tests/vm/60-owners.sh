# The kernel tests of owners, as far as two minutes of emulation go.
set -eu
/tests/kernel --test-threads 1 --exact owners::accepted_and_connected owners::kept_over_exec \
    owners::inherited_when_the_parent_dies_first owners::passed_and_closed_by_the_sender
