# Without the rights for BPF: listings come from /proc, with netstat's bytes and its warning.
set -eu
. /scripts/lib.bash
serve 7051
WITH="setpriv --reuid 1000 --regid 1000 --clear-groups"
for options in -ant -antp -ante -anx; do
    same $options
done
same -antp
# In a guest without any process of that user the reference says the second.
grep -q -e 'Not all processes could be identified' -e 'No info could be read' \
    /tmp/before /tmp/before-errors
rescans
no_log CAP_BPF
