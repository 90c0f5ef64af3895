#!/bin/sh
# The steps of a `recipe-ci run` with docker alone: plain.sh REPO NAME STACK-DOMAIN
#
# The other side of the benchmark, for the fixtures `notes` and `ledger`: what somebody who knows Docker writes
# without this project. Waiting is asking once a second. It knows the two recipes (what to save, which hooks), where
# the harness reads that from the recipe; the recipe's own tests run on both sides, here over a stand-in for
# `recipe-ci app`. stdout is one JSON object: milliseconds by phase.
#
# It does less than the harness where that costs a script too much: no lock, no report, no look for secrets in logs,
# no digest of the backup, no leak audit beyond what it removed, no clean-up when it is interrupted.
set -eu

[ $# = 3 ] || { echo "usage: plain.sh REPO NAME DOMAIN" >&2; exit 2; }
repo=$1 name=$2 DOMAIN=$3
STACK_NAME=$(printf %s "$DOMAIN" | tr . _)
LETS_ENCRYPT_ENV=
export DOMAIN STACK_NAME LETS_ENCRYPT_ENV
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
limit=120

case $name in
    notes) main=app volume_service=app volume_dir=/data saved=data hook='' seeds=yes ;;
    ledger) main=app volume_service=db volume_dir=/var/lib/postgresql/data saved=backup.sql hook=/pg_backup.sh seeds='' ;;
    *) echo "plain.sh: knows notes and ledger, not $name" >&2; exit 2 ;;
esac
case $saved in
    data) saved_path=$volume_dir saved_parent=/ ;;
    *) saved_path=$volume_dir/$saved saved_parent=$volume_dir ;;
esac

die() {
    echo "plain.sh: $*" >&2
    exit 1
}

# --- time ---------------------------------------------------------------------------------------------------

now() { date +%s%3N; }
json='' lap=$(now) start=$lap
phase() { # NAME: what passed since the last one
    t=$(now)
    json="$json${json:+, }\"$1\": $((t - lap))"
    lap=$t
}

until_or_die() { # WHAT COMMAND...: asks once a second
    what=$1 tries=$limit
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "$what: not after $limit s"
        sleep 1
    done
}

# --- docker -------------------------------------------------------------------------------------------------

container() { # SERVICE: its newest running container
    docker ps -q --no-trunc --filter "label=com.docker.swarm.service.name=${STACK_NAME}_$1" --filter status=running | head -n 1
}

address() { # CONTAINER, on the bridge that the host has a leg on
    docker network inspect docker_gwbridge -f "{{with index .Containers \"$1\"}}{{.IPv4Address}}{{end}}" | cut -d/ -f1
}

# Every service has as many tasks as it should; a task counts once its healthcheck passes.
all_up() {
    docker stack services "$STACK_NAME" --format '{{.Replicas}}' |
        awk -F'[/ ]' '{ n++; if ($1 != $2) bad = 1 } END { exit !n || bad }'
}

serves() {
    c=$(container "$main")
    [ -n "$c" ] || return 1
    ip=$(address "$c")
    [ -n "$ip" ] || return 1
    case $(curl -s -o /dev/null -m 10 -H "Host: $DOMAIN" -w '%{http_code}' "http://$ip:8080/") in
        200 | 301 | 302) ;;
        *) return 1 ;;
    esac
}

updated() { # SERVICE
    case $(docker service inspect "${STACK_NAME}_$1" -f '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}') in
        completed) ;;
        rollback* | paused) die "the update of $1 failed" ;;
        *) return 1 ;;
    esac
}

up_and_serving() { all_up && serves; }
moved() { updated "$main" && all_up && serves; }

make_secrets() {
    sed -n 's/^SECRET_\([A-Z_]*\)_VERSION=\([a-z0-9]*\).*/\1 \2/p' .env.sample | tr '[:upper:]' '[:lower:]' >"$work/secrets"
    while read -r secret version; do
        full=${STACK_NAME}_${secret}_$version
        docker secret inspect "$full" >/dev/null 2>&1 && continue
        head -c 200 /dev/urandom | base64 | tr -dc a-z0-9 | head -c 32 | docker secret create "$full" - >/dev/null
    done <"$work/secrets"
}

# Without IPVS in the kernel the services' virtual addresses are dead: use DNS.
no_ipvs_override() {
    [ ! -e /proc/net/ip_vs ] || return 0
    {
        echo 'version: "3.8"'
        echo 'services:'
        for file; do sed -n '/^services:/,/^[a-rt-z]/s/^  \([a-z]*\):$/\1/p' "$file"; done | sort -u |
            sed 's/.*/  &:\n    deploy:\n      endpoint_mode: dnsrr/'
    } >"$work/dnsrr.yml"
    echo "-c $work/dnsrr.yml"
}

deploy() { # VERSION, checked out in $work/VERSION
    cd "$work/$1"
    set -a
    . ./.env.sample
    . ./abra.sh
    set +a
    DOMAIN=$own_domain LETS_ENCRYPT_ENV=
    make_secrets
    old=$IFS
    IFS=:
    # shellcheck disable=SC2086 # a list with colons
    set -- $COMPOSE_FILE
    IFS=$old
    files=
    for file; do files="$files -c $file"; done
    # shellcheck disable=SC2046,SC2086 # no names with spaces
    docker stack deploy --prune --resolve-image never --detach=true $files $(no_ipvs_override "$@") "$STACK_NAME" >"$work/deploy.log" 2>&1 ||
        die "deploy: $(tail -n 1 "$work/deploy.log")"
    cd /
}

