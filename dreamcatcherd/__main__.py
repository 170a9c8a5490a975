"""`python -m dreamcatcherd`."""

from dreamcatcherd.cli import main

if __name__ == "__main__":
    main()
