"""Checks the body of an administrator's request."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.errors import InvalidRequestError


class ControlBody(BaseModel):
    """The fields of a request that changes something. Unknown fields are refused; nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """The checked fields of a request's body.

        Raises:
            InvalidRequestError: Naming the field at fault.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            param = ".".join(map(str, first["loc"])) or None
            fault = f"{param}: {first['msg']}." if param else f"{first['msg']}."
            raise InvalidRequestError(fault, param=param, code="invalid_value") from None
