#!/bin/busybox sh
# First process of a guest: mounts what the tests need, runs them, says how they ended, powers off.
# The words behind `--` on the kernel's command line are the names of the tests; GUEST_ROUNDS comes from there too.
busybox=/bin/busybox
$busybox --install -s /bin
export PATH=/bin HOME=/tmp FLAMEKEEPER_BIN=/flamekeeper CARGO_TARGET_DIR=/tmp/target
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs security /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmp /tmp
mkdir -p /var/cache
echo 1 >/proc/sys/kernel/printk
ifconfig lo up
read -r up _ </proc/uptime
echo "VM: kernel $(uname -r) $(uname -m) seconds=$up"
/bin/guest "$@"
echo "VM: exit $?"
poweroff -f
