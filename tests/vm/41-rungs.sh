#: since 5.17
#: seconds 300
# Each rung tells the same life of a connection: a minisock's begin, its end, and a dropped request.
set -eu
failed=0
port=7100
echo 1 >/proc/sys/net/ipv4/tcp_synack_retries
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
    # TIME_WAIT to its end by timer takes a minute: a bucket limit of none, and a port that is
    # taken over, end it earlier.
    for try in 1 2 3; do
        port=$((port + 1))
        nc -l -p $port -e true &
        until netstat -ant | grep -q ":$port .*LISTEN"; do sleep 0.2; done
        (exec 3<>/dev/tcp/127.0.0.1/$port)
    done
    sleep 1
    kill -INT $log
    wait $log
    kill $server
    cat /tmp/errors
    for state in SYN_RECV ESTABLISHED TIME_WAIT; do
        seen=$(grep "\"port\":$port[,}]" /tmp/log | grep -c "\"new\":\"$state\"" || :)
        echo "$rung: $state $seen times"
        test "$seen" -ge 1 || failed=1
    done
done
test $failed = 0 || cut -c 1-300 /tmp/log
exit $failed
