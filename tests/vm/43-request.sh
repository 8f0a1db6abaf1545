#: since 5.17
# A half-open connection that is dropped shows in its timer's events alone.
set -eu
/tests/kernel --test-threads=1 log::a_request_that_is_dropped
