"""The kinds of value in a configuration beyond plain text and numbers.

Each is an annotated type whose validator says what is wrong and what would be right. `Outside`, the
validation context, gives a validator the environment variables and the directory of the file, so that
validating depends on its arguments only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gateway.config.api_keys import hash_key
from gateway.config.environment import FILE_SUFFIX
from gateway.config.read_files import ReadFiles
from gateway.config.sendable import (
    address_problem,
    hook_address_problem,
    hook_secret_problem,
    unsendable_headers,
    unsendable_key,
    unsendable_text,
)
from gateway.config.templates import TemplateProblem, check_template

ENVIRONMENT_PREFIX: Final = "os.environ/"
NAME_PATTERN: Final = r"^[A-Za-z0-9._-]{1,64}$"
MODEL_NAME_PATTERN: Final = r"^[A-Za-z0-9._:/@-]{1,128}$"
DURATION_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?[smhd]$"
KEY_HASH_PATTERN: Final = r"^sha256:[0-9a-f]{64}$"
ORIGIN_PATTERN: Final = r"^(\*|[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+)$"
ENVIRONMENT_PATTERN: Final = r"^os\.environ/[A-Za-z_][A-Za-z0-9_]*$"
MAX_TEMPLATE_BYTES: Final = 1_000_000
LONGEST_DURATION: Final = timedelta(days=365)

_MANY: Final = 1e8  # too long in any unit, but still within the range of a timedelta
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Outside:
    """What validation may look at besides the file itself.

    Attributes:
        environ: The variables in which `os.environ/NAME` is looked up.
        directory: The directory to which template paths are relative.
        files: The templates that were looked for.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    directory: Path = Path()
    files: ReadFiles = field(default_factory=ReadFiles)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A Jinja template: the path as written in the file, and the text found there."""

    path: str
    text: str

    @classmethod
    def read(cls, as_written: str, directory: Path) -> PromptTemplate:
        """The template in a file.

        Args:
            as_written: The path in the configuration.
            directory: The directory to which the path is relative.

        Raises:
            PydanticCustomError: If the file cannot be read, or is too large or not UTF-8.
        """
        path = directory / as_written
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            raise fault(
                f"The template {as_written} cannot be read: {getattr(error, 'strerror', None) or error}.",
                f"Paths are relative to the configuration file; this one means {path}.",
            ) from error
        if len(content) > MAX_TEMPLATE_BYTES:
            raise fault(
                f"The template {as_written} is too large.", f"At most {MAX_TEMPLATE_BYTES} bytes are read."
            )
        try:
            return cls(as_written, content.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise fault(f"The template {as_written} is not UTF-8 text.", "Save it as UTF-8.") from error


@dataclass(frozen=True, slots=True)
class Spelling:
    """An annotation that says how a text must be written.

    Attributes:
        pattern: Regular expression for the whole text.
        problem: The end of the message about any other text, after the text itself.
        remedy: What would be right.
    """

    pattern: str
    problem: str
    remedy: str

    def check(self, text: str) -> str:
        """The text, if it matches the pattern.

        Raises:
            PydanticCustomError: If it does not.
        """
        if not re.fullmatch(self.pattern, text):
            raise fault(f"{text!r} {self.problem}.", self.remedy)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern}


def fault(problem: str, remedy: str) -> PydanticCustomError:
    """The error a validator raises: what is wrong, and what would be right."""
    return PydanticCustomError("config", "{problem} {remedy}", {"problem": problem, "remedy": remedy})


def is_secret_header(name: str) -> bool:
    """Whether a header carries a credential, judged by its name."""
    return bool(re.search(r"auth|key|token|secret|cookie|credential|password", name, re.IGNORECASE))


def outside_of(info: ValidationInfo) -> Outside:
    """What the file depends on besides its own text."""
    return info.context if isinstance(info.context, Outside) else Outside()


def environment(info: ValidationInfo) -> Mapping[str, str]:
    """The variables to look up while a configuration is read; none if it is not read from a file."""
    return outside_of(info).environ


def resolve_reference(value: Any, environ: Mapping[str, str]) -> Any:
    """The variable's value if `value` is `os.environ/NAME`, otherwise `value` itself."""
    if not isinstance(value, str) or not value.startswith(ENVIRONMENT_PREFIX):
        return value
    name = value.removeprefix(ENVIRONMENT_PREFIX)
    if not re.fullmatch(ENVIRONMENT_PATTERN, value):
        raise fault(f"{name!r} is not the name of an environment variable.", "Write os.environ/NAME.")
    if not environ.get(name):
        if file := environ.get(name + FILE_SUFFIX):
            raise fault(
                f"The file {file}, which {name}{FILE_SUFFIX} names, cannot be read or is empty.",
                "Put the value there, readable by the gateway.",
            )
        state = "empty" if name in environ else "not set"
        raise fault(f"The environment variable {name} is {state}.", f"Set {name} where the gateway starts.")
    return environ[name]


def _resolve(value: Any, info: ValidationInfo) -> Any:
    return resolve_reference(value, outside_of(info).environ)


def _resolve_each(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _resolve(part, info) for name, part in value.items()}


def refuse_if(find: Callable[[Any], tuple[str, str] | None]) -> AfterValidator:
    """A check that refuses a value for which `find` gives a problem and its remedy."""

    def check(value: Any) -> Any:
        if found := find(value):
            raise fault(*found)
        return value

    return AfterValidator(check)


