"""Says what Pydantic itself makes of settings classes.

Reads one JSON object a line: {"id": …, "src": …, "class": …, "probes": {variable: value}}.
Answers with the fields of the class (accepted variables, default, required, description, extra)
and, for each probe, which fields change when that variable alone is set. With an argument
it only prints the version and the kind of settings it has.
"""

import enum
import json
import os
import pathlib
import sys

import pydantic

V2 = pydantic.VERSION.startswith("2")
if V2:
    import pydantic_settings
    from pydantic_settings import EnvSettingsSource

if len(sys.argv) > 1:
    print(pydantic.VERSION, pydantic_settings.__version__ if V2 else "")
    sys.exit()


def text(value):
    if value is None:
        return None
    if isinstance(value, enum.Enum):
        return text(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (int, str)):
        return str(value)
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if hasattr(value, "get_secret_value"):
        return text(value.get_secret_value())
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return repr(value)


def fold(names, sensitive):
    names = [n if sensitive else n.upper() for n in names]
    return list(dict.fromkeys(names))


def fields(cls):
    if V2:
        source = EnvSettingsSource(cls)
        for name, f in cls.model_fields.items():
            default = None if f.is_required() else f.get_default(call_default_factory=True)
            extra = f.json_schema_extra
            yield {
                "name": name,
                "accepted": fold([e[1] for e in source._extract_field_info(f, name)], source.case_sensitive),
                "required": f.is_required(),
                "default": text(default),
                "description": f.description or "",
                "extra": extra,
            }
        return
    for name, f in cls.__fields__.items():
        info = f.field_info
        names = info.extra["env_names"]
        if isinstance(names, (set, frozenset)):
            names = sorted(names)
        yield {
            "name": name,
            "accepted": fold(names, cls.__config__.case_sensitive),
            "required": bool(f.required),
            "default": text(None if f.required else f.get_default()),
            "description": info.description or "",
            "extra": {k: v for k, v in info.extra.items() if k not in ("env", "env_names")} or None,
        }


def flat(value, path, out):
    if isinstance(value, dict) and value:
        for k, v in value.items():
            flat(v, f"{path}.{k}" if path else str(k), out)
    else:
        out[path] = str(text(value))


def dump(cls, env):
    os.environ.clear()
    os.environ.update(env)
    instance = cls()
    out = {}
    flat(instance.model_dump() if V2 else instance.dict(), "", out)
    return out


def probe(cls, probes):
    empty = dump(cls, {}) if probes else {}
    for variable, value in probes.items():
        try:
            full = dump(cls, {variable: value})
        except Exception as e:
            yield variable, ["error: " + str(e)]
            continue
        changed = {k for k, _ in set(empty.items()) ^ set(full.items())}
        if "zz" in value:  # a model that was None appears whole: only the value's own place counts
            changed = {k for k in changed if "zz" in full.get(k, "")}
        yield variable, sorted(changed)


def answer(request):
    os.environ.clear()
    module = {"__name__": "settings"}
    try:
        exec(compile(request["src"], "settings.py", "exec"), module)
        cls = module[request["class"]]
        return {
            "id": request["id"],
            "fields": list(fields(cls)),
            "probes": dict(probe(cls, request.get("probes") or {})),
        }
    except Exception as e:
        return {"id": request["id"], "error": f"{type(e).__name__}: {e}"}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))))
