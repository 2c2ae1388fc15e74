"""``python -m tlhelpers``: the command line."""

import sys

from tlhelpers.cli import main

if __name__ == "__main__":
    sys.exit(main())
