"""Says what CPython's ast sees in Python sources: the annotated names in class
bodies with their positions, and the values of literals.

Reads one JSON object a line ({"id": …, "src": …} or {"id": …, "path": …}) and
answers with one a line.
"""

import ast
import json
import sys
import warnings

warnings.simplefilter("ignore")


def value(node):
    if node is None:
        return None
    try:
        return repr(ast.literal_eval(node))
    except Exception:
        return "?"


def skipped(test):
    """Whether a condition never holds when a program runs."""
    if isinstance(test, ast.Constant):
        return not test.value
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def taken(test):
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return skipped(test.operand)
    return isinstance(test, ast.Constant) and bool(test.value)


def fields_of_if(node):
    """Branches as they run, where that can be told without running them."""
    if not skipped(node.test):
        yield from fields(ast.Module(node.body, []))
    if not taken(node.test):
        for child in node.orelse:
            if isinstance(child, ast.If):
                yield from fields_of_if(child)
            else:
                yield from fields(ast.Module([child], []))


def bodies(node):
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, name, ()) if not isinstance(node, (ast.IfExp, ast.Lambda)) else ():
            yield child


def fields(node):
    for child in bodies(node):
        if isinstance(child, ast.AnnAssign):
            if child.simple:
                yield [child.target.id, child.lineno, child.col_offset + 1, child.end_lineno, value(child.value)]
        elif isinstance(child, ast.If):
            yield from fields_of_if(child)
        elif not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from fields(child)


def classes(node):
    for child in bodies(node):
        if isinstance(child, ast.ClassDef):
            yield {"name": child.name, "line": child.lineno, "bases": len(child.bases), "fields": list(fields(child))}
        yield from classes(child)


def answer(request):
    try:
        if "path" in request:
            with open(request["path"], "rb") as f:
                source = f.read()
        else:
            source = request["src"].encode()
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        return {"id": request["id"], "error": str(e)}
    return {"id": request["id"], "classes": sorted(classes(tree), key=lambda c: c["line"])}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))))
