"""Every error that sfumato raises on purpose.

A message has three parts: what came, what is allowed, what to do. The command line prints it as one line and
leaves with code 2; each class also derives from the built-in error a Python programmer would catch.
"""


class SfumatoError(Exception):
    """The root: `except SfumatoError` catches everything that sfumato raises on purpose."""


class ConfigError(SfumatoError, ValueError):
    """A setting is unknown, of the wrong type, or contradicts another; the message names its path."""


class ShapeError(SfumatoError, ValueError):
    """A tensor or picture has the wrong number of axes, channels, rows or columns."""


class CapabilityError(SfumatoError, TypeError):
    """A method was asked for something that its family cannot do, or an extra package is missing."""


class DataError(SfumatoError, ValueError):
    """A file or folder of images cannot be used: broken, empty, too large, or not what its name says."""


class WeightsError(SfumatoError, FileNotFoundError):
    """Weights, statistics or a run are missing, truncated, or made by something else."""


class DivergedError(SfumatoError, FloatingPointError):
    """A loss or a weight became infinite or NaN. It is recorded as a result and never repaired in silence."""


class Interrupted(SfumatoError):
    """The user pressed Ctrl-C; what was finished is on disk and the same command goes on from there."""


def shortened(value: object, most: int = 200) -> str:
    """A value as a message repeats it: on one line, and at most so many characters of it.

    Example:
        >>> shortened("a" * 500, 8)
        "'aaa..."
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= most else text[: most - 4] + "..."


def printable(text: object) -> str:
    """A text without the characters that move a terminal's cursor or cannot be written.

    Example:
        >>> printable("a\\x1b[2Jb")
        'a?[2Jb'
    """
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in str(text))


def counted(n: int, one: str, many: str = "") -> str:
    """A number and its noun, for a message.

    Example:
        >>> counted(1, "picture"), counted(2500, "picture lies", "pictures lie")
        ('1 picture', '2,500 pictures lie')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
