# Asks the databases that run in this container; `main` at the end of the last file begins.
#
# It is read from standard input by any POSIX shell, in an image that somebody else made. What it may use is what a
# database's image has: the shell, `cat`, `sed` and the database's own client. Set before it, by `script.rs`: op, table,
# value, hinted, wanted_user, wanted_database, mounts, requirepass, configs.
#
# It answers in lines of seven fields: `recipe-ci`, kind, outcome, user, database, directory, text. Outcomes: `done`
# (the text is what the database holds now), `wait` (it does not accept yet), `refused` (it does not accept what we
# know), `noclient`, `failed`, `cache` (what it holds is not meant to stay).

unset LD_PRELOAD
# Tests have others.
proc=${proc:-/proc} root=${root-}
tab=$(printf '\t')
newline='
'

say() { # OUTCOME TEXT
    text=$(printf '%s' "$2" | tr '\t\n\r' '   ' | cut -c 1-400)
    printf 'recipe-ci\t%s\t%s\t%s\t%s\t%s\t%s\n' "$kind" "$1" "$user" "$database" "$directory" "$text"
}

# The value of the first of these variables that is set, itself or as the name of a file with it.
setting() { # NAME...
    for name; do
        eval "found=\${$name-}; file=\${${name}_FILE-}; other=\${FILE__${name}-}"
        [ -z "$found" ] || break
        for file in "$file" "$other"; do
            [ -z "$found" ] && [ -n "$file" ] && [ -r "$file" ] && found=$(cat "$file")
        done
        [ -z "$found" ] || break
    done
    printf '%s' "$found"
}

# The first of these programs that is there, in PATH or where images hide it.
program() { # NAME...
    for name; do
        command -v "$name" && return
        for path in "$root"/usr/lib/postgresql/*/bin "$root"/usr/local/bin "$root"/usr/local/*/bin "$root"/opt/bitnami/*/bin \
            "$root"/opt/*/embedded/bin; do
            [ -x "$path/$name" ] && echo "$path/$name" && return
        done
    done
    return 1
}

# What the client said on the lines that are ours.
values() { printf '%s\n' "$output" | sed -n 's/^.*value:\([a-z0-9_]*\).*$/\1/p' | tr '\n' ' ' | sed 's/ $//'; }

# The first line of an error, without the client's name before it.
complaint() { printf '%s\n' "$output" | sed -e '/^$/d' | sed -e '1!d' -e 's/^[a-z-]*: error: //'; }

# Whether a directory is below one of the container's mounts.
is_mounted() { # DIRECTORY
    for mount in $mounts; do
        case $1/ in "$mount"/*) return 0 ;; esac
    done
    return 1
}

# Every password that the container has for a client to try, one a line; what has a name is tried first.
secret_files() {
    for file in /run/secrets/*pass* /run/secrets/*pw* /run/secrets/*; do
        [ -f "$file" ] && [ -r "$file" ] && printf '%s\n' "$file"
    done
}

# The servers that run here, each as KIND:PID.
servers() {
    for comm in "$proc"/[0-9]*/comm; do
        { read -r name <"$comm"; } 2>/dev/null || continue
        case $name in
            postgres | postmaster) found=postgresql ;;
            mariadbd | mysqld) found=mariadb ;;
            mongod | ferretdb) found=mongodb ;;
            redis-server | valkey-server | keydb-server) found=redis ;;
            *) continue ;;
        esac
        case " $seen" in *" $found:"*) continue ;; esac
        pid=${comm#"$proc"/}
        seen="$seen$found:${pid%/comm} "
    done
    printf '%s' "$seen"
}
