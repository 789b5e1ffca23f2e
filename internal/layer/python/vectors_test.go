package python

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
)

// vector is a settings file and what it says. A line of want is a field:
// name variables kind flags =default, or a problem: ! line kind message. real
// vectors are compared with Pydantic 2 as well, where a machine has it.
type vector struct {
	name, src, want string
	real            bool
}

const head = `from typing import Annotated, Any, ClassVar, Literal, Optional, Union
from pydantic import AliasChoices, AliasPath, BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
`

var vectors = []vector{
	{"docstring with a URL and a local in a helper", head + `
class Settings(BaseSettings):
    """Settings, see https://example.org/docs: str = "x"

    DATABASE_URL: str
    """

    first: int = 1

    def helper(self):
        pairs: dict = {}
        other: str = "x"
        return pairs

    @property
    def url(self) -> str:
        return "x: int"

    last: str
`, `
first FIRST int =1
last LAST str required
`, true},
	{"aliases over several lines, an alias replaces the name", head + `
class Settings(BaseSettings):
    db: str = Field(
        default="sqlite://",  # the default: str
        validation_alias=AliasChoices(
            "DATABASE_URL",
            "DB_URL",  # older "COMMENTED"
            AliasPath("URLS", 0),
        ),
    )
    key: SecretStr = Field(..., alias="SECRET_KEY")
    both: str = Field("x", alias="A", validation_alias="B")
    out: str = Field("x", serialization_alias="C")
`, `
db DATABASE_URL,DB_URL,URLS str =sqlite://
key SECRET_KEY secret required secret
both B str =x
out OUT str =x
`, true},
	{"populate_by_name, prefix and case", head + `
class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="App_", case_sensitive=True, populate_by_name=True, extra="ignore")
    host: str = Field("h", validation_alias="Host")
    Port: int = 1
`, `
host Host,App_host str =h
Port App_Port int =1
`, true},
	{"constants, arithmetic, implicit joining, strings of every kind", head + `
DAY = 60 * 24
NAME = "led" 'ger'
class Settings(BaseSettings):
    a: int = DAY * 7
    b: str = NAME + "-" + r"\d"
    c: str = ("one "
              "two")
    d: bytes = b"\x41"
    e: str = """three
lines"""
    f: str = f"{a}"
    g: str = f"plain"
    h: float = 10 / 4
    i: int = -7 // 2
    j: list[str] = ["a", 'b"c']
    k: dict[str, Any] = {"a": None, "b": [1, 2.0]}
    l: int = 2 ** 62 * 4
    m: bool = not True
    n: str = "" or "x"
    o: float = 1e22
    p: float = 0.00001
    q: int = len("x")
    r: str = "\N{BULLET}"
    s: str = \
        "continued"; t: int = 0x1_F
`, `
a A int =10080
b B str =ledger-\d
c C str ="one two"
d D bytes =A
e E str ="three\nlines"
f F str unknown
g G str =plain
h H float =2.5
i I int =-4
j J list ="[\"a\",\"b\\\"c\"]"
k K dict ="{\"a\":null,\"b\":[1,2.0]}"
l L int unknown
m M bool =false
n N str =x
o O float =1e+22
p P float =1e-05
q Q int unknown
r R str unknown
s S str =continued
t T int =31
`, false},
	{"types", head + `
import enum, typing as t
from pathlib import Path
from pydantic import HttpUrl, PostgresDsn, PositiveInt, conint, BeforeValidator, field_validator
from pydantic_settings import NoDecode
class Env(str, enum.Enum):
    LOCAL = "local"
    PROD = "production"
class Kind(enum.StrEnum):
    ONE = enum.auto()
Port = Annotated[int, Field(ge=1, le=65535, description="a port")]
Size: t.TypeAlias = "int | None"
class Settings(BaseSettings):
    a: str | None = None
    b: Optional[int] = None
    c: Literal["x", "y", 3] = "x"
    d: Union[str, None] = "d"
    e: Env = Env.LOCAL
    f: Kind = Kind.ONE
    g: HttpUrl | None = None
    h: PostgresDsn
    i: Port = 80
    j: Size = 4
    k: t.List[str] = Field(default_factory=list)
    l: Path = Path("/tmp")
    m: PositiveInt = 1
    n: "list[SecretStr]" = []
    o: Annotated[list[str], NoDecode] = []
    p: Annotated[int, BeforeValidator(int)] = 1
    q: int | list[str] = 1
    r: conint(ge=2) = 2
    s: Literal["x"] | None = None
    u: int = 3
    @field_validator("u", mode="before")
    @classmethod
    def early(cls, v): return v
`, `
a A str optional =None
b B int optional =None
c C literal notext choices:x,y =x
d D str optional =d
e E enum choices:local,production =local
f F enum choices:one =one
g G url optional =None
h H url required
i I int ge:1 le:65535 =80 "a port"
j J int optional =4
k K list =[]
l L str =/tmp
m M int gt:0 =1
n N list secret =[]
o O list custom =[]
p P int custom =1
q Q unknown =1
r R int ge:2 =2
s S literal optional choices:x =None
u U int custom =3
`, false},
	{"marks for the example and the templates", head + `
class Settings(BaseSettings):
    key: str = Field("", description="the "
        "key", json_schema_extra={"vault": True, "group": "auth", "example": "<KEY>", "extra_keys": ["OLD", "B"]})
    loose: str = Field("", vault=True)
    call: str = Field("", json_schema_extra=mark)
def mark(schema): pass
`, `
key KEY str = "the key" extra:map[example:<KEY> extra_keys:[OLD B] group:auth vault:true]
loose LOOSE str = extra:map[vault:true]
call CALL str =
! 9 unread json_schema_extra is not a literal: its marks are not known
`, false},
	{"inheritance, override, order, a base that is only a base", head + `
class Common(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="C_")
    a: int = 1
    b: int = 2
class Mixin:
    m: int = 7
class Settings(Mixin, Common):
    c: int = 3
    a: str = "over"
settings = Settings()
`, `
a C_A str =over
b C_B int =2
m C_M int =7
c C_C int =3
`, true},
	{"BaseSettings named last resets the prefix", head + `
class Common(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="C_")
class Settings(Common, BaseSettings):
    a: int = 1
`, `
a A int =1
`, true},
	{"several settings classes", head + `
class Redis(BaseSettings):
    model_config = {"env_prefix": "REDIS_"}
    host: str = "r"
class Settings(BaseSettings, env_prefix="APP_"):
    redis: Redis = Field(default_factory=Redis)
    name: str
class Outer:
    class Inner(BaseSettings):
        deep: int = 1
`, `
Redis.host REDIS_HOST str =r
redis -APP_REDIS nested unknown
name APP_NAME str required
Inner.deep DEEP int =1
`, false},
	{"nested models", head + `
class Leaf(BaseModel):
    on: bool = False
class Db(BaseModel):
    host: str = "h"
    Port: int = Field(1, ge=1)
    secret: SecretStr
    aliased: str = Field("x", alias="other")
    leaf: Leaf = Leaf()
    next: Optional["Db"] = None
class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_nested_delimiter="__", env_prefix="A_")
    db: Db
    labels: dict[str, str] = {}
`, `
db -A_DB nested required prefixes:A_DB__
db.host A_DB__HOST str =h
db.Port A_DB__PORT int ge:1 =1
db.secret A_DB__SECRET secret required secret
db.aliased A_DB__OTHER str =x
db.leaf -A_DB__LEAF nested unknown
db.leaf.on A_DB__LEAF__ON bool =false
db.next A_DB__NEXT nested optional =None
labels A_LABELS dict prefixes:A_LABELS__ ={}
`, false},
	{"one underscore as the delimiter, with and without max_split", head + `
class Llm(BaseModel):
    api_key: str = "x"
    model: str = "m"
class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_nested_delimiter="_")
    llm: Llm = Llm()
class Split(BaseSettings):
    model_config = SettingsConfigDict(env_nested_delimiter="_", env_nested_max_split=1)
    llm: Llm = Llm()
`, `
llm -LLM nested unknown
llm.model LLM_MODEL str =m
Split.llm -LLM nested unknown
Split.llm.api_key LLM_API_KEY str =x
Split.llm.model LLM_MODEL str =m
`, false},
	{"not fields", head + `
from pydantic import computed_field, PrivateAttr
class Settings(BaseSettings):
    A: ClassVar[int] = 1
    B: "ClassVar[str]" = "x"
    _private: int = 1
    __dunder: int = 2
    _attr: str = PrivateAttr("x")
    c: int = 1
    (d): int = 2
    c.e: int = 3
    @computed_field
    @property
    def total(self) -> int:
        x: int = 3
        return x
    class Nested:
        z: int = 1
    f = lambda self: 1
`, `
c C int =1
`, false},
	{"TYPE_CHECKING and conditions", head + `
import os, sys
from typing import TYPE_CHECKING
class Settings(BaseSettings):
    if TYPE_CHECKING:
        ghost: int = 1
    else:
        a: int = 1
    if not TYPE_CHECKING:
        b: int = 2
    if False:
        c: int = 3
    elif True:
        d: int = 4
    else:
        e: int = 5
    if sys.platform == "win32":
        f: int = 6
    try:
        g: int = 7
    except ImportError:
        pass
`, `
a A int =1
b B int =2
d D int =4
f F int =6
g G int =7
! 21 unread only the run decides whether this field exists: it is counted
`, false},
	{"generation 1", `
from typing import Optional
from pydantic import BaseModel, BaseSettings, Field
class Sub(BaseModel):
    host: str = "h"
class Settings(BaseSettings):
    a: int = 1
    b = "untyped"
    c: Optional[str]
    d: str = Field("x", env="DEE")
    e: str = Field("x", env=["E1", "E2"])
    f: str = "f"
    g: str = Field("x", alias="GEE")
    sub: Sub = Sub()
    class Config:
        env_prefix = "p_"
        env_nested_delimiter = "__"
        fields = {"f": {"env": "EFF"}}
`, `
a P_A int =1
b P_B str =untyped
c P_C str optional =None
d DEE str =x
e E1,E2 str =x
f EFF str =f
g P_G str =x
sub -P_SUB nested unknown
sub.host P_SUB__HOST str =h
! 13 ignored Pydantic 1 reads no variable by alias=: name it with env=
`, false},
	{"what Pydantic 2 ignores or refuses", head + `
class Settings(BaseSettings):
    a: str = Field("x", env="OLD")
    b = 3
    c: int = 1
    c: int = 2
class More(Settings):
    a = "y"
Settings()
`, `
a A str =x
c C int =2
! 6 ignored Pydantic 2 ignores env=: name the variable with validation_alias
! 7 refused without a type it is no field: Pydantic 2 refuses the class
! 9 ignored declared a second time: this declaration counts
! 11 refused overrides a field of Settings without its type: Pydantic 2 refuses the class
`, false},
	{"what only a run shows", head + `
from pydantic import create_model
from other import CommonSettings, make_field
PREFIX = open("x").read()
def env(name): return Field(validation_alias=name)
class Settings(CommonSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, alias_generator=odd)
    a: str = env("A")
    b: str = Field("x", alias=PREFIX)
    c: str = make_field("x")
    exec("d: int = 1")
    e: int = = 3
X = create_model("X", __base__=BaseSettings)
`, `
a A str unknown
c C str unknown
! 9 unread base CommonSettings is not in this file: fields it declares are not counted
! 10 unread env_prefix is computed: the variables' names are not known
! 10 unread alias_generator is not one this reader knows: the variables' names are not known
! 11 unread the default is a call that may return a Field: aliases and defaults are not known
! 12 unread alias is computed: the variable's name is not known
! 13 unread the default is a call that may return a Field: aliases and defaults are not known
! 14 unread the class changes its fields in a way that only a run shows
! 15 refused a syntax this reader does not know: the field is not read
! 16 unread create_model makes a class at run time: its fields are not read
`, false},
	{"newer syntax in unrelated code", head + `
type Pair[T: int] = tuple[T, T]
type Port = Annotated[int, Field(ge=1, alias="NOT_ALIAS")]
def generic[T: (int, str) = int](x: T, /, *, y=f"{x!r:{'>'}{10}} {{}} {d["a"]}") -> T:
    match x:
        case {"a": int() as z, **rest} if (n := 3): return lambda: z
        case _: pass
    async def inner(): return [i async for i in y if (k := i)]
class Settings[T](BaseSettings):
    port: Port = 1
    text: str = f"{', '.join(["a", f"{"b"}"])}"
    match: int = 1
    case: int = 2
    type: str = "t"
    t: str = t"{x}"
`, `
port PORT int ge:1 =1
text TEXT str unknown
match MATCH int =1
case CASE int =2
type TYPE str =t
t T str unknown
`, false},
	{"broken Python", head + `
class Settings(BaseSettings):
    a: int = 1
    b: str = "not closed
    c: int = 3
`, `
a A int =1
! 7 refused a string is not closed on its line: the rest of the file is not read
`, false},
	{"alias generators and attribute docstrings", head + `
from pydantic.alias_generators import to_camel
class Settings(BaseSettings):
    model_config = SettingsConfigDict(alias_generator=to_camel, use_attribute_docstrings=True, case_sensitive=True, env_prefix="X_")
    db_url: str = "x"
    """The database's address."""
    kept: str = Field("y", alias="KEPT")
`, `
db_url dbUrl str =x "The database's address."
kept KEPT str =y
`, false}, // Pydantic needs a file to find such docstrings
	{"import under another name, parenthesised, as a module", `
import pydantic_settings as ps
import pydantic as p
from pydantic_settings import (BaseSettings as Base, SettingsConfigDict as Conf,)
class A(ps.BaseSettings):
    x: p.SecretStr = p.Field(default=p.SecretStr("d"), validation_alias=p.AliasChoices("X1", "X2"))
class B(Base):
    model_config = Conf(env_prefix="B_")
    y: str = "y"
`, `
A.x X1,X2 secret secret =d
B.y B_Y str =y
`, false},
}

