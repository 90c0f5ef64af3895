# The room of CI's own engine: `enter` makes its control groups and namespaces, `build` what is in them, `leave` takes
# from the host what outlives them.
#
# ROOM        this text
# ROOM_DIR    the engine's directory
# ROOM_GROUP  its control group, below the root of each tree
# ROOM_ELSEWHERE   addresses that are not the internet's
# ROOM_MEMORY, ROOM_PIDS, ROOM_CPUS, ROOM_DISK   ceilings: bytes, processes, hundredths of a core (0: as many as there
#             are), bytes (0: as many as there are)
# ROOM_KEEP   1 where its data outlives it
set -eu
BLANKS=$IFS

# Everything of an engine's lies in a block of 198.18.0.0/16, which is for measurements of networks and routed nowhere
# (RFC 2544): .0/30 between host and engine, .1.0/24 its bridge, .2.0/23 its docker_gwbridge.
BLOCKS=64

die() {
    echo "room: $*" >&2
    exit 1
}

# Prints where control groups are mounted, a tree a line: `VERSION CONTROLLERS MOUNT`.
trees() {
    while read -r _ _ _ _ mount rest; do
        case $rest in
        *' - cgroup2 '*) echo "2 all $mount" ;;
        *' - cgroup '*)
            names=
            IFS=,
            for option in ${rest##* }; do
                case $option in
                rw | ro | xattr | nsdelegate | release_agent=*) ;;
                *) names=$names,$option ;;
                esac
            done
            IFS=$BLANKS
            echo "1 ${names#,} $mount"
            ;;
        esac
    done </proc/self/mountinfo | sort -u -k 1,2
}

# What a privileged container asks for beyond these it does not get: no disk of the host's can be opened.
DEVICES='c *:* m
b *:* m
c 1:3 rwm
c 1:5 rwm
c 1:7 rwm
c 1:8 rwm
c 1:9 rwm
c 5:0 rwm
c 5:1 rwm
c 5:2 rwm
c 136:* rwm
c 10:200 rwm'

enter_groups() {
    capped=
    while read -r version names mount; do
        group=$mount/$ROOM_GROUP
        mkdir -p "$group"
        case ,$names, in
        *,devices,*)
            echo a >"$group/devices.deny"
            [ -z "$ROOM_LOOP" ] || echo "b 7:${ROOM_LOOP#/dev/loop} rw" >"$group/devices.allow"
            echo "$DEVICES" | while read -r device; do echo "$device" >"$group/devices.allow"; done
            ;;
        esac
        # The ceilings are on the outer one: what an engine can name begins at the inner one, and can raise nothing.
        mkdir -p "$group/room"
        if [ "$version" = 2 ]; then
            for dir in "$mount" "${group%/*}" "$group"; do
                for name in cpu memory pids io cpuset; do
                    echo "+$name" >"$dir/cgroup.subtree_control" 2>/dev/null || :
                done
            done
        fi
        case ,$names, in
        *,cpuset,*)
            for dir in "${group%/*}" "$group" "$group/room"; do
                for file in cpuset.cpus cpuset.mems; do
                    read -r is <"$dir/$file" || :
                    [ -n "$is" ] || { read -r is <"${dir%/*}/$file" && echo "$is" >"$dir/$file"; }
                done
            done
            ;;
        esac
        for file in memory.limit_in_bytes memory.max; do
            [ ! -e "$group/$file" ] || { echo "$ROOM_MEMORY" >"$group/$file" && capped=$capped:memory; }
        done
        [ ! -e "$group/pids.max" ] || { echo "$ROOM_PIDS" >"$group/pids.max" && capped=$capped:pids; }
        # Half of what anything else gets, where both want all of it.
        [ ! -e "$group/cpu.shares" ] || echo 512 >"$group/cpu.shares"
        [ ! -e "$group/cpu.weight" ] || echo 50 >"$group/cpu.weight"
        if [ "$ROOM_CPUS" != 0 ]; then
            [ ! -e "$group/cpu.cfs_quota_us" ] || echo "${ROOM_CPUS}000" >"$group/cpu.cfs_quota_us"
            [ ! -e "$group/cpu.max" ] || echo "${ROOM_CPUS}000 100000" >"$group/cpu.max"
        fi
        echo $$ >"$group/room/cgroup.procs"
    done <<END
$ROOM_TREES
END
    case $capped in
    *memory*pids* | *pids*memory*) ;;
    *) die "this host has no control groups that limit memory and processes" ;;
    esac
}

