#: since 5.17
#: slow
#: seconds 1800
# The kernel tests of tests/kernel/kinds.rs. Emulation is slow: what takes a second takes ten.
set -eu
/tests/kernel --test-threads=1 kinds::
