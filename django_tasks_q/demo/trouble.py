"""Why the demo cannot go on."""


class Trouble(Exception):
    """A reason in one line, for a person who has not read the code."""

    @classmethod
    def of(cls, what: str, error: Exception) -> "Trouble":
        """``what`` failed, as a library's error of any length tells it."""
        return cls(f"{what}: {' '.join(str(error).split())}")
