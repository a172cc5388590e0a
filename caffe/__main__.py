"""`python -m caffe`: the `caffe` command."""
import sys

from .cli import main

sys.exit(main())
