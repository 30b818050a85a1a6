"""What all sections of the settings share: strictness, and which of their fields enter a stage's key."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Base of all sections: unknown keys, values of another type, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True, allow_inf_nan=False)
    RESULT_NEUTRAL: ClassVar[frozenset[str]] = frozenset()

    def key_fields(self) -> dict[str, object]:
        """The fields that change a result, as JSON values; sections inside are filtered likewise."""
        fields: dict[str, object] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name not in self.RESULT_NEUTRAL:
                fields[name] = [_key_of(one) for one in value] if isinstance(value, list) else _key_of(value)
        return fields


def _key_of(value: object) -> object:
    return value.key_fields() if isinstance(value, Section) else value
