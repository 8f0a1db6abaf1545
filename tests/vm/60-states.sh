#: since 5.17
#: slow
#: seconds 2400
# The kernel tests of tests/kernel/states.rs: every state of IPv4, and of IPv6 those with an object
# of each kind. Emulation is slow: what takes a second takes ten.
set -eu
/tests/kernel --test-threads=1 --skip ::v6 --skip ::dual states::
/tests/kernel --test-threads=1 states::established::v6 states::time_wait::v6 states::syn_recv::v6
