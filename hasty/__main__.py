"""`python -m hasty` is the command line."""

from hasty.cli import main

if __name__ == "__main__":
    main()