def _as_secret(value: Any, info: ValidationInfo) -> Any:
    resolved = _resolve(value, info)
    return SecretStr(resolved) if isinstance(resolved, str) else resolved


def _parse_duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.fullmatch(DURATION_PATTERN, value):
        raise fault(f"{value!r} is not a duration.", "Write a number and a unit: 90s, 15m, 24h or 7d.")
    duration = timedelta(**{_UNITS[value[-1]]: min(float(value[:-1]), _MANY)})
    if duration > LONGEST_DURATION:
        raise fault(f"{value} is too long.", f"The longest duration is {LONGEST_DURATION.days}d.")
    return duration


def _as_provider_model(value: Any, info: ValidationInfo) -> Any:
    resolved = _resolve(value, info)
    if not isinstance(resolved, str):
        return resolved
    provider, _, name = resolved.partition("/")
    if not (provider and name) or any(character.isspace() for character in resolved):
        # The value as written: what an environment variable holds is not repeated.
        raise fault(
            f"{value!r} does not name a provider.", "Write provider/model, such as openai/gpt-4o-mini."
        )
    return resolved


def _read_template(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, PromptTemplate):
        template = value
    elif isinstance(value, str) and value:
        outside = outside_of(info)
        outside.files.add(outside.directory / value)
        template = PromptTemplate.read(value, outside.directory)
    else:
        raise fault("This is not a path.", "Name a Jinja file, relative to the configuration file.")
    try:
        check_template(template.text)
    except TemplateProblem as error:
        raise fault(f"The template {template.path} {error.problem}", error.remedy) from error
    return template


def _as_key_hash(value: Any, info: ValidationInfo) -> str:
    resolved = _resolve(value, info)
    came_from_environment = resolved is not value
    if isinstance(resolved, str) and re.fullmatch(KEY_HASH_PATTERN, resolved):
        return resolved
    if (
        came_from_environment
        and not resolved.startswith("sha256:")
        and not any(c.isspace() for c in resolved)
    ):
        return hash_key(resolved)
    raise fault(
        "This is not the hash of a key.",
        "Write the sha256: line that `llmpo keys new` prints, or os.environ/NAME of a key or its hash.",
    )


Name = Annotated[
    str,
    Spelling(NAME_PATTERN, "cannot be a name", "Use 1 to 64 letters, digits, dots, dashes or underscores."),
]
ModelName = Annotated[
    str,
    Spelling(
        MODEL_NAME_PATTERN,
        "cannot be a model name",
        "Use 1 to 128 letters, digits or any of . _ - : / @ (no wildcards).",
    ),
]
TextOrReference = Annotated[str, BeforeValidator(_resolve), refuse_if(unsendable_text)]
Level = Annotated[float, Field(ge=1e-100, lt=1)]  # the inverse of a smaller one is soon infinite
Margin = Annotated[float, Field(ge=0, le=0.49)]  # one half and the margin stay below 1
SecondsOrReference = Annotated[
    float,
    Field(strict=False, gt=0, le=86_400),
    BeforeValidator(_resolve),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400},
                {"type": "string", "pattern": ENVIRONMENT_PATTERN},
            ]
        }
    ),
]
ProviderModel = Annotated[
    str,
    BeforeValidator(_as_provider_model),
    WithJsonSchema({"type": "string", "pattern": "^[^/]+/.+$"}),
]
Origin = Annotated[
    str,
    Spelling(
        ORIGIN_PATTERN,
        "is not an origin",
        "Write scheme, host and port as browsers do, in lower case and without a path: "
        "https://app.example.com or http://localhost:3000.",
    ),
]
ApiBase = Annotated[str, BeforeValidator(_resolve), refuse_if(address_problem)]
Secret = Annotated[
    SecretStr,
    BeforeValidator(_as_secret),
    refuse_if(lambda secret: unsendable_key(secret.get_secret_value())),
    WithJsonSchema({"type": "string"}),
]
HookAddress = Annotated[
    SecretStr,  # some receivers' addresses are their only secret
    BeforeValidator(_as_secret),
    refuse_if(lambda address: hook_address_problem(address.get_secret_value())),
    WithJsonSchema({"type": "string"}),
]
HookSecret = Annotated[
    SecretStr,
    BeforeValidator(_as_secret),
    refuse_if(lambda secret: hook_secret_problem(secret.get_secret_value())),
    WithJsonSchema({"type": "string"}),
]
Credentials = Annotated[
    SecretStr,
    # Service-account credentials may be written out as a mapping; LiteLLM reads their JSON as well.
    BeforeValidator(
        lambda value, info: _as_secret(json.dumps(value) if isinstance(value, dict) else value, info)
    ),
    WithJsonSchema({"type": ["string", "object"]}),
]
HeadersToSend = Annotated[dict[str, str], BeforeValidator(_resolve_each), refuse_if(unsendable_headers)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_parse_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
TemplateFile = Annotated[
    PromptTemplate, BeforeValidator(_read_template), WithJsonSchema({"type": "string", "format": "path"})
]
KeyHash = Annotated[
    str,
    BeforeValidator(_as_key_hash),
    WithJsonSchema(
        {"type": "string", "anyOf": [{"pattern": KEY_HASH_PATTERN}, {"pattern": ENVIRONMENT_PATTERN}]}
    ),
]
