# What the tests of this recipe share.

fail() {
    echo "$*" >&2
    exit 1
}

give() { recipe-ci app http -X POST -d "$1" /; } # TEXT; prints the job's id

# Waits for what the worker makes of a job.
result_of() { # ID
    tries=0
    until result=$(recipe-ci app http --status 200 "/result/$1" 2>/dev/null); do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || fail "job $1 is not done"
        sleep 0.2
    done
    echo "$result"
}

in_redis() { recipe-ci app exec --service redis -- redis-cli "$@"; }
