#: since 5.17
#: slow
#: seconds 1500
# The kernel tests of tests/kernel/log.rs. Emulation is slow: what takes a second takes ten.
set -eu
export NETSTAT_TEST_TEN_LOOKS_MS=1000
/tests/kernel --test-threads=1 log::
