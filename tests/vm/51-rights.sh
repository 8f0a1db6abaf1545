# Without the rights for BPF: listings come from /proc, with netstat's bytes and its warning.
set -eu
nc -ll -p 7001 -e cat &
until netstat -ant | grep -q ':7001 .*LISTEN'; do sleep 0.2; done
exec 10<>/dev/tcp/127.0.0.1/7001
sleep 1
drop() {
    setpriv --reuid 1000 --regid 1000 --clear-groups "$@"
}
for options in -ant -antp -ante -anx; do
    drop netstat $options >/tmp/wanted 2>/tmp/wanted-errors
    drop netstat-bpf $options >/tmp/got 2>/tmp/got-errors
    cmp /tmp/wanted /tmp/got
    cmp /tmp/wanted-errors /tmp/got-errors
    echo "same: $options, $(wc -l </tmp/got) lines"
done
grep -q 'Not all processes could be identified' /tmp/wanted-errors || {
    drop netstat -antp 2>&1 >/dev/null | grep -q 'Not all processes'
}
drop timeout -s INT 3 netstat-bpf -c -ant >/tmp/got 2>/tmp/errors || :
cat /tmp/errors
grep -q 'every round reads /proc' /tmp/errors
if drop netstat-bpf log >/tmp/got 2>/tmp/errors; then
    echo "log works without rights"
    exit 1
fi
cat /tmp/errors
test "$(wc -l </tmp/errors)" = 1
grep -q CAP_BPF /tmp/errors
