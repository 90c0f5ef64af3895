#!/bin/sh
# Puts the images recipe-ci/notes:1 and recipe-ci/notes:2 into the engine: one static busybox, imported from a tarball,
# so that no registry is needed. `recipe-ci demo` does the same in Rust; keep the tree, the label and its value in step.
#
# An image whose label tells the wanted content is left alone. --force builds it again.
set -eu

label=recipe-ci.content
layout=1 # part of the label: count up when the tree below changes
force=no
case ${1-} in
    '') ;;
    --force) force=yes ;;
    *) echo "usage: notes.sh [--force]" >&2; exit 2 ;;
esac

say() { printf 'notes image: %s\n' "$*"; }

is_static() {
    [ -x "$1" ] && ! LC_ALL=C ldd "$1" >/dev/null 2>&1
}

busybox=
for path in /bin/busybox /usr/bin/busybox; do
    if is_static "$path"; then busybox=$path; break; fi
done
if [ -z "$busybox" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "notes image: no static busybox here; as root: apt-get install busybox-static" >&2
        exit 3
    fi
    say "installing busybox-static"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq busybox-static >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq busybox-static >/dev/null; }
    busybox=/bin/busybox
fi

sum=$(sha256sum "$busybox")
sum=$(printf %.12s "$sum")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for tag in 1 2; do
    image=recipe-ci/notes:$tag
    want=$layout-$tag-$sum
    have=$(docker image inspect --format "{{ index .Config.Labels \"$label\" }}" "$image" 2>/dev/null || :)
    if [ "$force" = no ] && [ "$have" = "$want" ]; then
        say "$image is there ($want)"
        continue
    fi

    tree=$work/$tag
    mkdir -p "$tree/bin" "$tree/etc" "$tree/tmp" "$tree/www" "$tree/data"
    chmod 1777 "$tree/tmp"
    cp "$busybox" "$tree/bin/busybox"
    chmod 755 "$tree/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
    done
    echo 'root:x:0:0:root:/:/bin/sh' >"$tree/etc/passwd"
    echo "$tag" >"$tree/version"

    tar -C "$tree" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1704067200 -cf - . |
        docker import --change "LABEL $label=$want" --change 'ENV PATH=/bin' --change 'CMD ["sh"]' \
            --message "recipe-ci: static busybox" - "$image" >/dev/null
    say "$image imported ($want)"
done
