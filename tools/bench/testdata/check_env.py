#!/usr/bin/env python3
"""Compare the variables of a template, a settings file and an example.

The checker that teams write for themselves: names only, found by regular
expressions, no types, defaults, paths, policies or rendering.
"""

import argparse
import re
import sys
from pathlib import Path

TEMPLATE_KEY = re.compile(r"^\s*([A-Z][A-Z0-9_]*)=", re.MULTILINE)
EXAMPLE_KEY = re.compile(r"^([A-Z][A-Z0-9_]*)=", re.MULTILINE)
FIELD = re.compile(r"^    ([a-z][a-z0-9_]*)\s*:\s*[^=\n]+(?:=\s*(.*))?$")
ALIAS = re.compile(r"AliasChoices\((.*?)\)", re.DOTALL)
STRING = re.compile(r"[\"']([A-Z][A-Z0-9_]*)[\"']")
TEMPLATE_COMMENT = re.compile(r"\{\{/\*.*?\*/\}\}", re.DOTALL)


def template_keys(path: Path) -> set[str]:
    return set(TEMPLATE_KEY.findall(TEMPLATE_COMMENT.sub("", path.read_text(encoding="utf-8"))))


def code_fields(path: Path) -> dict[str, set[str]]:
    """Return the canonical name of each field and every name it accepts."""
    fields: dict[str, set[str]] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        match = FIELD.match(line)
        if not match or match.group(1) == "model_config":
            continue
        name = match.group(1).upper()
        body = match.group(2) or ""
        if body.startswith("Field("):
            following = number + 1
            while body.count("(") > body.count(")") and following < len(lines):
                body += "\n" + lines[following]
                following += 1
        choices = ALIAS.search(body)
        names = STRING.findall(choices.group(1)) if choices else []
        fields[names[0] if names else name] = set(names or [name])
    return fields


def example_keys(path: Path) -> set[str]:
    return set(EXAMPLE_KEY.findall(path.read_text(encoding="utf-8")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("template", type=Path)
    parser.add_argument("code", type=Path)
    parser.add_argument("example", type=Path)
    args = parser.parse_args()
    template, fields, example = template_keys(args.template), code_fields(args.code), example_keys(args.example)
    accepted = set().union(*fields.values())
    errors = [f"{key}: in the template, not in the code" for key in sorted(template - accepted)]
    errors += [f"{key}: in the code, not in the example" for key in sorted(set(fields) - example)]
    for key in sorted(example - accepted):
        print(f"note: {key}: in the example, not in the code")
    for error in errors:
        print(f"error: {error}")
    print(f"{len(template)} template, {len(fields)} code, {len(accepted)} accepted, {len(example)} example")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
