# bash completion for envctl. Load it with:
#     source <(envctl completion bash)
# or, for every session with the bash-completion package:
#     envctl completion bash > ~/.local/share/bash-completion/completions/envctl
# Nothing that was typed is evaluated.

# Removes quotes and backslashes from $1 into REPLY, expanding nothing, and
# puts the quote that is still open into QUOTE.
__envctl_unquote() {
    local text=$1 i
    REPLY='' QUOTE=''
    for ((i = 0; i < ${#text}; i++)); do
        case $QUOTE${text:i:1} in
            \' | \") QUOTE=${text:i:1} ;;
            \'\' | \"\") QUOTE='' ;;
            \\ | \"\\) ((i += 1)) && REPLY+=${text:i:1} ;;
            *) REPLY+=${text:i:1} ;;
        esac
    done
}

__envctl_complete() {
    COMPREPLY=()
    local program
    program=$(type -P envctl)
    if [[ -z $program ]]; then
        # None on PATH: the one that was typed; a name alone is not a path.
        [[ $1 == */* ]] || return 0
        program=$1
        [[ $program == \~/* ]] && program=$HOME/${program#\~/}
    fi

    # Bash splits words at = : @ too: parts without space between are one word.
    local rest=${COMP_LINE:0:COMP_POINT} trimmed part i n=0
    local -a typed=()
    ((${#rest} <= 8192)) || return 0
    for ((i = 0; i <= COMP_CWORD; i++)); do
        trimmed=${rest#"${rest%%[![:space:]]*}"}
        part=${COMP_WORDS[i]}
        ((i == COMP_CWORD)) && part=$trimmed
        if ((n > 0)) && [[ -n $rest && $trimmed == "$rest" ]]; then
            typed[n - 1]+=$part
        else
            typed[n]=$part
            ((n += 1))
        fi
        rest=${trimmed#"$part"}
    done
    ((n > 1)) || return 0

    local -a words=()
    local REPLY QUOTE
    for ((i = 1; i < n; i++)); do
        __envctl_unquote "${typed[i]}"
        words[i - 1]=$REPLY
    done
    local current=$REPLY quote=$QUOTE
    # Only $2, the end of the current word, is replaced: the head stays.
    __envctl_unquote "${typed[n - 1]%"$2"}"
    local head=$REPLY

    local answer value
    answer=$("$program" __complete -- "${words[@]}" </dev/null 2>/dev/null) || return 0
    while IFS=$'\t' read -r value _; do
        case $value in
            :files) compopt -o default -o bashdefault 2>/dev/null ;;
            :nospace) compopt -o nospace 2>/dev/null ;;
            '' | :* | *[[:cntrl:]]*) ;;
            "$current"*)
                value=${value#"$head"}
                if [[ -z $quote ]]; then
                    printf -v value %q "$value"
                elif [[ $value == *[!A-Za-z0-9_./:@%+=,\ -]* ]]; then
                    continue # not safe between quotes of either kind
                fi
                COMPREPLY+=("$value")
                ;;
        esac
    done <<<"$answer"
}

complete -F __envctl_complete envctl
