"""The command `python -m training`, also installed as `cvivit-training`."""

from __future__ import annotations

from cvivit.starting import ending_quietly, open_missing_streams


def main() -> None:
    """Run the command of `sys.argv`."""
    open_missing_streams()
    with ending_quietly():
        from training.app import main as run
    run()


if __name__ == "__main__":
    main()
