#: since 5.17
#: slow
#: seconds 1200
# The kernel tests of tests/kernel/owners.rs. Emulation is slow: what takes a second takes ten.
set -eu
/tests/kernel --test-threads=1 owners::
