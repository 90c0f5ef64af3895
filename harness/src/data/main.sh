
main() {
    printf 'recipe-ci\tshell\n'
    running=$(seen= servers)
    for server in $running sqlite:; do
        kind=${server%%:*} pid=${server#*:} user='' database='' directory=''
        case " $kinds " in '  ' | *" $kind "*) ("ask_$kind") ;; esac
    done
}

main </dev/null
exit 0
