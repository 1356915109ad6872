# Written by Salt (state ipsec). Completion of ipsec-global for bash.
_ipsec_global() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local record=/var/lib/hostipsec/mesh.json
    case $before in
        --peer)
            mapfile -t COMPREPLY < <(compgen -W "$(grep -o '"peer": "[^"]*"' $record 2>/dev/null | cut -d'"' -f4 | sort -u)" -- "$word")
            ;;
        --connection)
            mapfile -t COMPREPLY < <(compgen -W "$(grep -o '"name": "[^"]*"' $record 2>/dev/null | cut -d'"' -f4)" -- "$word")
            ;;
        --reason | --deadline | --for)
            COMPREPLY=()
            ;;
        *)
            local words='up down status hold -b -n -v -h --blocking --nonblocking --verbose --help --deadline
                --hold --no-hold --reason --for --peer --connection --json'
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
            ;;
    esac
}
complete -F _ipsec_global ipsec-global
