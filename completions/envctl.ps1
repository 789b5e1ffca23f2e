# PowerShell completion for envctl. Load it with:
#     envctl completion powershell | Out-String | Invoke-Expression
# or put that line into $PROFILE. Nothing that was typed is evaluated.

Register-ArgumentCompleter -Native -CommandName 'envctl', 'envctl.exe' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # A constant is its text without quotes; anything else, such as $(...), is
    # passed on as it was typed.
    function ConvertTo-Word($element) {
        if ($element -is [System.Management.Automation.Language.StringConstantExpressionAst]) { return $element.Value }
        return $element.Extent.Text
    }

    $elements = @($commandAst.CommandElements)
    $found = @(Get-Command -Name 'envctl' -CommandType Application -ErrorAction SilentlyContinue)
    if ($found.Count -gt 0) {
        $program = $found[0].Path
    } else {
        # None on PATH: the one that was typed; a name alone is not a path.
        $program = ConvertTo-Word $elements[0]
        if ($program -notmatch '[/\\]') { return }
        if ($program -match '^~[/\\]') { $program = Join-Path $HOME $program.Substring(2) }
    }

    $words = @()
    for ($i = 1; $i -lt $elements.Count; $i++) {
        if ($elements[$i].Extent.EndOffset -ge $cursorPosition) { break }
        $words += ConvertTo-Word $elements[$i]
    }
    $current = "$wordToComplete" -replace '^[''"]|[''"]$', ''
    $last = $current
    if ($last -eq '' -and ($PSVersionTable.PSVersion -lt [version]'7.3' -or $PSNativeCommandArgumentPassing -eq 'Legacy')) {
        $last = '""' # there an empty argument is otherwise dropped
    }

    $answer = @(& $program '__complete' '--' @words $last 2>$null)
    if ($LASTEXITCODE -ne 0) { return '' }
    $files = $false
    $results = @()
    foreach ($line in $answer) {
        $value, $description = "$line" -split "`t", 2
        if ($value -eq ':files') { $files = $true; continue }
        if ($value -eq '' -or $value.StartsWith(':')) { continue }
        if ("$value$description" -match '\p{Cc}') { continue }
        if (-not $value.StartsWith($current, [StringComparison]::Ordinal)) { continue }
        $text = $value
        if ($text -notmatch '^[A-Za-z0-9_./:%+=-]+$') {
            $text = "'" + ($text -replace '[''\u2018-\u201B]', '$0$0') + "'"
        }
        if (-not $description) { $description = $value }
        $results += [System.Management.Automation.CompletionResult]::new($text, $value, 'ParameterValue', $description)
    }
    # Nothing at all would let PowerShell offer files.
    if ($results.Count -gt 0) { return $results }
    if (-not $files) { return '' }
}
