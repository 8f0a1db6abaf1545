#: since 5.17
#: slow
#: seconds 2400
# The kernel tests of tests/kernel/states.rs. Emulation is slow: what takes a second takes ten.
set -eu
/tests/kernel --test-threads=1 states::
