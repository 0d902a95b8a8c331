"""`python -m ingrain`."""

import sys

from ingrain.cli import main

sys.exit(main())
