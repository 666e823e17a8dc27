"""`python -m cvivit`: the `cvivit` command, where it is not on the path."""

from cvivit.cli import main

if __name__ == "__main__":
    main()
