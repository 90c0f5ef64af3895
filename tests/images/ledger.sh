#!/bin/sh
# Puts the image recipe-ci/ledger:15 into the engine: Debian 12 with PostgreSQL 15 and a static busybox, made with
# debootstrap, so that no registry is needed. Both services of the fixture `ledger` run from it.
#
# An image whose label tells the wanted content is left alone. --force builds it again. The packages come from the
# machine's own Debian mirror; DEBIAN_MIRROR overrides it.
set -eu

image=recipe-ci/ledger:15
label=recipe-ci.content
want=1-bookworm-pg15 # the number: count up when the tree below changes
force=no
case ${1-} in
    '') ;;
    --force) force=yes ;;
    *) echo "usage: ledger.sh [--force]" >&2; exit 2 ;;
esac

say() { printf 'ledger image: %s\n' "$*"; }

have=$(docker image inspect --format "{{ index .Config.Labels \"$label\" }}" "$image" 2>/dev/null || :)
if [ "$force" = no ] && [ "$have" = "$want" ]; then
    say "$image is there ($want)"
    exit 0
fi

if [ "$(id -u)" != 0 ]; then
    echo "ledger image: debootstrap needs root" >&2
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
if ! debootstrap --variant=minbase --include=postgresql-15,busybox-static bookworm "$tree" "$mirror" \
    >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    exit 3
fi

# What a test never reads: package lists and archives, documentation, translations, the cluster that the package made,
# and the JIT compiler with its LLVM, a third of the whole (without its library PostgreSQL runs with no JIT).
say "removing what no test reads"
rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/* "$tree"/var/log/* \
    "$tree"/usr/share/doc/* "$tree"/usr/share/man/* "$tree"/usr/share/info/* "$tree"/usr/share/locale/* \
    "$tree"/usr/share/postgresql/15/man "$tree"/usr/share/i18n \
    "$tree"/var/lib/postgresql/15 "$tree"/etc/postgresql/15 \
    "$tree"/usr/lib/postgresql/15/lib/llvmjit* "$tree"/usr/lib/postgresql/15/lib/bitcode \
    "$tree"/usr/lib/*/libLLVM* "$tree"/usr/lib/llvm-* "$tree"/usr/lib/*/libz3.so*
mkdir -p "$tree/www"
echo 15 >"$tree/version"

say "importing"
tar -C "$tree" --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf - . |
    docker import --change "LABEL $label=$want" \
        --change 'ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV LANG=C.UTF-8' --change 'CMD ["bash"]' \
        --message "recipe-ci: Debian 12 with PostgreSQL 15" - "$image" >/dev/null
say "$image imported ($want)"
