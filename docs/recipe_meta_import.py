#!/usr/bin/env python3
"""Translates the predecessor's recipe_meta.py into recipe-ci.yml, on standard output.

    python3 docs/recipe_meta_import.py <recipe>/recipe_meta.py >recipe-ci.yml

Nothing of the file is executed: literals are translated, and names of literals that were assigned above. Everything else is
listed, on standard error and as comments, for a person to translate. `recipe-ci overlay check` reads what comes of it.
"""

import ast
import json
import sys

ADVICE = {
    "READY_PROBE": "write the probes under `ready`",
    "BACKUP_VERIFY": "write the check as a command under `backup.verify`",
    "EXTRA_ENV": "`${DOMAIN}` in a value is the app's domain",
    "UPGRADE_EXTRA_ENV": "`${DOMAIN}` in a value is the app's domain",
    "SCREENSHOT": "there are no screenshots",
}
PROBE = {"tcp_port": "tcp", "stable": "stable", "path": "http", "ok": "statuses"}
RUNGS = {"backup": "backup_restore", "restore": "backup_restore", "functional": "custom"}


def variables(value):
    # The predecessor wrote Python's str() of a flag; its users wrote them as strings.
    return {name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in value.items()}


def probe(value):
    # The container is asked itself, so there is no host to name.
    return {PROBE[key]: v for key, v in value.items() if key != "tcp_host"}


# Where a setting goes, and what is done to its value on the way.
SETTINGS = {
    "HEALTH_PATH": ("health", "path", str),
    "HEALTH_OK": ("health", "statuses", list),
    "DEPLOY_TIMEOUT": ("timeouts", "deploy", int),
    "HTTP_TIMEOUT": ("timeouts", "http", int),
    "EXTRA_ENV": ("env", None, variables),
    "UPGRADE_EXTRA_ENV": ("upgrade_env", None, variables),
    "READY_PROBE": ("ready", None, lambda value: [probe(one) for one in value]),
    "BACKUP_CAPABLE": ("backup", "capable", bool),
    # The predecessor failed a run whose dependency was not verified.
    "DEPS": ("dependencies", None, lambda value: [{"recipe": name, "required": True} for name in value]),
    "WARM_CANONICAL": ("canonical", None, bool),
    "UPGRADE_BASE_VERSION": ("base", None, str),
    "EXPECTED_NA": ("expected_na", None, lambda value: {RUNGS.get(rung, rung): why for rung, why in value.items()}),
}


class Known(ast.NodeTransformer):
    """Puts the literal that was assigned to a name in the name's place."""

    def __init__(self):
        self.values = {}

    def visit_Name(self, node):
        return self.values.get(node.id, node)


def translate(text, file):
    """Returns the settings, and what is left as pairs of line and words."""
    known, declared, left = Known(), {}, []
    for node in ast.parse(text, file).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        name = getattr(node, "name", None) or getattr(targets[0], "id", "")
        try:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # the docstring
            if not isinstance(node, (ast.Assign, ast.AnnAssign)) or len(targets) != 1:
                raise ValueError("no plain assignment")
            expression = known.visit(node.value)
            value = ast.literal_eval(expression)
            known.values[name] = expression
            if name.startswith("_") or value is None:
                continue
            section, key, convert = SETTINGS[name]
            value = convert(value)
            if key is None:
                declared[section] = value
            else:
                declared.setdefault(section, {})[key] = value
        except (ValueError, KeyError, TypeError, AttributeError):
            what = text.splitlines()[node.lineno - 1]
            left.append((node.lineno, f"{what} ({ADVICE[name]})" if name in ADVICE else what))
    return declared, left


def main():
    file = sys.argv[1]
    with open(file, encoding="utf-8") as source:
        declared, left = translate(source.read(), file)
    print(f"# From {file} of the predecessor.")
    for line, what in left:
        print(f"# Not translated, line {line}: {what}")
        print(f"not translated: {file}:{line}: {what}", file=sys.stderr)
    for key, value in declared.items():
        # JSON is YAML.
        print(f"{key}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
