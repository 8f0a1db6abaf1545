#: boot lockdown=confidentiality
# Kernel memory may not be read: listings come from /proc, and log says what forbids it.
set -eu
grep -q '\[confidentiality\]' /sys/kernel/security/lockdown
nc -ll -p 7001 -e cat &
until netstat -ant | grep -q ':7001 .*LISTEN'; do sleep 0.2; done
exec 10<>/dev/tcp/127.0.0.1/7001
sleep 1
for options in -ant -antp -ante -anu -anx -antup; do
    netstat $options >/tmp/wanted 2>/tmp/wanted-errors
    netstat-bpf $options >/tmp/got 2>/tmp/got-errors
    cmp /tmp/wanted /tmp/got
    cmp /tmp/wanted-errors /tmp/got-errors
    echo "same: $options, $(wc -l </tmp/got) lines"
done
timeout -s INT 3 netstat-bpf -c -ant >/tmp/got 2>/tmp/errors || :
cat /tmp/errors
test "$(grep -c 'every round reads /proc' /tmp/errors)" = 1
grep -q lockdown /tmp/errors
awk '/^Active/ { n++ } n == 1' /tmp/got | tail -n +3 | sort >/tmp/first
netstat -ant | tail -n +3 | sort | cmp - /tmp/first
if netstat-bpf log >/tmp/got 2>/tmp/errors; then
    echo "log works under lockdown"
    exit 1
fi
cat /tmp/errors
test "$(wc -l </tmp/errors)" = 1
grep -q lockdown /tmp/errors
if netstat-bpf check >/tmp/check; then
    echo "check says that the live table works under lockdown"
    exit 1
fi
cat /tmp/check
grep -q '^lockdown *NO' /tmp/check