# A file system of its own is what its data cannot outgrow. It is a sparse file: what nobody has written takes no room.
disk() {
    ROOM_LOOP=
    [ "$ROOM_DISK" = 0 ] && return
    file=$ROOM_DIR/disk
    if [ ! -e "$file" ]; then
        truncate -s "$ROOM_DISK" "$file.new"
        # Of data that ends with the engine nothing has to be put in order after a crash.
        journal='-J size=16'
        [ "$ROOM_KEEP" = 1 ] || journal='-O ^has_journal'
        # shellcheck disable=SC2086 # two words
        mkfs.ext4 -q -F -m 0 $journal -E lazy_itable_init=1,nodiscard "$file.new"
        mv "$file.new" "$file"
    fi
    ROOM_LOOP=$(losetup --find --show "$file") || die "this host has no loop device for \`$file\`: \`--disk none\` does without"
}

# Mounts the data, and leaves the device to nobody else. It goes with the last mount of it.
mount_disk() {
    [ -n "$ROOM_LOOP" ] || return 0
    options=noinit_itable,discard
    [ "$ROOM_KEEP" = 1 ] || options=$options,nobarrier
    mount -o $options "$ROOM_LOOP" "$ROOM_DIR/data"
    losetup --detach "$ROOM_LOOP"
    while read -r _ names mount; do
        case ,$names, in
        *,devices,*) echo "b 7:${ROOM_LOOP#/dev/loop} rw" >"$mount/$ROOM_GROUP/devices.deny" ;;
        esac
    done <<END
$ROOM_TREES
END
}

enter() {
    for program in flock unshare nsenter ip iptables iptables-restore setpriv losetup mkfs.ext4 dockerd; do
        command -v $program >/dev/null || die "\`$program\` is not on PATH"
    done
    leave
    ROOM_TREES=$(trees)
    export ROOM_TREES
    mkdir -p "$ROOM_DIR/root" "$ROOM_DIR/data" "$ROOM_DIR/socket"
    rm -f "$ROOM_DIR/socket/docker.sock"
    disk
    export ROOM_LOOP
    enter_groups
    # The way back to the host's network; it is closed before the daemon is there.
    exec 9</proc/self/ns/net
    exec unshare --fork --kill-child=KILL --pid --mount --net --uts --ipc --cgroup --propagation private \
        /bin/sh -c 'eval "$ROOM"' room build
}

on_host() {
    nsenter --net=/proc/self/fd/9 "$@"
}

# Whether nothing on the host has an address or a route in block $1, and no way to it but the default one.
is_free() {
    block=198.18.$(($1 * 4)).0/22
    [ -z "$(on_host ip -4 route show table all root "$block")" ] &&
        [ -z "$(on_host ip -4 route show match "$block" | grep -v '^default' || :)" ]
}

# Links and their rules are made and taken back by one engine at a time: of a name that is free the rules are nobody's.
lock_links() {
    exec 8>/run/recipe-ci-links.lock
    flock 8
}

