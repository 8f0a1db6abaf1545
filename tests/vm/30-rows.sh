#: since 5.17
# The same rows as the reference, at rest: from /proc, and from the kernel's own sockets.
set -eu

# Listeners, both ends of connections, a half-closed one, TIME_WAIT, UDP and Unix sockets.
for port in 7001 7002; do
    nc -ll -p $port -e cat &
done
syslogd -n -O /tmp/syslog &
for port in 7001 7002; do
    until netstat -ant | grep -q ":$port .*LISTEN"; do sleep 0.2; done
done
exec 10<>/dev/tcp/127.0.0.1/7001 11<>/dev/tcp/127.0.0.1/7002 12<>/dev/tcp/127.0.0.1/7002
exec 13<>/dev/udp/127.0.0.1/7003
for try in 1 2 3; do
    # The client closes first, so TIME_WAIT is on its side.
    (exec 3<>/dev/tcp/127.0.0.1/7001)
done
sleep 2

# The first two lines are headings.
rows() {
    "$@" 2>/tmp/errors | tail -n +3 | sort
}

failed=0
for options in -ant -antp -ante -anu -anx -antup; do
    rows netstat $options >/tmp/wanted
    for source in proc kernel; do
        NETSTAT_BPF_SOURCE=$source rows netstat-bpf $options >/tmp/got
        # The reference may warn too; a source that did not start may not.
        if grep 'every round' /tmp/errors; then
            failed=1
        fi
        if cmp -s /tmp/wanted /tmp/got; then
            echo "same: $source $options, $(wc -l </tmp/got) rows"
        else
            echo "differs: $source $options"
            diff /tmp/wanted /tmp/got || :
            failed=1
        fi
    done
done
# All bytes, also where a kernel has no such table (UDP-Lite since Linux 7).
WITH=
. /scripts/lib.bash
for options in -an -anU -anw -rn -gn; do
    same $options || failed=1
done
# An empty table would be equal to an empty table.
netstat -anx | grep -q /dev/log || { echo "the workload made no Unix socket"; failed=1; }
netstat -anu | grep -q :7003 || { echo "the workload made no UDP socket"; failed=1; }
for state in LISTEN ESTABLISHED TIME_WAIT; do
    netstat -ant | grep -q $state || { echo "the workload made no $state"; failed=1; }
done
exit $failed
