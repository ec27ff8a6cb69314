"""Where settings come from: flags over environment variables over a TOML file over defaults. And their reference."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from streamgauge_server.cluster_settings import BETWEEN, ClusterSettings
from streamgauge_server.model.limits import Limits
from streamgauge_server.settings import Settings

ENV_PREFIX = "STREAMGAUGE_"
ENV_DELIMITER = "__"
CONFIG_VARIABLE = "STREAMGAUGE_CONFIG"

_FOREIGN_VARIABLES = re.compile(
    # Of the SDK and its command line, which may run in the same environment.
    r"STREAMGAUGE_(TARGET|TOKEN|TOKEN_FILE|TLS|CA_FILE|CLIENT_(CERT|KEY)_FILE|SERVER_NAME|TIMEOUT|ALLOW_INSECURE_TOKEN)"
    # Of the tests.
    r"|STREAMGAUGE_TEST_\w+"
    # Kubernetes sets these in every pod beside a service that is called `streamgauge`.
    r"|STREAMGAUGE_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)
"""Variables with our prefix that are not settings of the server."""


class ConfigurationError(Exception):
    """Settings that are wrong or unknown; the message names each with where it comes from."""


def load(flags: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Settings:
    """Returns the settings in force.

    `flags` maps dotted names to values and wins; then come `STREAMGAUGE_*` variables (`__` for the dot), then the TOML
    file `config`, or the one that `STREAMGAUGE_CONFIG` names, then the defaults.

    Raises:
        ConfigurationError: something is unknown, malformed or contradictory.
    """
    flags = flags or {}
    known = {entry.name for entry in reference()}
    problems = [_unknown(name, known, "setting") for name in flags if name not in known]
    variables = {variable_of(name): name for name in known}
    problems += [
        _unknown(variable, variables, "environment variable")
        for variable in os.environ
        if variable.startswith(ENV_PREFIX)
        and variable not in variables
        and variable != CONFIG_VARIABLE
        and not _FOREIGN_VARIABLES.fullmatch(variable)
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    try:
        if config is not None:
            # pydantic-settings takes a file that is not there for an empty one.
            config.stat()
        sourced: Settings = _sourced(config)(**_nested(flags))
    except ValidationError as error:
        raise ConfigurationError(
            "\n".join(_problem(detail, known, flags, config) for detail in error.errors())
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot read {config}: {error.strerror}") from error
    except (ValueError, SettingsError) as error:
        raise ConfigurationError(f"{config}: {error}") from error
    return Settings.model_construct(**{name: getattr(sourced, name) for name in Settings.model_fields})


@dataclass(frozen=True, slots=True)
class Entry:
    """A setting as the reference lists it. `name` is dotted; `default` is None where there is none."""

    name: str
    type: str
    default: Any
    description: str

    @property
    def variable(self) -> str:
        """The environment variable of the setting."""
        return variable_of(self.name)


def variable_of(name: str) -> str:
    """Returns the environment variable of a setting."""
    return ENV_PREFIX + name.replace(".", ENV_DELIMITER).upper()


def reference() -> list[Entry]:
    """Returns every setting there is, generated from the model."""
    return list(_entries(Settings, ""))


def cluster_reference() -> list[Entry]:
    """Returns every setting of a cluster, by its name within the cluster's table."""
    return list(_entries(ClusterSettings, ""))


def shown(settings: Settings) -> dict[str, Any]:
    """Returns the values in force by dotted name, secrets masked."""
    values: dict[str, Any] = {}
    for entry in reference():
        value: Any = settings
        for part in entry.name.split("."):
            value = getattr(value, part)
        if entry.name == "database":
            value = mask_url(value)
        elif entry.name == "clusters":
            value = f"{BETWEEN} ".join(map(str, value))
        elif isinstance(value, tuple):
            value = ", ".join(value)
        values[entry.name] = value
    return values


def mask_url(url: str) -> str:
    """Returns a URL with its password, in either place, replaced by `***`."""
    url = re.sub(r"(?<=://)([^:/?#@]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&][^=&]*password[^=&]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def _sourced(config: Path | None) -> type[Any]:
    class Sourced(Settings, BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER, extra="forbid", frozen=True
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config))

    return Sourced


def _nested(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flags.items():
        *sections, leaf = name.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    return nested


def _unknown(name: str, known: Iterable[str], what: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what} {name}" + (f"; did you mean {close[0]}?" if close else "")


def _problem(detail: Mapping[str, Any], known: set[str], flags: Mapping[str, Any], config: Path | None) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return _unknown(name, known, f"setting in {config}:")
    if name in flags:
        origin = "flag"
    elif variable_of(name) in os.environ:
        origin = variable_of(name)
    else:
        origin = str(config) if config else "settings"
    message = detail["msg"].removeprefix("Value error, ")
    if name not in known:
        return f"{name}: {message}" if name else message
    return f"{name}: {message} (from {origin})"


def _entries(model: type[BaseModel], prefix: str) -> Iterator[Entry]:
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _entries(annotation, f"{prefix}{name}.")
        elif annotation is Limits:
            for limit in fields(Limits):
                about = f"{limit.metadata['about']} In {limit.metadata['unit']}."
                yield Entry(f"{prefix}{name}.{limit.name}", "integer", limit.default, about)
        else:
            default = None if info.is_required() else info.default
            text = "" if default == () else default
            yield Entry(f"{prefix}{name}", _type_text(annotation), text, info.description or "")


def _type_text(annotation: Any) -> str:
    if get_origin(annotation) is tuple:
        return {str: "list of texts", ClusterSettings: "clusters"}[get_args(annotation)[0]]
    alternatives = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Literal:
        return " | ".join(alternatives)
    if alternatives:
        return _type_text(alternatives[0])
    return {int: "integer", float: "number", bool: "boolean", Path: "path", str: "text"}[annotation]
