#: boot security=selinux selinux=1 enforcing=0
# The column of -Z, in a kernel with SELinux and without a policy: every context is the kernel's.
set -eu
WITH=
. /scripts/lib.bash
grep -q selinux /sys/kernel/security/lsm
serve 7001
syslogd -n -O /tmp/syslog &
until [ -S /dev/log ]; do sleep 0.2; done
# Not mounted, then mounted without a configuration: not enabled.
same -antZ
mount -t selinuxfs selinuxfs /sys/fs/selinux
same -antZ
mkdir -p /etc/selinux
touch /etc/selinux/config
for options in -Z -tZp -antZ -antpZ -xZ -anxZp -anuZ -anepZ; do
    same $options
done
same -antpZ
grep -q 'tcp .*kernel' /tmp/got
