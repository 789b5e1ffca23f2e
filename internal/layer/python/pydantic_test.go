package python

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"envctl/internal/realtest"
)

type pydanticRequest struct {
	ID     int               `json:"id"`
	Src    string            `json:"src"`
	Class  string            `json:"class"`
	Probes map[string]string `json:"probes"`
}

type pydanticAnswer struct {
	ID     int
	Error  string
	Fields []struct {
		Name        string
		Accepted    []string
		Required    bool
		Default     *string
		Description string
		Extra       map[string]any
	}
	Probes map[string][]string
}

// interpreters returns the Pythons of this machine by Pydantic's generation.
func interpreters(t *testing.T) map[int]string {
	t.Helper()
	found := map[int]string{}
	for _, name := range []string{realtest.Tool(t, "python3"), "/usr/bin/python3"} {
		out, err := exec.CommandContext(t.Context(), name, filepath.Join("testdata", "names.py"), "version").Output()
		if err != nil || len(out) == 0 {
			continue // no Pydantic there
		}
		generation := int(out[0] - '0')
		if found[generation] == "" {
			found[generation] = name
			t.Logf("%s has pydantic, pydantic_settings %s", name, strings.TrimSpace(string(out)))
		}
	}
	return found
}

// TestPydantic1 compares with the Pydantic 1 that Debian has.
func TestPydantic1(t *testing.T) {
	t.Parallel()
	python := interpreters(t)[1]
	if python == "" {
		realtest.Missing(t, "no python3 here has Pydantic 1: apt-get install python3-pydantic")
	}
	comparePydantic(t, python, 1, 25*long(t))
}

// TestPydantic2 compares with Pydantic 2 and pydantic-settings, which only
// some machines have; TestVectors holds what was found on one that has.
func TestPydantic2(t *testing.T) {
	t.Parallel()
	python := interpreters(t)[2]
	if python == "" {
		t.Log("no python3 here has pydantic 2 with pydantic-settings: the comparison with it is left out")
		return
	}
	var requests []pydanticRequest
	var read []*Settings
	for _, v := range vectors {
		if !v.real {
			continue
		}
		s, err := Read(v.name, []byte(v.src))
		if err != nil {
			t.Fatal(err)
		}
		requests, read = append(requests, pydanticRequest{ID: len(requests), Src: v.src, Class: "Settings"}), append(read, s)
	}
	for i, a := range runPython[pydanticRequest, pydanticAnswer](t, python, "names.py", requests) {
		compareSettings(t, read[i].File, read[i], requests[i], a)
	}
	comparePydantic(t, python, 2, 25*long(t))
}

// long is how many times as much the comparisons do: $ENVCTL_LONG, else 1.
func long(t *testing.T) int {
	t.Helper()
	return positive(t, "ENVCTL_LONG", 1)
}

