#: before 5.17
# A kernel without bpf_loop: every listing is read from /proc, and says so where it matters.
set -eu
if netstat-bpf check >/tmp/check; then
    echo "check says that the live table works here"
    cat /tmp/check
    exit 1
fi
cat /tmp/check
grep -q '^live table no' /tmp/check
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
netstat -ant | tail -n +3 | sort >/tmp/wanted
timeout -s INT 3 netstat-bpf -c -ant >/tmp/got 2>/tmp/errors || :
cat /tmp/errors
grep -q 'every round reads /proc' /tmp/errors
# The first round is whole: the second repeats its heading.
awk '/^Active/ { n++ } n == 1' /tmp/got | tail -n +3 | sort | cmp /tmp/wanted -
