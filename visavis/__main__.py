"""The command line."""

from __future__ import annotations

import logging
import sys

import tyro

from visavis.commands import COMMANDS, Command


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 not done (one line on stderr says why), 2 wrong usage."""
    logging.basicConfig(level=logging.WARNING, format="visavis: %(message)s")
    command: Command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="visavis",
        description="A video call that sends a face, not a video of it.",
        args=arguments,
        use_underscores=False,
    )
    try:
        return command.run()
    except KeyboardInterrupt:
        print("visavis: stopped", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        # Every error of ours is one of these and its message names the way out; a traceback would hide it.
        logging.getLogger(__name__).debug("the command failed", exc_info=True)
        print(f"visavis: {_in_words(error)}", file=sys.stderr)
        return 1


def _in_words(error: Exception) -> str:
    """The message, without the number that the system's errors begin with."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
