"""`python -m epicrisis` is the command `epicrisis`."""

from epicrisis.cli import main

if __name__ == "__main__":
    main()
