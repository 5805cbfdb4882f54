"""`python -m training.scenes`: a contact sheet of scenes, or a data set in a file."""

import sys

from training.scenes.dataset import main

sys.exit(main())
