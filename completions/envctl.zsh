#compdef envctl
# zsh completion for envctl. Load it after compinit with:
#     source <(envctl completion zsh)
# or, for every session, put it into a folder of $fpath:
#     envctl completion zsh > ~/.zfunc/_envctl
# Nothing that was typed is evaluated: (Q) only removes quotes.

_envctl() {
    local program=${commands[envctl]}
    if [[ -z $program ]]; then
        # None on PATH: the one that was typed; a name alone is not a path.
        program=${(Q)words[1]}
        [[ $program == */* ]] || return 1
        [[ $program == '~/'* ]] && program=$HOME/${program#'~/'}
    fi

    local -a typed=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}")
    ((CURRENT == 2)) && typed=("${(Q)PREFIX}")
    local answer
    answer=$("$program" __complete -- "${typed[@]}" </dev/null 2>/dev/null) || return 1

    local line value
    local -a values=() shown=() space=()
    local files=0
    for line in "${(@f)answer}"; do
        value=${line%%$'\t'*}
        case $value in
            '') continue ;;
            :files)
                files=1
                continue
                ;;
            :nospace)
                space=(-S '')
                continue
                ;;
            :*) continue ;;
        esac
        [[ $line == *[[:cntrl:]]* && ${line/$'\t'/} == *[[:cntrl:]]* ]] && continue
        values+=("$value")
        if [[ $line == *$'\t'* ]]; then
            shown+=("$value  -- ${line#*$'\t'}")
        else
            shown+=("$value")
        fi
    done
    if ((files)); then
        _files
        return
    fi
    ((${#values})) || return 1
    compadd -l "${space[@]}" -d shown -a values
}

if [[ ${funcstack[1]} == _envctl ]]; then
    _envctl "$@"
elif ((${+functions[compdef]})); then
    compdef _envctl envctl
else
    print -u2 'envctl: load this after compinit'
fi
