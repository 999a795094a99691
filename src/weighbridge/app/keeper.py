"""The keeper process, put together: `python -m weighbridge.app.keeper --config FILE`.

The keeper owns the store and the room of ramps decides about them; neither knows the other.
"""

import sys

from weighbridge.keeper.main import main
from weighbridge.ramp.office import RampOffice

if __name__ == "__main__":
    sys.exit(main(RampOffice))
