"""Says which texts Pydantic takes from the environment for a field.

Reads one JSON object a line ({"field": "int = Field(ge=1)", "texts": […]}) and
answers with a line of + and -, one for each text, or with ? and why where the
class cannot be made. With the argument version it says which Pydantic this is.
"""

import json
import os
import sys
import warnings

warnings.simplefilter("ignore")
import pydantic

if len(sys.argv) > 1:
    print(pydantic.VERSION)
    sys.exit()

HEAD = """
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import *
from uuid import UUID
from pydantic import *
"""
if pydantic.VERSION.startswith("2"):
    HEAD += "from pydantic_settings import BaseSettings, SettingsConfigDict\n"
HEAD += "class Color(str, Enum):\n    RED = 'red'\n\nclass Level(IntEnum):\n    LOW = 1\n\n"

for line in sys.stdin:
    request = json.loads(line)
    scope = {}
    try:
        exec(HEAD + "class Settings(BaseSettings):\n    x: " + request["field"] + "\n", scope)
    except Exception as e:
        print("? " + str(e).replace("\n", " "))
        continue
    said = ""
    for text in request["texts"]:
        os.environ["X"] = text
        try:
            scope["Settings"]()
            said += "+"
        except Exception:
            said += "-"
    print(said)
