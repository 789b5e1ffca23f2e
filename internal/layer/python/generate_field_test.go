package python

import "strings"

// member is what stands between the fields of a settings class and is none of
// them, or configures them.
func (g *generator) member(in, step string) string {
	text := g.pick(
		"@property\ndef url(self) -> str:\n\tlocal: dict = {}\n\treturn f'{self.host}: int'\n",
		"@computed_field  # type: ignore[misc]\n@property\ndef both(self) -> str: return self.a + \"b: int\"\n",
		"@field_validator(\"a\", 'b', mode=\"before\")\n@classmethod\ndef split(cls, v: str | list[str]) -> list[str]:\n\tparts: list[str] = v.split(',') if isinstance(v, str) else v\n\treturn parts\n",
		"@model_validator(mode='after')\ndef whole(self) -> \"Self\":\n\tif self.x: y: int = 3\n\treturn self\n",
		"async def load(self, *, retry: int = 3, **kw: str) -> None:\n\t'''Docs: str = 1\n\tmore: int'''\n",
		"class Config:\n\tenv_prefix = 'APP_'\n\tfields = {'a': {'env': ['A', \"B\"]}}\n\tone: int = 3\n",
		"model_config = SettingsConfigDict(\n\tenv_prefix=\"APP_\",  # why: so\n\tenv_nested_delimiter='__',\n\textra='ignore',\n)\n",
		"model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(**base, env_file=(\".env\", '.env.local'))\n",
		"KINDS: ClassVar[tuple[str, ...]] = ('a', \"b\")\n_private: int = PrivateAttr(default=3)\n__slots__ = ('a',)\n",
		"Port = Annotated[int, Field(ge=1, le=65_535)]\nport: Port = 8080\n",
		"sub: \"Sub\" = Field(default_factory=lambda: Sub(a={'b': 1}))\n",
	)
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(in + strings.ReplaceAll(line, "\t", step))
	}
	return b.String()
}

// field is a call of Field in one of the forms that settings have.
func (g *generator) field(depth int) string {
	var args []string
	switch g.rng.IntN(4) {
	case 0:
		args = append(args, g.expr(depth))
	case 1:
		args = append(args, "default="+g.expr(depth))
	case 2:
		args = append(args, "default_factory="+g.pick("list", "lambda: "+g.literal(), "lambda: ["+g.text()+"]", "partial(f, x=1)"))
	}
	for _, a := range []string{
		g.pick("validation_alias="+g.text(), "alias="+g.text(), "validation_alias=AliasChoices(\n  'A',  # old: str\n  \"B\",\n)", "validation_alias=AliasChoices(AliasPath('a', 0), \"B\")", "env=['A', \"B\"]"),
		g.pick("ge=1", "gt=-0.5, le=60 * 24", "min_length=1", `pattern=r'^\d+$'`, "multiple_of=1_0", "lt=2**16"),
		"description=" + g.pick(g.text(), g.text()+" "+g.text(), "(\n   "+g.text()+"\n   "+g.text()+"  # it's\n  )", "f'{x}' "+g.text()),
		"json_schema_extra=" + g.pick("{'vault': True, \"keys\": ['a']}", "{\n  'group': \"g: str\",\n  \"example\": "+g.literal()+",\n  'extra_keys': [],\n }", "dict(vault=True)", "{**common, 'n': None}"),
		g.pick("repr=False", "exclude=True", "deprecated='x: int'", "frozen=True", "**shared", "discriminator=\"kind\""),
	} {
		if g.chance(40) {
			args = append(args, a)
		}
	}
	end := ")"
	if len(args) > 0 {
		end = g.pick(")", ",)", "\n    )")
	}
	return g.pick("Field(", "pydantic.Field(", "Field(\n        ", "Field( # it's: so\n ") + strings.Join(args, g.pick(", ", ",\n        ", ",  # why: so\n ")) + end
}
