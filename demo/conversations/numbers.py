"""Numbers and times of day as words."""

from typing import Final

_SMALL: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_MINUTES: Final = {5: "five", 10: "ten", 15: "a quarter", 20: "twenty", 25: "twenty five", 30: "half"}


def spell_number(number: int) -> str:
    """0 to 999."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return " ".join([_TENS[tens - 2], *([_SMALL[ones]] if ones else [])])
    hundreds, rest = divmod(number, 100)
    return " ".join([_SMALL[hundreds], "hundred", *([spell_number(rest)] if rest else [])])


def spell_time(hour: int, minute: int) -> str:
    """Of a clock with twelve hours, every five minutes."""
    if minute == 0:
        return f"{_SMALL[hour]} o'clock"
    if minute <= 30:
        return f"{_MINUTES[minute]} past {_SMALL[hour]}"
    return f"{_MINUTES[60 - minute]} to {_SMALL[hour % 12 + 1]}"
