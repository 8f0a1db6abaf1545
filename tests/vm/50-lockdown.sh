#: boot lockdown=confidentiality
# Kernel memory may not be read: listings come from /proc, and log says what forbids it.
set -eu
WITH=
. /scripts/lib.bash
grep -q '\[confidentiality\]' /sys/kernel/security/lockdown
serve 7001
for options in -ant -antp -ante -anu -anx -antup; do
    same $options
done
rescans
grep -q lockdown /tmp/got-errors
no_log lockdown
if netstat-bpf check >/tmp/check; then
    echo "check says that the live table works under lockdown"
    exit 1
fi
cat /tmp/check
grep -q '^lockdown *NO' /tmp/check
