"""The contract by name: its messages, enums and services as the descriptor set has them, with their comments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
"""Field numbers of `FileDescriptorProto`, by which its source info names what a comment is about."""
_FIELDS, _NESTED_MESSAGES, _NESTED_ENUMS, _VALUES, _METHODS = 2, 3, 4, 2, 2
"""The same of what is inside of messages, enums and services."""

_Path = tuple[int, ...]


class Contract:
    """What a descriptor set describes, by full name without the leading dot. Comments need a set with source info."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, EnumDescriptorProto] = {}
        self.services: dict[str, ServiceDescriptorProto] = {}
        self._comments: dict[str, str] = {}
        for file in files.file:
            self._add_file(file)

    def comment(self, name: str) -> str:
        """Returns the comment above a message, field, enum, enum's value, service or method; empty without one.

        A line of the comment goes on in the next one; an empty line begins a paragraph.
        """
        return self._comments.get(name, "")

    def _add_file(self, file: FileDescriptorProto) -> None:
        told = {tuple(at.path): at.leading_comments for at in file.source_code_info.location if at.leading_comments}
        for i, message in enumerate(file.message_type):
            self._add_message(file.package, message, (_MESSAGES, i), told)
        for i, enum in enumerate(file.enum_type):
            self._add_enum(file.package, enum, (_ENUMS, i), told)
        for i, service in enumerate(file.service):
            name = f"{file.package}.{service.name}"
            self.services[name] = service
            self._keep(name, (_SERVICES, i), told)
            self._keep_each(name, (method.name for method in service.method), (_SERVICES, i, _METHODS), told)

    def _add_message(self, scope: str, message: DescriptorProto, path: _Path, told: Mapping[_Path, str]) -> None:
        name = f"{scope}.{message.name}"
        self.messages[name] = message
        self._keep(name, path, told)
        self._keep_each(name, (field.name for field in message.field), (*path, _FIELDS), told)
        for i, nested in enumerate(message.nested_type):
            self._add_message(name, nested, (*path, _NESTED_MESSAGES, i), told)
        for i, enum in enumerate(message.enum_type):
            self._add_enum(name, enum, (*path, _NESTED_ENUMS, i), told)

    def _add_enum(self, scope: str, enum: EnumDescriptorProto, path: _Path, told: Mapping[_Path, str]) -> None:
        name = f"{scope}.{enum.name}"
        self.enums[name] = enum
        self._keep(name, path, told)
        self._keep_each(name, (value.name for value in enum.value), (*path, _VALUES), told)

    def _keep_each(self, scope: str, names: Iterable[str], path: _Path, told: Mapping[_Path, str]) -> None:
        for i, name in enumerate(names):
            self._keep(f"{scope}.{name}", (*path, i), told)

    def _keep(self, name: str, path: _Path, told: Mapping[_Path, str]) -> None:
        if path in told:
            self._comments[name] = paragraphs(told[path])


def paragraphs(comment: str) -> str:
    """Returns a comment as it reads: the lines of a paragraph joined, paragraphs apart."""
    blocks = re.split(r"\n\s*\n", comment.strip())
    return "\n\n".join(" ".join(line.strip() for line in block.splitlines()) for block in blocks)


def first_sentence(text: str) -> str:
    """Returns the first sentence of a comment without its full stop: what it says in short."""
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0].rstrip(".")