# --- the recipe's own tests ---------------------------------------------------------------------------------

mkdir "$work/bin"
cat >"$work/bin/recipe-ci" <<'SHIM'
#!/bin/sh
# recipe-ci app exec|http with docker and curl.
set -eu
container() { docker ps -q --no-trunc --filter "label=com.docker.swarm.service.name=${STACK_NAME}_$1" --filter status=running | head -n 1; }
shift
command=$1 service=app
shift
if [ "$command" = exec ]; then
    while :; do
        case $1 in
            --service) service=$2; shift 2 ;;
            --) shift; break ;;
            *) break ;;
        esac
    done
    exec docker exec -i "$(container "$service")" "$@"
fi
want= method=GET path=
body=$(mktemp)
trap 'rm -f "$body"' EXIT
n=$#
while [ "$n" -gt 0 ]; do
    case $1 in
        --status) want=$2; shift 2; n=$((n - 2)) ;;
        -X) method=$2; shift 2; n=$((n - 2)) ;;
        -d) set -- "$@" --data-raw "$2"; shift 2; n=$((n - 2)) ;;
        -H) set -- "$@" -H "$2"; shift 2; n=$((n - 2)) ;;
        *) path=$1; shift; n=$((n - 1)) ;;
    esac
done
c=$(container app)
ip=$(docker network inspect docker_gwbridge -f "{{with index .Containers \"$c\"}}{{.IPv4Address}}{{end}}" | cut -d/ -f1)
status=$(curl -s -m 30 -o "$body" -X "$method" -H "Host: $DOMAIN" -w '%{http_code}' "$@" "http://$ip:8080$path")
cat "$body"
case $status in
    "$want") ;;
    [23]??) [ -z "$want" ] ;;
    *) exit 1 ;;
esac
SHIM
chmod +x "$work/bin/recipe-ci"

own() { # FILE...: runs those that exist
    for file; do
        [ -f "$work/head/tests/$file" ] || continue
        PATH=$work/bin:$PATH sh "$work/head/tests/$file" </dev/null >"$work/test.log" 2>&1 ||
            die "$file: $(tail -n 1 "$work/test.log")"
    done
}

# --- the generic proof: a file in the volume ----------------------------------------------------------------

seed() { # WORD
    [ -n "$seeds" ] || return 0
    echo "$1" >"$work/.marker"
    docker cp "$work/.marker" "$(container "$volume_service"):$volume_dir/.marker" >/dev/null 2>&1
}

marker_is() { # WORD
    [ -n "$seeds" ] || return 0
    docker cp "$(container "$volume_service"):$volume_dir/.marker" - | tar -xO | grep -qx "$1"
}

# --- the run ------------------------------------------------------------------------------------------------

own_domain=$DOMAIN
git clone -q "$repo" "$work/repo"
base=$(git -C "$work/repo" tag --sort=-v:refname | head -n 1)
for version in "$base" HEAD; do
    dir=$work/head
    [ "$version" = HEAD ] || dir=$work/$version
    mkdir "$dir"
    git -C "$work/repo" archive "$version" | tar -x -C "$dir"
done
phase prepare

deploy "$base"
phase deploy
until_or_die "deploy of $base" up_and_serving
phase converge
own test_install.sh
phase install

own ops/pre_upgrade
seed upgrade
deploy head
until_or_die upgrade moved
marker_is upgrade || die "the upgrade lost the marker"
own ops/verify_upgrade test_upgrade.sh
phase upgrade

own ops/pre_backup
seed backup
c=$(container "$volume_service")
[ -z "$hook" ] || docker exec "$c" /bin/sh -c "$hook backup" >/dev/null
docker cp "$c:$saved_path" - >"$work/backup.tar"
[ -n "$(tar -xOf "$work/backup.tar" | head -c 1)" ] || die "the backup is empty"
phase backup

own ops/pre_restore
if [ -n "$seeds" ]; then
    seed wiped
    marker_is wiped || die "the marker cannot be overwritten"
else
    : >"$work/$saved"
    docker cp "$work/$saved" "$c:$saved_path" >/dev/null 2>&1
fi
docker cp - "$c:$saved_parent" <"$work/backup.tar"
[ -z "$hook" ] || docker exec "$c" /bin/sh -c "$hook restore" >/dev/null
until_or_die restore up_and_serving
marker_is backup || die "the restore lost the marker"
own ops/verify_restore
phase restore

for file in "$work"/head/tests/custom/test_*.sh; do
    [ ! -f "$file" ] || own "custom/$(basename "$file")"
done
phase custom

docker stack rm "$STACK_NAME" >/dev/null 2>&1
gone() {
    [ -z "$(docker ps -aq --filter "label=com.docker.stack.namespace=$STACK_NAME")" ] &&
        [ -z "$(docker network ls -q --filter "label=com.docker.stack.namespace=$STACK_NAME")" ]
}
until_or_die "removal" gone
for kind in volume secret config; do
    docker "$kind" ls -q --filter "name=$STACK_NAME" >"$work/left"
    # shellcheck disable=SC2046 # ids
    [ ! -s "$work/left" ] || docker "$kind" rm $(cat "$work/left") >/dev/null
done
phase teardown
echo "{$json, \"total\": $(($(now) - start))}"
