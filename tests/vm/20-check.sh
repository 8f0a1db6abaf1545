#: since 5.17
# The hooks of this kernel: the live table must work, and each rung that attaches is named.
set -eu
netstat-bpf check
for rung in tp_btf fentry kprobe; do
    netstat-bpf check | grep -q "^rung  *ok  minisocks  *$rung"
done
