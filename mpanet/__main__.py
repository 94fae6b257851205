"""`python -m mpanet` is the `mpanet` command."""

import sys

from mpanet.cli import main

sys.exit(main())
