# The guest itself: without these, a failure further on would be blamed on the program.
set -eu
test -r /sys/kernel/btf/vmlinux
for type in bpf tracefs cgroup2; do
    grep -q " $type " /proc/mounts
done
netstat --version | head -n 1
ip -o link show lo
nc -l -p 7777 -e cat &
for try in 1 2 3 4 5 6 7 8 9 10; do
    netstat -ant | grep -q ':7777 .*LISTEN' && listens=yes && break
    sleep 0.2
done
kill $!
test "$listens" = yes
