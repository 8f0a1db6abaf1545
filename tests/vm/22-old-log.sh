#: before 5.17
#: seconds 180
# The log without bpf_loop: sockets older than it come from /proc, and after a loss it claims no
# more than it has done.
set -eu
WITH=
. /scripts/lib.bash
serve 7001
holder=$BASHPID
start() {
    rm -f /tmp/log
    # A small ring, so that a loss can be forced.
    NETSTAT_BPF_RING_BYTES=16384 netstat-bpf log --json >/tmp/log 2>/tmp/errors 10>&- &
    log=$!
    until [ -s /tmp/log ]; do
        kill -0 $log || { cat /tmp/errors; exit 1; }
        (exec 3<>/dev/tcp/127.0.0.1/7001) 10>&-
        sleep 0.2
    done
}
# The log has a line with both.
line() {
    local try
    for try in $(seq 1 150); do
        ! grep "$1" /tmp/log | grep -q "$2" || return 0
        sleep 0.2
    done
    echo "no line with $1 and $2"
    cut -c 1-300 /tmp/log | tail -n 40
    cat /tmp/errors
    return 1
}
lose() {
    kill -STOP $log
    for i in $(seq 1 60); do (exec 3<>/dev/tcp/127.0.0.1/7001) 10>&-; done
    kill -CONT $log
    line '"event":"lost"' "$1"
}

start
# It says at once where its table comes from, and why.
grep 'from /proc' /tmp/errors | grep -q 5.17
# A connection that is older than the log: its owner was found in /proc.
port=$(netstat -antp | sed -n "s|.*127.0.0.1:\([0-9]*\) *127.0.0.1:7001 *ESTABLISHED $holder/.*|\1|p")
exec 10>&-
line "\"port\":$port[,}].*\"port\":7001[,}].*\"old\":\"ESTABLISHED\",\"new\":\"FIN_WAIT1\"" "\"pid\":$holder,"

# A loss, with nothing but our own namespace to look at: /proc says what is left.
lose '"healed":true'
# And the log goes on.
(exec 3<>/dev/tcp/127.0.0.1/7001)
line '"new":"SYN_SENT"' '"event":"state"'
kill -INT $log
wait $log
grep 'events lost' /tmp/errors | grep -q '/proc'
! grep -q 'checked against the kernel' /tmp/errors

# With a socket of another namespace /proc cannot say, and the log does not either.
start
unshare -n sh -c 'ip link set lo up; nc -ll -p 7002 -e cat' &
other=$!
line '"port":7002[,}]' '"new":"LISTEN"'
lose '"healed":false'
kill -INT $log
wait $log
grep 'events lost' /tmp/errors | grep -q 'other namespaces'
kill $other

# What needs a table that is read from the kernel says so in one line.
refused() {
    local since=$1
    shift
    if netstat-bpf "$@" >/tmp/got 2>/tmp/errors; then
        echo "$1 works here"
        exit 1
    fi
    cat /tmp/errors
    test "$(wc -l </tmp/errors)" = 1
    grep -q "$1: .*$since" /tmp/errors
}
refused 5.17 agent --socket /tmp/agent.sock
refused 6.1 audit
