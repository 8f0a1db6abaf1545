#: since 5.17
# The hooks of this kernel: the live table must work, and each rung that attaches is named.
set -eu
netstat-bpf check >/tmp/check || { cat /tmp/check; exit 1; }
cat /tmp/check
for rung in tp_btf fentry kprobe; do
    grep -q "^rung  *ok  minisocks  *$rung" /tmp/check
done
