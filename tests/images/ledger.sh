#!/bin/sh
# Puts the image recipe-ci/ledger:15 into the engine: recipe-ci/debian:12 (debian.sh, which is run first) with PostgreSQL
# 15, so that no registry is needed. Both services of the fixture `ledger` run from it.
#
# An image whose label tells the wanted content is left alone. --force builds it again.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

image=recipe-ci/ledger:15
label=recipe-ci.content
want=2-bookworm-pg15 # the number: count up when the tree below changes
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

"$here/debian.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The cluster that the package makes is never made. Removed is what a test never reads: PostgreSQL's own translations and
# the JIT compiler with its LLVM, a third of the whole (without its library PostgreSQL runs with no JIT).
cat >"$work/Dockerfile" <<'DOCKERFILE'
FROM recipe-ci/debian:12
RUN mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \
    && slim-install postgresql-15 \
    && rm -rf /usr/share/postgresql/15/man /usr/share/i18n \
        /usr/lib/postgresql/15/lib/llvmjit* /usr/lib/postgresql/15/lib/bitcode \
        /usr/lib/*/libLLVM* /usr/lib/llvm-* /usr/lib/*/libz3.so* \
    && mkdir -p /www && echo 15 >/version
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DOCKERFILE

say "building"
if ! DOCKER_BUILDKIT=0 docker build --network host --force-rm --label "$label=$want" --tag "$image" "$work" \
    >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    exit 3
fi
say "$image built ($want)"
