# Without the rights for BPF: listings come from /proc, with netstat's bytes and its warning.
set -eu
. /scripts/lib.bash
serve 7051
WITH="setpriv --reuid 1000 --regid 1000 --clear-groups"
for options in -ant -antp -ante -anx; do
    same $options
done
same -antp
grep -q 'Not all processes could be identified' /tmp/before /tmp/before-errors
rescans
no_log CAP_BPF
