"""Not there yet."""


def main(arguments: list[str]) -> int:
    """The exit code."""
    return 2
