#!/bin/sh
# Runs failed tests of the real engine once more, alone: tests/flaky.sh LOG [what was passed to `cargo test`]
#
# LOG is what `cargo test --no-fail-fast` printed when it failed. Ends with 0 when each test that failed belongs to the
# test binary `swarm` and passes alone, and with 1 for everything else. docs/flakes.md has the rule.
set -eu
limit=8
log=$1
shift

say() { printf 'tests/run: %s\n' "$*"; }

# Prints the names of the failed tests of `swarm`; else says why there is nothing to run again, and fails.
failed() {
    awk '
        function refuse(reason) {
            print "not run again: " reason
            refused = 1
            exit 1
        }
        # Cargo colours its own lines when tests/run writes to a terminal.
        { gsub(/\033\[[0-9;]*m/, "") }
        /^ +Running / { binary = $2 == "unittests" ? $2 " " $3 : $2; listing = 0 }
        /^ +Doc-tests / { binary = $0; listing = 0 }
        # The names stand in the second list; a test that prints such a line itself only begins the list anew.
        /^failures:$/ { listing = 1; count = 0; next }
        listing && /^    [^ ]+$/ { names[++count] = $1; next }
        /^test result: FAILED\. / {
            if (binary !~ /(^|\/)tests\/swarm\/main\.rs$/) refuse("tests of `" binary "` failed, which speak to no engine")
            # test result: FAILED. 1 passed; 2 failed; …
            if (count != $6) refuse($6 " tests of `swarm` failed, and " count " are named")
            for (i = 1; i <= count; i++) found[++total] = names[i]
            listing = 0
        }
        /^error: [0-9]+ targets? failed:$/ { targets = $2; summary = 1; next }
        summary && /^    `/ { if ($0 !~ /^    `-p runner --test swarm`$/) other = $0 }
        END {
            if (refused) exit 1
            if (!total || targets != 1 || other) refuse("more or something else failed than tests of `swarm`")
            if (total > limit) refuse(total " tests of `swarm` failed; more than " limit " are no flakes")
            for (i = 1; i <= total; i++) print found[i]
        }
    ' limit="$limit" "$log"
}

if ! names=$(failed); then
    say "$names"
    exit 1
fi

# The same binary: only what decides what is built is passed on, up to the `--` before what the tests are told.
value=
built=
for word; do
    if [ -n "$value" ]; then
        built="$built $word"
        value=
        continue
    fi
    case $word in
        --) break ;;
        --features | -F | --profile | --target) built="$built $word" value=1 ;;
        --features=* | -F?* | --profile=* | --target=* | --all-features | --no-default-features | --release | -r)
            built="$built $word"
            ;;
    esac
done

again=
for name in $names; do
    say "once more, alone: swarm::$name"
    status=0
    # shellcheck disable=SC2086 # a list of words
    cargo test --workspace --locked $built --test swarm -- --exact "$name" --test-threads=1 >"$log.alone" 2>&1 || status=$?
    if [ "$status" = 0 ] && grep -q '^test result: ok\. 1 passed;' "$log.alone"; then
        again="$again
flaky, passed alone: swarm::$name"
    else
        cat "$log.alone"
        again="$again
failed, and failed again alone: swarm::$name"
    fi
done
verdict=0
while read -r line; do
    [ -n "$line" ] || continue
    say "$line"
    case $line in failed*) verdict=1 ;; esac
done <<END
$again
END
exit "$verdict"
