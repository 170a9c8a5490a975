"""`python -m tests.pictures`: write the sources that come from data, and draw every picture of docs/pictures."""

from __future__ import annotations

from tests.pictures.draw import draw
from tests.pictures.sources import GENERATED, PICTURES, sources


def main() -> None:
    """Write the pictures."""
    for name, make in GENERATED.items():
        (PICTURES / name).write_text(make())
    for path in sources():
        path.with_suffix(".svg").write_text(draw(path.read_text()))
        print(path.with_suffix(".svg").name)


if __name__ == "__main__":
    main()
