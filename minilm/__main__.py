"""`python -m minilm` is the `minilm` command."""

import sys

from minilm.cli import main

sys.exit(main())