connect() {
    lock_links
    # Each begins somewhere else, so that one that comes back finds its own free: with another it loses its Swarm.
    number=$(cat "$ROOM_DIR/block" 2>/dev/null || echo $((0x${ROOM_GROUP##*-} % BLOCKS)))
    tried=0
    # The name of the link is taken by one engine only: the kernel refuses a second one.
    until is_free "$number" && on_host ip link add "rci$number" type veth peer name eth0 netns $$ 2>/dev/null; do
        tried=$((tried + 1))
        [ $tried -lt $BLOCKS ] || die "no block of 198.18.0.0/16 is free on this host, or it makes no veth link"
        number=$(((number + 1) % BLOCKS))
    done
    echo "$number" >"$ROOM_DIR/block"
    link=rci$number
    third=$((number * 4))
    on_host ip link set "$link" alias "$ROOM_GROUP"
    ip link set lo up
    echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6 2>/dev/null || :
    on_host sh -c "echo 1 >/proc/sys/net/ipv6/conf/$link/disable_ipv6" 2>/dev/null || :
    host_rules "$link" "$third" | on_host iptables-restore -n -w
    exec 8>&-
    ip address add 198.18.$third.2/30 dev eth0
    ip link set eth0 up
    on_host ip address add 198.18.$third.1/30 dev "$link"
    on_host ip link set "$link" up
    ip route add default via 198.18.$third.1
    on_host ip route add 198.18.$((third + 2)).0/23 via 198.18.$third.2
    # The harness asks containers at their addresses, and nobody else has a way to them. Overlay networks stay closed to
    # containers: docs/security.md.
    iptables-restore -n -w <<END
*filter
:DOCKER-USER - [0:0]
-A DOCKER-USER -i eth0 -s 198.18.$third.1 -j ACCEPT
-A DOCKER-USER -i docker_gwbridge -p udp --dport 4789 -j DROP
-A INPUT -i docker_gwbridge -p udp --dport 4789 -j DROP
COMMIT
END
}

# The engine begins no connection to an address of the host's or of its networks. In `mangle`, which comes before every
# rule of Docker's: those of a published port lead past the filter's.
host_rules() {
    echo '*mangle'
    echo ":$1 - [0:0]"
    echo "-A $1 -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"
    echo "-A $1 -m addrtype --dst-type LOCAL -j DROP"
    for server in $(nameservers); do
        echo "-A $1 -p udp -d $server --dport 53 -j RETURN"
        echo "-A $1 -p tcp -d $server --dport 53 -j RETURN"
    done
    # Where the host itself is, in whatever range.
    for range in $ROOM_ELSEWHERE $(on_host ip -4 route show scope link | cut -d ' ' -f 1); do
        echo "-A $1 -d $range -j DROP"
    done
    echo "-I PREROUTING -i $1 -j $1"
    # Nobody but the host itself begins one to the engine: what Docker's bridges send there bears the host's address.
    echo "-I FORWARD -o $1 -m conntrack --ctstate NEW -j DROP"
    echo COMMIT
    echo '*filter'
    echo "-I FORWARD -i $1 -j ACCEPT"
    echo "-I FORWARD -o $1 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    echo COMMIT
    echo '*nat'
    echo "-I POSTROUTING -s 198.18.$2.0/22 ! -o $1 -j MASQUERADE"
    echo COMMIT
}

# Takes back what does not go with the namespaces: empty control groups, and the rules of this engine's last block.
leave() {
    trees | while read -r _ _ mount; do
        [ ! -d "$mount/$ROOM_GROUP" ] || find "$mount/$ROOM_GROUP" -depth -type d -exec rmdir {} + 2>/dev/null || :
        rmdir "$mount/${ROOM_GROUP%/*}" 2>/dev/null || :
    done
    # One that was killed before it had mounted it.
    [ ! -e "$ROOM_DIR/disk" ] || losetup --associated "$ROOM_DIR/disk" --output NAME --noheadings |
        while read -r loop; do losetup --detach "$loop"; done
    number=$(cat "$ROOM_DIR/block" 2>/dev/null) || return 0
    link=rci$number
    lock_links
    # Another engine may have taken the name since; its rules are its own.
    owner=$(cat "/sys/class/net/$link/ifalias" 2>/dev/null || echo "$ROOM_GROUP")
    if [ "$owner" = "$ROOM_GROUP" ]; then
        leave_rules
    fi
    exec 8>&-
}

leave_rules() {
    while iptables -w -t mangle -D PREROUTING -i "$link" -j "$link" 2>/dev/null; do :; done
    iptables -w -t mangle -F "$link" 2>/dev/null || :
    iptables -w -t mangle -X "$link" 2>/dev/null || :
    while iptables -w -t mangle -D FORWARD -o "$link" -m conntrack --ctstate NEW -j DROP 2>/dev/null; do :; done
    while iptables -w -D FORWARD -i "$link" -j ACCEPT 2>/dev/null; do :; done
    while iptables -w -D FORWARD -o "$link" -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT 2>/dev/null; do :; done
    while iptables -w -t nat -D POSTROUTING -s "198.18.$((number * 4)).0/22" ! -o "$link" -j MASQUERADE 2>/dev/null; do
        :
    done
}

# A resolver on the host's own loopback is another one's in here.
resolv_conf() {
    for file in /run/systemd/resolve/resolv.conf /etc/resolv.conf; do
        [ -r "$file" ] && grep -v '^nameserver *\(127\.\|::1\)' "$file" && return
    done
    :
}

nameservers() {
    resolv_conf | sed -n 's/^nameserver *\([0-9.]*\)$/\1/p'
}

read_only() {
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    mount -o remount,bind,ro,nodev "$root$1"
}

programs() {
    read_only /usr
    case $(readlink -f "$(command -v dockerd)") in
    /usr/local/*) ;;
    /usr/*) mount -t tmpfs -o ro,size=4k tmpfs "$root/usr/local" ;;
    /nix/store/*) read_only /nix/store ;;
    *) die "$(command -v dockerd) is not below /usr" ;;
    esac
    for dir in /bin /sbin /lib /lib32 /lib64 /libx32; do
        if [ -L $dir ]; then
            cp -P $dir "$root$dir"
        elif [ -d $dir ]; then
            read_only $dir
        fi
    done
}

# Nothing is bound here: what an engine needs is little, and keys lie beside it.
etc() {
    mkdir -p "$root/etc/ssl/certs" "$root/etc/docker"
    cp -a /etc/alternatives "$root/etc/" 2>/dev/null || :
    for file in /etc/ld.so.cache /etc/nsswitch.conf /etc/protocols /etc/services /etc/ethertypes /etc/os-release \
        /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        [ -r "$file" ] || continue
        mkdir -p "$root${file%/*}"
        cp -L "$file" "$root$file"
    done
    resolv_conf >"$root/etc/resolv.conf"
    echo recipe-ci >"$root/etc/hostname"
    echo '127.0.0.1 localhost recipe-ci' >"$root/etc/hosts"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    # Who may use the operator's engine may use this one.
    grep '^docker:' /etc/group >>"$root/etc/group" || :
    mount -t tmpfs -o size=1m,mode=700 tmpfs "$root/etc/docker"
}

kernel() {
    mkdir -p "$root/proc" "$root/sys" "$root/dev"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    # What is written there is about the whole host: `core_pattern` names a program that the kernel starts outside.
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
    mount -o remount,bind,rw "$root/proc/sys/net"
    for file in sysrq-trigger kcore kmsg keys; do
        [ ! -e "$root/proc/$file" ] || mount --bind /dev/null "$root/proc/$file"
    done
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
    mount -t tmpfs -o mode=755,size=1m tmpfs "$root/sys/fs/cgroup"
    while read -r version names mount; do
        at=$root/sys/fs/cgroup/${mount##*/}
        [ "$mount" != /sys/fs/cgroup ] || at=$root/sys/fs/cgroup
        mkdir -p "$at"
        # Mounted anew, they begin at this engine's own groups.
        if [ "$version" = 1 ]; then
            mount -t cgroup -o "$names" cgroup "$at"
        else
            mount -t cgroup2 cgroup2 "$at"
            if grep -q memory "$at/cgroup.controllers"; then
                # A group with processes of its own gives its children nothing.
                mkdir -p "$at/init"
                for pid in $(cat "$at/cgroup.procs"); do echo "$pid" >"$at/init/cgroup.procs" 2>/dev/null || :; done
                sed 's/ / +/g; s/^/+/' "$at/cgroup.controllers" >"$at/cgroup.subtree_control"
            fi
        fi
    done <<END
$ROOM_TREES
END
    mount -t tmpfs -o mode=755,size=1m,nosuid tmpfs "$root/dev"
    cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$root/dev/"
    mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev tmpfs "$root/dev/shm"
    mount -t mqueue mqueue "$root/dev/mqueue"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
}

build() {
    hostname recipe-ci
    connect
    exec 9<&-
    root=$ROOM_DIR/root
    mount -t tmpfs -o mode=755,size=16m tmpfs "$root"
    programs
    etc
    kernel
    mkdir -p "$root/run" "$root/tmp" "$root/root" "$root/var/lib/docker" "$root/old"
    ln -s /run "$root/var/run"
    mount -t tmpfs -o mode=755,size=64m,nosuid,nodev tmpfs "$root/run"
    mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev tmpfs "$root/tmp"
    mkdir "$root/run/ci"
    mount_disk
    mount --bind "$ROOM_DIR/data" "$root/var/lib/docker"
    mount --bind "$ROOM_DIR/socket" "$root/run/ci"
    cd "$root"
    pivot_root . old
    umount -l /old
    rmdir /old
    mount -o remount,ro /
    unset ROOM
    # Without the variable Swarm asks the registry for the image before each task, also for one that is there.
    DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1 setpriv --bounding-set=-sys_module,-sys_rawio,-sys_boot \
        dockerd --log-level warn --data-root /var/lib/docker --exec-root /run/docker --pidfile /run/docker.pid \
        -H unix:///run/docker.sock -H unix:///run/ci/docker.sock \
        --bip 198.18.$((third + 1)).1/24 --default-address-pool base=198.19.0.0/17,size=24 &
    # The first process of the namespace; waiting reaps whatever comes back to it, and its end ends them all.
    wait $! || exit $?
}

exec >>"$ROOM_DIR/log" 2>&1
"$1"
