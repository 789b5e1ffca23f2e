package python

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// settingsGenerator writes random settings modules that Pydantic accepts and
// whose every field has a default, so that an instance can be made from an
// empty environment.
type settingsGenerator struct {
	rng    *rand.Rand
	v1     bool
	n      int
	prefix string
	names  []string
	sens   bool
}

func (g *settingsGenerator) pick(choices ...string) string {
	return choices[g.rng.IntN(len(choices))]
}
func (g *settingsGenerator) chance(percent int) bool { return g.rng.IntN(100) < percent }

func (g *settingsGenerator) name() string {
	g.n++
	n := fmt.Sprintf("%s%d", g.pick("host", "db_url", "Mixed", "API_KEY", "match", "type", "x_y_"), g.n)
	g.names = append(g.names, n)
	return n
}

func (g *settingsGenerator) alias() string {
	g.n++
	return fmt.Sprintf("%s%d", g.pick("DATABASE_URL", "lower_", "Mixed_", "K"), g.n)
}

func (g *settingsGenerator) module() string {
	var b strings.Builder
	g.prefix = g.pick("", "", "APP_", "app_", "My_")
	b.WriteString("\"\"\"Settings: see https://example.org/x: int = 3\"\"\"\n")
	b.WriteString("import enum\nimport typing as t\nfrom typing import Any, ClassVar, Dict, List, Optional, Union\n")
	if g.v1 {
		b.WriteString("import pydantic\nfrom pydantic import BaseModel, Field, SecretStr, HttpUrl, PositiveInt, conint\n" +
			g.pick("from pydantic import BaseSettings\n", "from pydantic import BaseSettings as Basis\nBaseSettings = Basis\n"))
	} else {
		b.WriteString("from typing import Annotated, Literal\nimport pydantic\nfrom pydantic import AliasChoices, AliasPath, BaseModel, Field, SecretStr, HttpUrl, PositiveInt, conint, field_validator, computed_field\n")
		b.WriteString("from pydantic.alias_generators import to_camel, to_pascal, to_snake\n")
		b.WriteString(g.pick("from pydantic_settings import BaseSettings, SettingsConfigDict\n", "import pydantic_settings as ps\nfrom pydantic_settings import SettingsConfigDict\nBaseSettings = ps.BaseSettings\n",
			"try:\n    from pydantic_settings import (BaseSettings, SettingsConfigDict)\nexcept ImportError:\n    from pydantic import BaseSettings\n"))
	}
	b.WriteString("\nWEEK = 60 * 24 * 7\nNAME: str = \"na\" 'me'\nPREFIX = " + quote(g.prefix) + "\nPort = conint(ge=1, le=65535)\nORIGINS = [\"a\", 'b']\n\n")
	b.WriteString("class Color(str, enum.Enum):\n    RED = \"red\"\n    BLUE = 'blue'\n\nclass Level(enum.IntEnum):\n    LOW = 1\n    HIGH = enum.auto()\n\n")
	g.model(&b, "Leaf", "")
	g.model(&b, "Sub", "Leaf")
	bases := "BaseSettings"
	if g.chance(50) {
		g.settings(&b, "Common", bases, true)
		bases = "Common"
		if g.chance(30) {
			b.WriteString("class Mixin(BaseModel):\n    mixed_in" + fmt.Sprint(g.n) + ": int = 3\n\n")
			bases = g.pick("Mixin, Common", "Common, Mixin")
		}
	}
	g.settings(&b, "Settings", bases, bases == "BaseSettings" || g.chance(40))
	b.WriteString("\ndef helper(x: int = 3):\n    pairs: dict = {}\n    class Local(BaseModel):\n        inner: int = 3\n    return pairs\n")
	return b.String()
}

func quote(s string) string { return `"` + s + `"` }

