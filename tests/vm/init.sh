#!/bin/sh
# The first process of a guest; uml.py is the other side of it. The kernel puts guest_exchange, a folder of the host,
# in its environment. It ends, and the guest with it, when the host closes its end of tty2.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
modules=/usr/lib/uml/modules/$(uname -r)
exchange=/run/exchange

die() {
    echo "init: $1" >/dev/console
    /usr/bin/busybox poweroff -f
}

if [ "$1" != inside ]; then
    # The host's root is mounted, read-only. Changes go to memory; only after pivot_root the kernel finds modprobe and
    # its modules in what it takes for /, and loads on demand.
    mount -t proc proc /proc
    insmod "$modules/kernel/fs/overlayfs/overlay.ko" || die "no overlay module"
    mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work /mnt/root &&
        mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root &&
        cd /mnt/root && mkdir -p .host && pivot_root . .host || die "no copy-on-write root"
    exec chroot . /bin/sh "$0" inside
fi

# The mounts of the first half went with the old root.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns "$exchange"
# sync: the host reads the output of a command while it runs.
mount -t hostfs -o "sync,$guest_exchange" none "$exchange" || die "cannot mount the host's folder"
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$modules" "/lib/modules/$(uname -r)" || die "no modules"
mount --make-rshared /
# Nothing asks for it on demand but a socket: an address that is set before is refused. Other kernels have it built in.
modprobe ipv6 || die "no IPv6"
hostname "$guest_name"
ip link set lo up
ulimit -Hn 65536

exec 3<>/dev/tty2 || die "no control line"
stty raw -echo <&3
echo ready >&3
# Commands run side by side; each says its number and exit status when it is done.
while read -r number <&3; do
    (
        /bin/sh "$exchange/$number.sh" >"$exchange/$number.out" 2>"$exchange/$number.err" </dev/null 3>&-
        echo "$number $?" >&3
    ) &
done
exec /usr/bin/busybox poweroff -f
