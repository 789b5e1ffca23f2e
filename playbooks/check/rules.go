package check

import (
	"strings"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/naming"
)

// Rule is one thing that check looks for.
type Rule struct {
	Name     string   `json:"name"`
	Severity Severity `json:"severity"` // unless the project sets another
	Live     bool     `json:"live"`     // only check --live can find it
	Doc      string   `json:"doc"`
}

// The rules' names, where more than one place needs them.
const (
	unreadable   = layer.RuleUnreadable
	templateRule = layer.RuleSyntax
	duplicate    = layer.RuleDuplicate
	missingValue = layer.RuleMissingValue
	mergedLines  = layer.RuleMergedLines
	unsafeShell  = layer.RuleUnsafeShell

	codeIgnored        = "code-ignored"
	codeNotInExample   = "code-key-not-in-example"
	defaultMismatch    = "default-mismatch"
	developmentDefault = "development-default"
	dotenvTracked      = "dotenv-tracked"
	exampleNotInCode   = "example-key-not-in-code"
	hostSuffix         = "host-without-suffix"
	onlyComment        = "documented-only-as-comment"
	policyCross        = "policy-cross-environment"
	policyLookup       = "policy-no-lookup-self"
	policyMissing      = "policy-missing-path"
	policyWrite        = "policy-write"
	previousLost       = "previous-not-rendered"
	publicNotBaked     = "public-not-baked"
	publishedDefault   = "published-default"
	readersDisagree    = "readers-disagree"
	sharedAcross       = "shared-across-environments"
	storeEmpty         = "store-key-empty"
	storeGhost         = "store-ghost"
	storeMissing       = "store-key-missing"
	storeNotString     = "store-key-not-string"
	storeUnused        = "store-key-unused"
	templateNotInCode  = "template-key-not-in-code"
	typeMismatch       = "type-mismatch"
	vaultMarker        = "vault-marker-not-rendered"
)

// Rules returns every rule, sorted by name.
func Rules() []Rule {
	return []Rule{
		{codeIgnored, Warning, false, "Pydantic reads the settings, but not as they are written"},
		{codeNotInExample, Error, false, "a field's canonical name does not stand in the example"},
		{defaultMismatch, Warning, false, "the example's or the template's default differs from the code's"},
		{developmentDefault, Warning, false, "a default for development reaches an environment that is not local"},
		{onlyComment, Warning, false, "a variable stands in the example only as a comment"},
		{dotenvTracked, Error, false, "git tracks a .env file"},
		{duplicate, Error, false, "a variable is set twice in one file"},
		{exampleNotInCode, Info, false, "nothing in the project reads a variable of the example"},
		{hostSuffix, Error, false, "an environment is given another environment's container as its host"},
		{unreadable, Error, false, "a layer could not be read: what it would say is unknown"},
		{policyCross, Error, false, "a policy reads more than one environment"},
		{policyMissing, Error, false, "the policy lacks a path that the template reads"},
		{policyLookup, Warning, false, "the policy does not grant auth/token/lookup-self, which health checks ask"},
		{policyWrite, Error, false, "the policy of a service can write"},
		{previousLost, Error, false, "no template renders the variable that a rotation keeps the old value in: every session ends"},
		{publicNotBaked, Error, false, "a NEXT_PUBLIC_ variable is no ARG and ENV of the Dockerfile's build stage, or not in the bundle (--bundle)"},
		{publishedDefault, Error, false, "a published value protects an environment that is not local"},
		{readersDisagree, Warning, false, "the readers of a .env file read different values"},
		{sharedAcross, Warning, true, "two environments hold the same secret, database or bucket"},
		{storeGhost, Error, true, "values were written to data/data/…, where nothing reads them (vault kv put secret/data/…)"},
		{storeEmpty, Warning, true, "a key of the store is empty"},
		{storeMissing, Error, true, "the store lacks a key that the template reads"},
		{storeNotString, Warning, true, "a value of the store is not a string: large numbers come back rounded"},
		{storeUnused, Warning, true, "nothing reads a key of the store"},
		{templateNotInCode, Error, false, "no field of the code accepts a variable that the template renders"},
		{mergedLines, Error, false, "a trim marker joins two variables on one line"},
		{missingValue, Error, false, "the template renders <no value> or %!s(<nil>)"},
		{templateRule, Error, false, "Vault Agent could not execute the template"},
		{typeMismatch, Error, false, "a default is no value of the field's type"},
		{unsafeShell, Warning, false, "a shell that sources the file would change or run a part of it"},
		{vaultMarker, Error, false, "a variable is marked as Vault's and the template does not render it"},
	}
}

// knownRule is Usage, with the nearest name, for a rule that does not exist.
func knownRule(name string) error {
	var names []string
	for _, r := range Rules() {
		if r.Name == name {
			return nil
		}
		names = append(names, r.Name)
	}
	hint := "run envctl check --list"
	if near := naming.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return fault.Newf(fault.Usage, "check", hint, "there is no rule %q", strings.TrimSpace(name))
}