// model writes a nested model.
func (g *settingsGenerator) model(b *strings.Builder, name, inner string) {
	b.WriteString("class " + name + "(BaseModel):\n    \"\"\"A model: str\"\"\"\n")
	if !g.v1 && g.chance(20) {
		b.WriteString("    model_config = {'populate_by_name': True}\n")
	}
	for range 1 + g.rng.IntN(3) {
		n := g.name()
		value := g.pick(` = "x"`, " = Field('y')", ": Optional[str] = None")
		if g.chance(25) {
			value = " = Field('z', alias=" + quote(g.pick("inner_", "Inner")+fmt.Sprint(g.n)) + ")"
		}
		if strings.HasPrefix(value, ":") {
			b.WriteString("    " + n + value + "\n")
		} else {
			b.WriteString("    " + n + ": str" + value + "\n")
		}
	}
	if inner != "" {
		b.WriteString("    " + g.name() + ": " + inner + " = " + inner + "()\n")
		if g.chance(30) {
			b.WriteString("    " + g.name() + ": " + g.pick("Optional["+inner+"]", "Union["+inner+", None]") + " = None\n")
		}
	}
	b.WriteString("\n")
}

func (g *settingsGenerator) settings(b *strings.Builder, name, bases string, config bool) {
	kwargs := ""
	var conf []string
	if config {
		if g.chance(70) {
			conf = append(conf, g.pick("env_prefix=PREFIX", "env_prefix="+quote(g.prefix)))
		}
		if g.chance(30) {
			conf = append(conf, "case_sensitive="+g.pick("True", "False"))
		}
		if g.chance(60) {
			conf = append(conf, "env_nested_delimiter="+quote(g.pick("__", "__", "_", "--"[:1]+"_")))
			if !g.v1 && g.chance(25) {
				conf = append(conf, "env_nested_max_split="+g.pick("1", "2", "3"))
			}
		}
		conf = append(conf, g.pick(`env_file=".env"`, `extra="ignore"`, `extra="allow"`)[0:])
		if !g.v1 && g.chance(20) {
			conf = append(conf, g.pick("populate_by_name=True", "validate_by_name=True"))
		}
		if !g.v1 && g.chance(10) {
			conf = append(conf, "alias_generator="+g.pick("to_camel", "to_pascal", "to_snake", "str.upper", "lambda s: s.lower()"))
		}
		if !g.v1 && g.chance(10) {
			conf = append(conf, "env_prefix_target="+g.pick("'variable'", "'alias'", "'all'"))
		}
	}
	style := g.rng.IntN(3)
	if g.v1 {
		style = 3
	} else if len(conf) > 0 && g.chance(15) {
		style, kwargs = 4, ", "+strings.Join(conf, ", ")
	}
	b.WriteString("class " + name + "(" + bases + kwargs + "):\n    \"\"\"Doc.\n\n    url: https://example.org\n    ghost: int = 3\n    \"\"\"\n")
	writeConfig := func() {
		if len(conf) == 0 {
			return
		}
		switch style {
		case 0:
			b.WriteString("    model_config = SettingsConfigDict(" + strings.Join(conf, ", ") + ")\n")
		case 1:
			b.WriteString("    model_config: t.ClassVar[SettingsConfigDict] = SettingsConfigDict(\n        " + strings.Join(conf, ",\n        ") + ",  # why: so\n    )\n")
		case 2:
			var items []string
			for _, c := range conf {
				k, v, _ := strings.Cut(c, "=")
				items = append(items, "'"+k+"': "+v)
			}
			b.WriteString("    model_config = {" + strings.Join(items, ", ") + "}\n")
		case 3:
			b.WriteString("    class Config:\n        " + strings.Join(conf, "\n        ") + "\n\n")
		}
	}
	early := g.chance(60)
	if early {
		writeConfig()
	}
	b.WriteString("    KINDS: ClassVar[list] = [1]\n    _private: int = 3\n")
	n := 4 + g.rng.IntN(8)
	for i := range n {
		if i == n/2 {
			b.WriteString("\n    @property\n    def computed(self) -> str:\n        pairs: dict = {}  # local: str = 3\n        return \"x: int\"\n\n")
		}
		g.field(b)
	}
	if !early {
		writeConfig()
	}
	b.WriteString("\n")
}