// summary writes what Read found in the form of vector.want.
func summary(s *Settings) string {
	var b strings.Builder
	main := "Settings"
	for _, f := range s.Fields {
		if f.Class != main {
			b.WriteString(f.Class + ".")
		}
		b.WriteString(f.Name + " ")
		if f.Canonical == "" {
			b.WriteString("-")
		}
		b.WriteString(strings.Join(f.Accepted, ",") + " " + string(f.Kind))
		for _, flag := range []struct {
			name string
			set  bool
		}{{"required", f.Required}, {"optional", f.Optional}, {"secret", f.Secret}, {"custom", f.Custom}, {"decoded", f.Decoded && f.Custom}, {"notext", f.NoText}} {
			if flag.set {
				b.WriteString(" " + flag.name)
			}
		}
		for _, c := range []struct{ name, text string }{
			{"ge", f.Constraints.Ge},
			{"gt", f.Constraints.Gt},
			{"le", f.Constraints.Le},
			{"lt", f.Constraints.Lt},
			{"min", f.Constraints.MinLength},
			{"max", f.Constraints.MaxLength},
			{"pattern", f.Constraints.Pattern},
			{"choices", strings.Join(f.Choices, ",")},
			{"prefixes", strings.Join(f.Prefixes, ",")},
		} {
			if c.text != "" {
				b.WriteString(" " + c.name + ":" + c.text)
			}
		}
		switch {
		case f.Default != nil && strings.ContainsAny(*f.Default, " \n\""):
			fmt.Fprintf(&b, " =%q", *f.Default)
		case f.Default != nil:
			b.WriteString(" =" + *f.Default)
		case f.DefaultKnown:
			b.WriteString(" =None")
		case !f.Required:
			b.WriteString(" unknown")
		}
		if f.Description != "" {
			fmt.Fprintf(&b, " %q", f.Description)
		}
		if f.Extra != nil {
			fmt.Fprintf(&b, " extra:%v", f.Extra)
		}
		b.WriteString("\n")
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "! %d %s %s\n", p.Line, p.Kind, p.Message)
	}
	return b.String()
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s, err := Read("config.py", []byte(v.src))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.TrimSpace(summary(s)), strings.TrimSpace(v.want); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			for _, line := range []string{"\r\n", "\r"} {
				again, err := Read("config.py", []byte(strings.ReplaceAll(v.src, "\n", line)))
				if err != nil {
					t.Fatal(err)
				}
				if summary(again) != summary(s) {
					t.Errorf("other line ends change the answer: %s", cmp.Or(summary(again), "nothing"))
				}
			}
		})
	}
}
