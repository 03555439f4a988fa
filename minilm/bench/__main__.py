"""`python -m minilm.bench NAME`."""

import sys

from minilm.bench import main

if __name__ == "__main__":
    sys.exit(main())
