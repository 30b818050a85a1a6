"""Read YAML by its 1.2 core rules, strictly.

PyYAML alone follows YAML 1.1: `1e-6` is text to it, `no` is false, `010` is eight, a date is an object, and of
two equal keys the last one wins unnoticed.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml


class YamlProblem(ValueError):
    """Text that is not YAML, or has one key twice; `line` counts from 1, or is None if unknown."""

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def parse(text: str) -> object:
    """The one document in `text`; None if it is empty.

    >>> parse("{rate: 1e-6, answer: no}")
    {'rate': 1e-06, 'answer': 'no'}

    Raises:
        YamlProblem: with the line where reading stopped.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (built on SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(error.problem or "not YAML", mark.line + 1 if mark else None) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlProblem(f"character {chr(int(error.character))!r} is not allowed in YAML", line) from None
    except RecursionError:
        raise YamlProblem("nested too deeply", None) from None
    except (yaml.YAMLError, ValueError) as error:
        raise YamlProblem(str(error), None) from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2 and without repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's contract)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """As the base does, after refusing a repeated key."""
        first_lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the base refuses what cannot be a key
            if key.value in first_lines:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key.value!r} is on line {first_lines[key.value]} already: keep one of the two",
                    problem_mark=key.start_mark,
                )
            first_lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # the base reads a leading zero as octal


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
# In order: the first pattern that matches names the type, so whole numbers come before fractions.
for _tag, _pattern, _starts in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _starts)