// field writes one field in one of the manners people write them.
func (g *settingsGenerator) field(b *strings.Builder) {
	type form struct{ ann, value string }
	forms := []form{
		{"str", `"x"`},
		{"str", `'a' "b"`},
		{"int", "60 * 24"},
		{"int", "WEEK"},
		{"float", "0.5"},
		{"float", "1e-7"},
		{"bool", "False"},
		{"bool", "True"},
		{"Optional[str]", "None"},
		{"Union[str, None]", `"n"`},
		{"SecretStr", `SecretStr("s")`},
		{"Color", "Color.RED"},
		{"Level", "Level.HIGH"},
		{"List[str]", "ORIGINS"},
		{"List[str]", `["a", "b"]`},
		{"Dict[str, str]", "{}"},
		{"Dict[str, Any]", `{"a": 1, "b": [True, None]}`},
		{"str", "NAME"},
		{"str", `r"\d+"`},
		{"str", "\"\"\"tri\nple: int\"\"\""},
		{"Sub", "Sub()"},
		{"Leaf", "Leaf()"},
		{"Optional[Sub]", "None"},
		{"bytes", `b"by"`},
		{"PositiveInt", "3"},
		{"Port", "8080"},
		{"'str'", `"quoted"`},
		{"int", "-1"},
		{"int", "0x10 | 1"},
		{"int", "7 // 2 - 2 ** 3"},
		{"float", "10 / 4"},
		{"str", `"-" * 3`},
		{"int", "(\n        5  # five: int\n    )"},
		{"t.Optional[int]", "None"},
		{"Any", "None"},
	}
	if !g.v1 {
		forms = append(forms, form{`Literal["a", "b"]`, `"a"`}, form{"str | None", "None"}, form{"list[str]", "[]"}, form{"Annotated[int, Field(ge=1, description='ann')]", "3"},
			form{"Annotated[str, Field(validation_alias='" + g.alias() + "')]", "'x'"}, form{"Sub | None", "None"}, form{"dict[str, str]", "{}"}, form{"Annotated[Optional[str], 'meta']", "None"})
	}
	f := forms[g.rng.IntN(len(forms))]
	name := g.name()
	b.WriteString("    " + name + g.pick(": ", ":", " : ") + f.ann + " = ")
	if g.chance(50) {
		b.WriteString(f.value + g.pick("", "  # a comment: str", ";") + "\n")
		return
	}
	args := []string{f.value}
	if g.chance(50) {
		args[0] = "default=" + f.value
	} else if g.chance(20) {
		args[0] = "default_factory=lambda: " + f.value
	}
	if g.chance(40) {
		args = append(args, g.pick(`description="one " "two"`, "description=(\n            'what: it'\n            \" is\"\n        )", `description=NAME`, `title="T"`))
	}
	switch {
	case g.v1 && g.chance(40):
		args = append(args, "env="+g.pick(quote(g.alias()), "["+quote(g.alias())+", "+quote(g.alias())+"]", "("+quote(g.alias())+",)", "{"+quote("Z"+g.alias())+", "+quote("A"+g.alias())+"}"))
	case !g.v1 && g.chance(50):
		a, c := quote(g.alias()), quote(g.alias())
		args = append(args, g.pick("validation_alias="+a, "alias="+a, "validation_alias=AliasChoices("+a+", "+c+")", "validation_alias=AliasChoices(\n            "+a+",  # old\n            "+c+",\n        )",
			"validation_alias=pydantic.AliasChoices("+a+"), alias="+c, "serialization_alias="+a))
	}
	if g.chance(25) {
		if g.v1 {
			args = append(args, "vault=True", "group='g'")
		} else {
			args = append(args, `json_schema_extra={"vault": True, "group": "g", "extra_keys": ["a", 'b'], "n": None, "f": 1.5}`)
		}
	}
	sep := g.pick(", ", ",\n        ")
	b.WriteString(g.pick("Field(", "pydantic.Field(", "Field(\n        ") + strings.Join(args, sep) + g.pick(")", ",)", "\n    )") + "\n")
}
