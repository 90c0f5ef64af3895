#!/bin/sh
# Puts images of real software into the engine: build.sh [--force] [NAME...], all of them when none is named.
#
# NAME is a folder beside this file: a Dockerfile on recipe-ci/debian:12 and an entry point that keeps the contract of
# the official image; `tags` names what it is called, a line for each: `IMAGE [ARGUMENT]`. Where there is a `fetch`, it
# is run on the host, as `fetch DIR ARGUMENT CACHE`, and puts what Debian does not have into DIR, which the build sees as
# `fetched/`: so no build needs the registries' certificates, and no image keeps them. CACHE lasts as long as this run.
#
# An image whose label tells the wanted content (a hash of the folder, of the base and of its argument) is left alone:
# a second run takes a second. An image of an official name that was not made here is never touched.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
label=recipe-ci.content
force=no
if [ "${1-}" = --force ]; then
    force=yes
    shift
fi
[ $# != 0 ] || set -- $(cd "$here" && for dir in */; do echo "${dir%/}"; done)

say() { printf 'real images: %s\n' "$*"; }
content_of() { docker image inspect --format "{{ index .Config.Labels \"$label\" }}" "$1" 2>/dev/null || echo absent; }

"$here/../../images/debian.sh"
base=$(content_of recipe-ci/debian:12)

work=$(mktemp -d)
mkdir "$work/cache"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

build() {
    name=$1 image=$2 argument=$3
    want=$({
        echo "$base $argument"
        cd "$here/$name"
        find . -type f | LC_ALL=C sort | xargs sha256sum
    } | sha256sum | cut -c 1-12)
    have=$(content_of "$image")
    case $have in
        "$want")
            if [ "$force" = no ]; then
                say "$image is there ($want)"
                return
            fi
            ;;
        absent) ;;
        '' | '<no value>')
            echo "real images: $image is here and was not made here; the tests need that name: docker image rm $image" >&2
            exit 3
            ;;
    esac
    begin=$(date +%s)
    context=$work/context
    rm -rf "$context"
    cp -R "$here/$name" "$context"
    mkdir "$context/fetched"
    if ! {
        { [ ! -f "$here/$name/fetch" ] || sh -eu "$here/$name/fetch" "$context/fetched" "$argument" "$work/cache"; } &&
            DOCKER_BUILDKIT=0 docker build --network host --force-rm --label "$label=$want" --build-arg "ARGUMENT=$argument" \
                --tag "$image" "$context"
    } >"$work/log" 2>&1; then
        tail -n 30 "$work/log" >&2
        echo "real images: $image cannot be built" >&2
        exit 3
    fi
    say "$image built ($want) in $(($(date +%s) - begin)) s"
}

for name; do
    [ -f "$here/$name/tags" ] || { echo "real images: there is no $name" >&2; exit 2; }
    while read -r image argument; do
        build "$name" "$image" "$argument"
    done <"$here/$name/tags"
done
