"""Command lines made from dataclasses: one option a field, its help in the field's metadata."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from typing import Any

OK, FAILED, WRONG_REQUEST, SOME_QUARANTINED = 0, 1, 2, 3
"""How a job ends: all is made, Ray was lost, the request cannot be fulfilled, some rows are in the quarantine."""


def option(default: Any, meaning: str, metavar: str | None = None) -> Any:
    """A field of a dataclass that is an option of a job."""
    metadata = {"help": meaning, **({"metavar": metavar} if metavar else {})}
    return dataclasses.field(default=default, metadata=metadata)


def command_line(documentation: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a job's documentation."""
    return argparse.ArgumentParser(
        description=(documentation or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_options(parser: argparse.ArgumentParser, title: str, configuration: type) -> None:
    """A group with one option for each field that has a help text. What is not given stays out of the namespace.

    A tuple is an option that may be given several times; a field with ``positional`` metadata stands without a name.
    """
    group = parser.add_argument_group(title)
    hints = typing.get_type_hints(configuration)
    for field in dataclasses.fields(configuration):
        if "help" not in field.metadata:
            continue
        default = field.default
        required = default is dataclasses.MISSING
        text = ", ".join(map(str, default)) if isinstance(default, tuple) else default
        shown = "" if required or default is None or default is False else f" (default {text})"
        kwargs: dict[str, Any] = {"help": field.metadata["help"] + shown, "default": argparse.SUPPRESS}
        if field.metadata.get("positional"):
            group.add_argument(field.name, help=field.metadata["help"], metavar=field.name.upper())
            continue
        flag = "--" + field.name.replace("_", "-")
        if default is False:
            group.add_argument(flag, action="store_true", **kwargs)
            continue
        value_type = hints[field.name]
        options = [option for option in typing.get_args(value_type) if option is not type(None)]
        several = typing.get_origin(value_type) is tuple
        if several:
            options = [each for each in options if each is not Ellipsis]
            value_type = options[0]
        if typing.get_origin(value_type) is typing.Literal:
            kwargs["choices"], value_type = list(typing.get_args(value_type)), str
        elif options:
            value_type = options[0]
        if several:
            kwargs["action"] = "append"
        metavar = None if "choices" in kwargs else field.metadata.get("metavar", value_type.__name__.upper())
        group.add_argument(flag, type=value_type, required=required, metavar=metavar, **kwargs)


def check_counts(options: Any, *names: str) -> None:
    """Raises ``ValueError`` for the first of these options that is given and less than 1."""
    for name in names:
        if (number := getattr(options, name)) is not None and number < 1:
            raise ValueError(f"{name} is {number}, expected at least 1")


def given(namespace: argparse.Namespace, configuration: type) -> dict[str, Any]:
    """The options of ``configuration`` that were on the command line."""
    names = {field.name for field in dataclasses.fields(configuration)}
    values = {name: value for name, value in vars(namespace).items() if name in names}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
