"""Command lines made from dataclasses: one option a field, its help in the field's metadata."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from typing import Any

OK, WRONG_REQUEST, SOME_QUARANTINED = 0, 2, 3
"""How a job ends: all is made, the request cannot be fulfilled, some rows are in the quarantine."""


def option(default: Any, meaning: str, metavar: str | None = None) -> Any:
    """A field of a dataclass that is an option of a job."""
    metadata = {"help": meaning, **({"metavar": metavar} if metavar else {})}
    return dataclasses.field(default=default, metadata=metadata)


def add_options(parser: argparse.ArgumentParser, title: str, configuration: type) -> None:
    """A group with one option for each field that has a help text. What is not given stays out of the namespace."""
    group = parser.add_argument_group(title)
    hints = typing.get_type_hints(configuration)
    for field in dataclasses.fields(configuration):
        if "help" not in field.metadata:
            continue
        default = field.default
        required = default is dataclasses.MISSING
        shown = "" if required or default is None or default is False else f" (default {default})"
        kwargs: dict[str, Any] = {"help": field.metadata["help"] + shown, "default": argparse.SUPPRESS}
        flag = "--" + field.name.replace("_", "-")
        if default is False:
            group.add_argument(flag, action="store_true", **kwargs)
            continue
        value_type = hints[field.name]
        options = [option for option in typing.get_args(value_type) if option is not type(None)]
        if typing.get_origin(value_type) is typing.Literal:
            kwargs["choices"], value_type = options, str
        elif options:
            (value_type,) = options
        metavar = None if "choices" in kwargs else field.metadata.get("metavar", value_type.__name__.upper())
        group.add_argument(flag, type=value_type, required=required, metavar=metavar, **kwargs)


def given(namespace: argparse.Namespace, configuration: type) -> dict[str, Any]:
    """The options of ``configuration`` that were on the command line."""
    names = {field.name for field in dataclasses.fields(configuration)}
    return {name: value for name, value in vars(namespace).items() if name in names}
