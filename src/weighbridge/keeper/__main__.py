"""`python -m weighbridge.keeper`."""

import sys

from weighbridge.keeper.main import main

sys.exit(main())
