#: boot security=selinux selinux=1 enforcing=0
# The column of -Z, in a kernel with SELinux and without a policy: every context is the kernel's.
set -eu
grep -q selinux /sys/kernel/security/lsm
mkdir -p /sys/fs/selinux
mount -t selinuxfs selinuxfs /sys/fs/selinux
nc -ll -p 7001 -e cat &
syslogd -n -O /tmp/syslog &
until netstat -ant | grep -q ':7001 .*LISTEN'; do sleep 0.2; done
exec 10<>/dev/tcp/127.0.0.1/7001
sleep 1
cat /proc/self/attr/current
echo
failed=0
for options in -Z -tZp -antZ -antpZ -xZ -anxZp -anuZ -anepZ; do
    status=0
    netstat $options >/tmp/wanted 2>/tmp/wanted-errors || status=$?
    got=0
    netstat-bpf $options >/tmp/got 2>/tmp/got-errors || got=$?
    if test $status = $got && cmp -s /tmp/wanted /tmp/got && cmp -s /tmp/wanted-errors /tmp/got-errors; then
        echo "same: $options, status $status, $(wc -l </tmp/got) lines"
    else
        echo "differs: $options, status $status and $got"
        diff /tmp/wanted /tmp/got || :
        diff /tmp/wanted-errors /tmp/got-errors || :
        failed=1
    fi
done
netstat -antpZ | tail -n 3
exit $failed
