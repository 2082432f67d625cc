"""The command line: ``python -m django_tasks_q demo``."""

import sys

USAGE = "usage: python -m django_tasks_q demo [options]"


def main(arguments: list[str]) -> int:
    """Run the named command, and return its exit status."""
    match arguments:
        case ["demo", *options]:
            from .demo.cli import main as demo

            return demo(options)
        case ["-h" | "--help"]:
            sys.stdout.write(f"{USAGE}\n")
            return 0
        case _:
            sys.stderr.write(f"{USAGE}\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
