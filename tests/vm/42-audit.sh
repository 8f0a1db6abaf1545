#: since 6.1
# The live table, /proc and the kernel's hash tables agree, in two network namespaces.
set -eu
. /scripts/lib.bash
serve 7042
unshare -n sh -c 'ip link set lo up; exec nc -ll -p 7043 -e cat' &
sleep 1
netstat-bpf audit
kill $!
