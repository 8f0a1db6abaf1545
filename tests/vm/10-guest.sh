# The guest itself: without these, a failure further on would be blamed on the program.
set -eu
test -r /sys/kernel/btf/vmlinux
for type in bpf tracefs cgroup2; do
    grep -q " $type " /proc/mounts
done
netstat --version | head -n 1 | grep net-tools
ip -o link show lo | grep -q UP