// positive is a variable's positive number.
func positive(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(variable), strconv.Itoa(otherwise)))
	if err != nil || n < 1 {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func comparePydantic(t *testing.T, python string, generation, cases int) {
	rng := rand.New(rand.NewPCG(7, uint64(generation)))
	requests := make([]pydanticRequest, cases)
	read := make([]*Settings, cases)
	for i := range requests {
		g := settingsGenerator{rng: rng, v1: generation == 1}
		src := g.module()
		s, err := Read("settings.py", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		read[i] = s
		requests[i] = pydanticRequest{ID: i, Src: src, Class: "Settings", Probes: probes(s, g.prefix, g.names)}
	}
	fields, probed := 0, 0
	for i, a := range runPython[pydanticRequest, pydanticAnswer](t, python, "names.py", requests) {
		n, m := compareSettings(t, fmt.Sprintf("case %d", i), read[i], requests[i], a)
		fields, probed = fields+n, probed+m
		if t.Failed() {
			for n, line := range strings.Split(requests[i].Src, "\n") {
				t.Logf("%4d %s", n+1, line)
			}
			return
		}
	}
	t.Logf("%d sources, %d fields, %d variables tried one by one: all as Pydantic has it", cases, fields, probed)
	if fields < 5*cases || probed < 10*cases {
		t.Error("the comparison was too small")
	}
}

func compareSettings(t *testing.T, name string, s *Settings, request pydanticRequest, a pydanticAnswer) (fields, probed int) {
	t.Helper()
	if a.Error != "" {
		t.Errorf("%s: Pydantic: %s", name, a.Error)
		return 0, 0
	}
	for _, p := range s.Problems {
		t.Errorf("%s: Pydantic reads it, this reader says line %d: %s", name, p.Line, p.Message)
	}
	var tops []Field
	for _, f := range s.Fields {
		if f.Class == request.Class && !strings.Contains(f.Name, ".") {
			tops = append(tops, f)
		}
	}
	var order, want []string
	for _, f := range tops {
		order = append(order, f.Name)
	}
	for _, f := range a.Fields {
		want = append(want, f.Name)
	}
	if !slices.Equal(order, want) {
		t.Errorf("%s: fields\n got %v\nwant %v", name, order, want)
		return 0, 0
	}
	for i, w := range a.Fields {
		f := tops[i]
		fields++
		if !slices.Equal(f.Accepted, w.Accepted) {
			t.Errorf("%s: %s accepts\n got %q\nwant %q", name, f.Name, f.Accepted, w.Accepted)
		}
		if f.Required != w.Required {
			t.Errorf("%s: %s: required %v, want %v", name, f.Name, f.Required, w.Required)
		}
		if f.Description != w.Description {
			t.Errorf("%s: %s: description %q, want %q", name, f.Name, f.Description, w.Description)
		}
		got, _ := json.Marshal(f.Extra)
		wanted, _ := json.Marshal(w.Extra)
		if string(got) != string(wanted) {
			t.Errorf("%s: %s: extra %s, want %s", name, f.Name, got, wanted)
		}
		if f.DefaultKnown && !reflect.DeepEqual(f.Default, w.Default) {
			t.Errorf("%s: %s: default %s, want %s", name, f.Name, show(f.Default), show(w.Default))
		}
	}
	for variable, changed := range a.Probes {
		probed++
		want := map[string]bool{}
		for _, c := range changed {
			want[fieldAt(s, request.Class, c)] = true
		}
		got := map[string]bool{}
		for _, f := range s.Fields {
			if f.Class == request.Class && f.Accepts(variable) {
				got[f.Name] = true
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s=%s reaches %v by this reader, %v by Pydantic", name, variable, request.Probes[variable], got, changed)
		}
	}
	return fields, probed
}

func show(s *string) string {
	if s == nil {
		return "None"
	}
	return *s
}

// fieldAt names the field that a changed path belongs to.
func fieldAt(s *Settings, class, path string) string {
	best := path
	found := 0
	for _, f := range s.Fields {
		if f.Class == class && (path == f.Name || strings.HasPrefix(path, f.Name+".")) && len(f.Name) > found {
			best, found = f.Name, len(f.Name)
		}
	}
	return best
}

// probes lists variables to try, those that must reach a field and those near
// them that must not, with a value that the field takes.
func probes(s *Settings, prefix string, names []string) map[string]string {
	out := map[string]string{}
	tried := map[string]bool{}
	try := func(variable string) {
		if tried[variable] || variable == "" {
			return
		}
		tried[variable] = true
		value := "zz"
		for _, f := range s.Fields {
			if f.Class != "Settings" || !f.Accepts(variable) {
				continue
			}
			if value = sample(&f); value == "" {
				return // no legal value is known
			}
		}
		out[variable] = value
	}
	for _, f := range s.Fields {
		if f.Class != "Settings" || strings.Contains(f.Name, "children") {
			continue
		}
		for _, a := range f.Accepted {
			for _, v := range []string{a, strings.ToLower(a), strings.ToUpper(a), prefix + a, strings.TrimPrefix(a, prefix), strings.Replace(a, "__", "_", 1)} {
				try(v)
			}
		}
		for _, p := range f.Prefixes {
			try(p + "key")
		}
	}
	for _, n := range names {
		for _, v := range []string{n, strings.ToUpper(n), prefix + n, strings.ToUpper(prefix + n)} {
			try(v)
		}
	}
	return out
}

// sample returns a legal value for f that is not its default.
func sample(f *Field) string {
	for _, p := range f.Prefixes {
		if len(p) > 0 && f.Kind == Dict {
			return `{"key":"zz"}`
		}
	}
	switch f.Kind {
	case Int:
		return "7"
	case Float:
		return "7.5"
	case Bool:
		if f.Default != nil && *f.Default == "true" {
			return "false"
		}
		return "true"
	case List:
		return `["zz"]`
	case Dict:
		return `{"key":"zz"}`
	case Literal, Enum:
		for _, c := range f.Choices {
			if f.Default == nil || *f.Default != c {
				return c
			}
		}
		return ""
	case URL:
		return "https://zz.example/"
	case Nested, Unknown:
		return ""
	}
	return "zz"
}
