#: since 5.17
#: slow
#: seconds 1800
# The fentry rung of minisocks against the real netstat: each state, the log, and a random life.
set -eu
export NETSTAT_TEST_TEN_LOOKS_MS=1000
export NETSTAT_BPF_RUNG=fentry NETSTAT_TEST_STEPS=2000
/tests/kernel --test-threads=1 states::time_wait states::fin_wait2_mini states::syn_recv log:: log_ends:: random::
