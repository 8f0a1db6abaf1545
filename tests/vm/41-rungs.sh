#: seconds 300
# Each rung tells of request sockets and of TIME_WAIT, also where a minisock waited in FIN_WAIT2: its
# timer may stay in its bucket of the wheel then, and no event tells of the FIN.
set -eu
failed=0
port=7100
for rung in tp fentry kprobe; do
    export NETSTAT_BPF_RUNG=$rung
    rm -f /tmp/log
    netstat-bpf log --json >/tmp/log 2>/tmp/errors &
    log=$!
    nc -ll -p 7010 -e cat &
    server=$!
    until netstat -ant | grep -q ':7010 .*LISTEN'; do sleep 0.2; done
    until [ -s /tmp/log ]; do
        if ! kill -0 $log; then
            cat /tmp/errors
            exit 1
        fi
        (exec 3<>/dev/tcp/127.0.0.1/7010)
        sleep 0.2
    done
    ports=
    for ends in true true "sleep 0.2" "sleep 0.3" "sleep 2"; do
        port=$((port + 1))
        ports="$ports $port"
        nc -l -p $port -e $ends &
        until netstat -ant | grep -q ":$port .*LISTEN"; do sleep 0.2; done
        (exec 3<>/dev/tcp/127.0.0.1/$port)
    done
    for port in $ports; do
        for try in $(seq 1 100); do
            ! grep "\"port\":$port[,}]" /tmp/log | grep -q '"new":"TIME_WAIT"' || break
            sleep 0.2
        done
        # What the kernel says of it, if it never was told.
        test "$try" -lt 100 || netstat -antoe | grep ":$port " || :
    done
    kill -INT $log
    wait $log
    kill $server
    cat /tmp/errors
    for port in $ports; do
        for state in SYN_RECV ESTABLISHED TIME_WAIT; do
            seen=$(grep "\"port\":$port[,}]" /tmp/log | grep -c "\"new\":\"$state\"" || :)
            echo "$rung: $port $state $seen times"
            test "$seen" -ge 1 || failed=1
        done
    done
done
test $failed = 0 || cut -c 1-300 /tmp/log
exit $failed
