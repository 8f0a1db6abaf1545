#: since 5.17
#: slow
#: seconds 1500
# The kernel tests of tests/kernel/random.rs. Emulation is slow: what takes a second takes ten.
set -eu
NETSTAT_TEST_STEPS=3000 /tests/kernel --test-threads=1 random::
