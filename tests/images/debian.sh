#!/bin/sh
# Puts the image recipe-ci/debian:12 into the engine: Debian 12 made with debootstrap, so that no registry is needed.
# The image of the fixture `ledger` (ledger.sh) and those of real software (../real/images/build.sh) stand on it, so a
# fresh machine debootstraps once.
#
# An image whose label tells the wanted content is left alone. --force builds it again. The packages come from the
# machine's own Debian mirror; DEBIAN_MIRROR overrides it.
set -eu

image=recipe-ci/debian:12
label=recipe-ci.content
want=1-bookworm # the number: count up when the tree below changes
force=no
case ${1-} in
    '') ;;
    --force) force=yes ;;
    *) echo "usage: debian.sh [--force]" >&2; exit 2 ;;
esac

say() { printf 'debian image: %s\n' "$*"; }

have=$(docker image inspect --format "{{ index .Config.Labels \"$label\" }}" "$image" 2>/dev/null || :)
if [ "$force" = no ] && [ "$have" = "$want" ]; then
    say "$image is there ($want)"
    exit 0
fi

if [ "$(id -u)" != 0 ]; then
    echo "debian image: debootstrap needs root" >&2
    exit 3
fi
if ! command -v debootstrap >/dev/null; then
    say "installing debootstrap"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq debootstrap >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq debootstrap >/dev/null; }
fi

# The first URI of the machine's apt sources, in either format, that is a Debian archive and not the security one.
mirror_of_this_machine() {
    for list in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$list" ] || continue
        sed -n -E -e 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p' \
            -e 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' "$list"
    done | grep -E '/debian/?$' | head -n 1
}
mirror=${DEBIAN_MIRROR:-$(mirror_of_this_machine)}
mirror=${mirror:-http://deb.debian.org/debian}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
tree=$work/tree

say "debootstrap of bookworm from $mirror"
if ! debootstrap --variant=minbase --include=busybox-static,ca-certificates,curl,gosu,procps,tini \
    bookworm "$tree" "$mirror" >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    exit 3
fi

# What no container reads, now and when the next image installs its packages.
rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/* "$tree"/var/log/* \
    "$tree"/usr/share/doc/* "$tree"/usr/share/man/* "$tree"/usr/share/info/* "$tree"/usr/share/locale/*
cat >"$tree/etc/dpkg/dpkg.cfg.d/slim" <<'CFG'
path-exclude /usr/share/doc/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
CFG
# No package starts its service in a build,, and dpkg syncs no file.
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"
echo force-unsafe-io >"$tree/etc/dpkg/dpkg.cfg.d/unsafe-io"
# What every image installs with: `slim-install PACKAGE...` leaves nothing of apt behind.
cat >"$tree/usr/local/bin/slim-install" <<'INSTALL'
#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
INSTALL
chmod 755 "$tree/usr/local/bin/slim-install"

say "importing"
tar -C "$tree" --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf - . |
    docker import --change "LABEL $label=$want" \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV LANG=C.UTF-8' --change 'CMD ["bash"]' \
        --message "recipe-ci: Debian 12" - "$image" >/dev/null
say "$image imported ($want)"
