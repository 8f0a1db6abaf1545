#: since 5.17
#: slow
#: seconds 1500
# The kernel tests of tests/kernel/seeds.rs. Emulation is slow: what takes a second takes ten.
set -eu
/tests/kernel --test-threads=1 seeds::
