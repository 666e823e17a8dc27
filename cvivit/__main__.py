"""`python -m cvivit` runs the `cvivit` command where it is not on the path."""

from cvivit.commands.app import main

if __name__ == "__main__":
    main()
