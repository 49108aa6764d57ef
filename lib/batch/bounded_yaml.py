"""YAML as people write it, read within bounds: no code, no endless aliases, mistakes by place."""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_BYTES = 2**20  # of a params file; the longest here has a few kB
MOST_NODES = 100_000  # words, lists and mappings, each alias counted as what it stands for
DEEPEST = 20  # lists and mappings inside one another


class YamlError(ValueError):
    """A text is no YAML, or more of it than anybody means; one line with the place."""


class Loader(yaml.SafeLoader):
    """Safe YAML in which `1e-3` is a number, and a key given twice is a mistake."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """What a node stands for; a date or number that cannot be is a mistake at its place."""
        try:
            return super().construct_object(node, deep)
        # `2026-13-45`, 5,000 digits, `!!bool x`, `!!int ''`, `!!timestamp x`, in this order.
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            found = f"{' '.join(str(error).split())[:80]} ({str(node.value)[:20]})"
            raise yaml.constructor.ConstructorError(None, None, found, node.start_mark) from None


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def unique_mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Build a mapping, refusing a key that stands twice."""
    seen: set[Any] = set()
    for key_node, _ in node.value:
        place = key_node.start_mark
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key is no word", place)
        if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *name`; what it brings may be replaced
            continue
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{key}: given twice", place)
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node))


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, unique_mapping)


def parse_yaml(text: str) -> Any:
    """What a text says in plain Python: dicts, lists, text, numbers, flags, dates, None.

    Raises YamlError, `line 3, column 1: not valid YAML: …`, for what is none, for a key given
    twice, and for a text within which more than `MOST_NODES` nodes stand, or more than `DEEPEST`
    inside one another: aliases of aliases say in a few lines what no memory holds.
    """
    try:
        measure(text)
        return yaml.load(text, Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"line {line}: not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlError(f"{where}not valid YAML: {explain(error)}") from None


def measure(text: str) -> None:
    """MarkedYAMLError where a text nests or repeats beyond bounds.

    Only looks at the events of the parser, which hold nothing of what they stand for.
    """
    sizes: dict[str, int] = {}  # nodes behind each anchor that is complete
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # anchor and nodes so far
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > DEEPEST + 1:
                raise refusal(f"more than {DEEPEST} lists or mappings nested", event)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise refusal(f"*{event.anchor} contains itself", event)
            anchor, size = None, sizes.get(str(event.anchor), 1)
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        above, so_far = open_nodes.pop()
        if so_far + size > MOST_NODES:
            raise refusal(f"more than {MOST_NODES:,} words, most by aliases of aliases", event)
        open_nodes.append((above, so_far + size))


def refusal(problem: str, event: Any) -> yaml.MarkedYAMLError:
    """An error at the place of an event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def explain(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, in a line."""
    problem = " ".join(str(error.problem or error.context).split())
    if r"'\t'" in problem:
        return "a tab; indent with spaces"
    return problem
