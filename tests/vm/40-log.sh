# A connection's life in the event log: the states of both ends.
set -eu
netstat-bpf log --json >/tmp/log 2>/tmp/errors &
log=$!
nc -ll -p 7010 -e cat &
server=$!
until netstat -ant | grep -q ':7010 .*LISTEN'; do sleep 0.2; done
# The first line shows that the hooks are attached, and that SIGINT has its handler: before, it is
# ignored, as in every background job of a script.
until [ -s /tmp/log ]; do
    if ! kill -0 $log; then
        cat /tmp/errors
        exit 1
    fi
    (exec 3<>/dev/tcp/127.0.0.1/7010)
    sleep 0.2
done
sleep 1
kill $server
nc -l -p 7011 -e cat &
until netstat -ant | grep -q ':7011 .*LISTEN'; do sleep 0.2; done
(exec 3<>/dev/tcp/127.0.0.1/7011)
states="LISTEN SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT1 TIME_WAIT CLOSE_WAIT LAST_ACK"
# The states of the connection that the log lacks.
missing() {
    for state in $states; do
        grep '"port":7011' /tmp/log | grep -q "\"new\":\"$state\"" || echo "$state"
    done
}
for try in $(seq 1 100); do
    test -n "$(missing)" || break
    sleep 0.2
done
kill -INT $log
wait $log || echo "log ended with $?"
cat /tmp/errors
failed=0
# The second copy of the state hook sends only what the first was skipped for. Kernels before 5.12
# do not count that, and skip nothing.
numbers=$(sed -n 's/.*hook skipped \([0-9]*\) times.*, \([0-9]*\) events came.*/\1 \2/p' /tmp/errors)
read -r skipped second <<<"$numbers"
if ! test "$second" -le "$skipped"; then
    echo "skipped $skipped times, but $second events came from the second copy"
    failed=1
fi
for state in $(missing); do
    echo "no $state"
    failed=1
done
test $failed = 0 || cut -c 1-400 /tmp/log
exit $failed
