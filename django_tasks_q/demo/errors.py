"""The error of the demo."""


class DemoError(Exception):
    """The demo cannot go on. The message is one line."""

    @classmethod
    def of(cls, what: str, error: Exception) -> "DemoError":
        """Return an error with the message of another, which may have several lines."""
        return cls(f"{what}: {' '.join(str(error).split())}")
