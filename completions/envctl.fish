# fish completion for envctl. Load it with:
#     envctl completion fish | source
# or, for every session:
#     envctl completion fish > ~/.config/fish/completions/envctl.fish
# Nothing that was typed is evaluated.

function __envctl_complete
    set -l words (commandline -opc)
    set -l program (command -s envctl)
    if test -z "$program"
        # None on PATH: the one that was typed; a name alone is not a path.
        string match -q -- '*/*' "$words[1]"
        or return
        set program (string replace -r -- '^~/' "$HOME/" "$words[1]")
    end
    set -e words[1]

    set -l raw (commandline -ct)
    set -l current (string unescape -- "$raw")
    or set current (string replace -ra -- '[\'"\\\\]' '' "$raw")

    set -l answer ("$program" __complete -- $words "$current" </dev/null 2>/dev/null)
    or return
    for line in $answer
        switch $line
            case ''
            case ':files'
                __fish_complete_path "$current"
            case ':*'
            case '*'
                # One tab stands before the description; nothing else may hold control characters.
                string match -qr -- '^[^[:cntrl:]]+(\t[^[:cntrl:]]*)?$' "$line"
                and printf '%s\n' "$line"
        end
    end
end

complete -c envctl -f -a '(__envctl_complete)'
