"""What a part of the spec must hold, said once: for pydantic, and in CEL for the API server.

`spec` checks with these, and its JSON schema carries them as `x-kubernetes-validations`, so that `tercet up`
and `kubectl apply` refuse the same things in the same words. Knows no field of the spec.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

VALIDATIONS: Final = "x-kubernetes-validations"

Part_contra = TypeVar("Part_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Generic[Part_contra]):
    """`cel` and `holds` decide the same of a part; `says` tells what is wrong and what to write instead.

    `field` is the path below the part that the fault is reported at. A rule without `holds` compares with the
    object before (`oldSelf`), which only the API server can.
    """

    cel: str
    says: str
    field: str = ""
    holds: Callable[[Part_contra], bool] | None = None

    def to_schema(self) -> dict[str, str]:
        field = {"fieldPath": f".{self.field}"} if self.field else {}
        return {"rule": self.cel, "message": self.says, **field}


def _carry_rules(schema: JsonDict, part: type["Ruled"]) -> None:
    if part.rules:
        schema[VALIDATIONS] = [dict(rule.to_schema()) for rule in part.rules]


class Ruled(BaseModel):
    """A part that holds to its class's rules, and whose JSON schema carries them."""

    model_config = ConfigDict(json_schema_extra=_carry_rules)

    # Any: each table is typed for its own part, which mypy checks where the table stands.
    rules: ClassVar[tuple[Rule[Any], ...]] = ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        broken = [rule.says for rule in self.rules if rule.holds is not None and not rule.holds(self)]
        if broken:
            raise ValueError("; ".join(broken))
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of a text, for `Annotated[str, Form(...)]`: the whole of it matches `pattern`.

    A form with `when` is for texts that begin so.
    Patterns are read by Python and by RE2: no look-around, no back-references. A JSON schema's `pattern`
    would do the same, but its message is the pattern.
    """

    pattern: str
    says: str
    when: str = ""

    def check(self, text: str) -> str:
        if re.match(self.when, text) and not re.fullmatch(self.pattern, text):
            raise ValueError(self.says)
        return text

    def to_schema(self) -> dict[str, str]:
        whole = f"self.matches({quote(f'^({self.pattern})$')})"
        rule = f"!self.matches({quote(f'^({self.when})')}) || {whole}" if self.when else whole
        return {"rule": rule, "message": self.says}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described = handler(schema)
        described.setdefault(VALIDATIONS, []).append(self.to_schema())
        return described


def quote(text: str) -> str:
    """As a CEL raw string."""
    if "'" in text:
        raise ValueError(f"{text}: a raw string cannot hold a quote")
    return f"r'{text}'"
