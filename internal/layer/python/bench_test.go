package python

import (
	"fmt"
	"strings"
	"testing"
)

// sixty is a settings file of 60 fields as teams write them, most of them
// over several lines.
func sixty() []byte {
	var b strings.Builder
	b.WriteString(head + "\nclass Settings(BaseSettings):\n    \"\"\"Settings, see https://example.org.\"\"\"\n\n    model_config = SettingsConfigDict(env_file=\".env\", extra=\"ignore\")\n")
	for i := range 60 {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "    plain_%d: str = \"https://example.org/%d\"  # a comment\n", i, i)
		case 1:
			fmt.Fprintf(&b, "    aliased_%d: SecretStr | None = Field(\n        default=None,\n        validation_alias=AliasChoices(\n            \"NAME_%d\",\n            \"OTHER_%d\",\n        ),\n        description=(\n            \"What it is \"\n            \"and why\"\n        ),\n        json_schema_extra={\"vault\": True, \"group\": \"db\"},\n    )\n", i, i, i)
		case 2:
			fmt.Fprintf(&b, "    number_%d: int = Field(60 * 24, ge=1, le=%d)\n", i, 10000+i)
		default:
			fmt.Fprintf(&b, "\n    @property\n    def method_%d(self) -> dict[str, int]:\n        \"\"\"A method.\"\"\"\n        return {k: v for k, v in self.items() if f\"{k}\"}\n\n    list_%d: list[str] = [\"a\", \"b\"]\n", i, i)
		}
	}
	return []byte(b.String())
}

func BenchmarkRead60(b *testing.B) {
	src := sixty()
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		s, err := Read("config.py", src)
		if err != nil || len(s.Fields) != 60 || len(s.Problems) != 0 {
			b.Fatal(err, len(s.Fields), s.Problems)
		}
	}
}
