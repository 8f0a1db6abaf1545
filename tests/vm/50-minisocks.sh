# The kernel tests of what differs most between kernels: the minisocks and their neighbours.
set -eu
for state in time_wait fin_wait2_mini syn_recv; do
    /tests/kernel --test-threads 1 "states::$state::v4"
done
