# What a distribution's start makes ready, as far as tests need it; the command that is tried follows, and `finish` ends the machine.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
exec </dev/null >/dev/ttyS1 2>&1
finish() {
    printf "\\x$(printf %x "$1")" | dd of=/dev/port bs=1 seek=$((0xf4)) status=none
}
stty -F /dev/ttyS1 raw
mkdir -p /dev/shm /dev/pts /dev/net
mount -t sysfs sys /sys
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup
# Opening it loads its module.
mknod /dev/net/tun c 10 200
ip link set lo up
echo "kernel $(uname -r), started in $(cut -d ' ' -f 1 /proc/uptime) s"
