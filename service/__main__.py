"""``python -m service --index <run>/index``: serves an index until it is told to stop.

``python -m service annotate <captures>`` serves the page that captures are annotated on, and nothing else.
``python -m service key <name> [requests a minute]`` makes an API key; ``python -m service settings`` prints
docs/settings.md.
"""

from __future__ import annotations

import contextlib
import os
import sys

# Requests run side by side: threads inside each would only wait for a core, and spin while they do. Read when the
# libraries are loaded, FAISS's OpenMP and NumPy's BLAS.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pydantic import ValidationError

from index.schema import NearposeError
from service.keys import new_key
from service.server import serve, server_of
from service.settings import AnnotateSettings, Settings, settings_table


def main() -> None:
    """Reads the settings and serves; or does the little thing that it is asked for instead."""
    try:
        match sys.argv[1:]:
            case ["settings"]:
                print(settings_table(), end="")
            case ["annotate", *arguments]:
                _annotate(arguments)
            case ["key", name]:
                _print_key(name, None)
            case ["key", name, per_minute] if per_minute.isdecimal():
                _print_key(name, int(per_minute))
            case ["key", *_]:
                sys.exit("usage: python -m service key <name> [requests a minute]")
            case _:
                _serve()
    except ValidationError as error:
        sys.exit("\n".join(": ".join([*map(str, problem["loc"][:1]), problem["msg"]]) for problem in error.errors()))
    except NearposeError as error:
        sys.exit(str(error))


def _serve() -> None:
    settings = Settings(_cli_parse_args=True, _cli_prog_name="python -m service")  # type: ignore[call-arg]
    with contextlib.suppress(KeyboardInterrupt):
        serve(settings)


def _annotate(arguments: list[str]) -> None:
    from service.annotate.app import create_annotate_app  # what others do not need

    settings = AnnotateSettings(_cli_parse_args=arguments, _cli_prog_name="python -m service annotate")  # type: ignore[call-arg]
    with contextlib.suppress(KeyboardInterrupt):
        server_of(create_annotate_app(settings), settings).run()


def _print_key(name: str, per_minute: int | None) -> None:
    secret, line = new_key(name, per_minute)
    print(f"the key, shown this once:  {secret}\nits line in the file:      {line}")


if __name__ == "__main__":
    main()
