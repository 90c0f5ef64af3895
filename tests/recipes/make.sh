#!/bin/sh
# Builds the git repository of one fixture, of this directory or of RECIPES: make.sh NAME DEST
#
# Every version directory becomes a commit with an annotated tag of that name, `head` the last commit with no tag.
# README.md tells the layout. Same input, same commit ids: authors, dates and modes are fixed, and no git configuration
# of the user or the machine is read.
set -eu

[ $# = 2 ] || { echo "usage: make.sh NAME DEST" >&2; exit 2; }
name=$1
dest=$2
here=${RECIPES:-$(CDPATH="" cd -- "$(dirname -- "$0")" && pwd)}
fixture=$here/$name
[ -f "$fixture/fixture.json" ] || { echo "make.sh: no fixture $name" >&2; exit 2; }
[ ! -e "$dest" ] || { echo "make.sh: $dest exists" >&2; exit 2; }

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=recipe-ci GIT_AUTHOR_EMAIL=recipe-ci@localhost
export GIT_COMMITTER_NAME=recipe-ci GIT_COMMITTER_EMAIL=recipe-ci@localhost
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
umask 022

# The value of a key of fixture.json that stands alone on its line: "key": "text" or "key": ["a", "b"].
value_of() {
    sed -n "s/^ *\"$1\": *\[*\([^]]*[^],]\)\]*,*\$/\1/p" "$fixture/fixture.json" | tr -d '",'
}

base=$(value_of derive_from)
versions=$(value_of versions)
if [ -z "$versions" ]; then
    # By version; `head` sorts behind every digit.
    versions=$(
        for dir in "$fixture"/*/ ${base:+"$here/$base"/*/}; do
            [ ! -d "$dir" ] || basename "$dir"
        done | LC_ALL=C sort -u -V
    )
fi

mkdir -p "$dest"
dest=$(CDPATH='' cd -- "$dest" && pwd)
git -c init.defaultBranch=main init -q "$dest"

day=0
for version in $versions; do
    find "$dest" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
    under=${base:+"$here/$base/$version"}
    if [ -f "$fixture/$version/.base" ]; then
        under=$here/$(cat "$fixture/$version/.base")
    fi
    for layer in ${under:+"$under"} "$fixture/$version"; do
        [ -d "$layer" ] || continue
        if [ -f "$layer/.remove" ]; then
            while IFS= read -r path; do rm -r "${dest:?}/$path"; done <"$layer/.remove"
        fi
        cp -R "$layer/." "$dest"
        rm -f "$dest/.base" "$dest/.remove"
        if [ -f "$dest/.patch" ]; then
            mv "$dest/.patch" "$dest/.git/recipe-ci.patch"
            (cd "$dest" && git apply .git/recipe-ci.patch)
        fi
    done

    day=$((day + 1))
    when="2024-01-0${day}T12:00:00+00:00"
    export GIT_AUTHOR_DATE="$when" GIT_COMMITTER_DATE="$when"
    if [ "$version" = head ]; then
        message="Propose the next version"
    else
        message="chore: publish $version release"
    fi
    git -C "$dest" -c core.autocrlf=false add -A -f
    git -C "$dest" commit -q --allow-empty --no-gpg-sign -m "$message"
    [ "$version" = head ] || git -C "$dest" tag -a --no-sign -m "$message" "$version"
done
