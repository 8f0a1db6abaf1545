#: before 5.17
# A kernel without bpf_loop: every listing is read from /proc, and says so where it matters.
set -eu
WITH=
. /scripts/lib.bash
if netstat-bpf check >/tmp/check; then
    echo "check says that the live table works here"
    cat /tmp/check
    exit 1
fi
cat /tmp/check
grep -q '^live table no' /tmp/check
# What is refused, and from when on it is not.
grep -q '^hook  *NO  refresh .*5\.17' /tmp/check
grep -q '^hook  *NO  iter_fds .*5\.17' /tmp/check
grep -q '^hook  *NO  walk .*6\.1 ' /tmp/check
grep -q '^hook  *NO  iter_udp ' /tmp/check
serve 7001
for options in -ant -antp -ante -anu -anx -antup; do
    same $options
done
rescans
grep -q '5\.17' /tmp/got-errors
