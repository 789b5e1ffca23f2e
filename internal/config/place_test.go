package config_test

import (
	"strings"
	"testing"

	"envctl/internal/config"
)

func TestPlaces(t *testing.T) {
	t.Parallel()
	src := "version: 1\nproject: ledger\nenvironments: {local: {}, staging: }\ncomponents:\n  app:\n    template: a.ctmpl\n    dotenv:\n    - .env\n    - 'b/.env'\n"
	p, err := config.Parse(config.FileName, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	places := p.Places()
	for keys, want := range map[string][2]int{
		"":                              {1, 1},
		"nothing":                       {1, 1},
		"components/app":                {5, 3},
		"components/app/template":       {6, 15},
		"components/app/example":        {5, 3},
		"components/app/dotenv":         {7, 5},
		"components/app/dotenv/.env":    {8, 7},
		"components/app/dotenv/b/.env":  {7, 5},
		"environments/local":            {3, 16},
		"environments/staging":          {3, 27},
		"components/app/template/x/y/z": {6, 15},
	} {
		line, column := places.At(strings.Split(keys, "/")...)
		if got := [2]int{line, column}; got != want {
			t.Errorf("%q: %v, want %v", keys, got, want)
		}
	}
	if line, column := places.At("components", "app", "dotenv", "b/.env"); line != 9 || column != 7 {
		t.Errorf("an entry of a list: %d:%d", line, column)
	}
	if line, column := (&config.Project{Data: []byte(":\n- {")}).Places().At("a"); line != 1 || column != 1 {
		t.Errorf("of no YAML: %d:%d", line, column)
	}
}
