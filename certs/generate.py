#!/usr/bin/env python3
"""Makes certificates in this folder: `certs/generate.py DOMAIN...`, see README.md."""

import sys
from pathlib import Path

from refserver.app.certificates import main

if __name__ == "__main__":
    main([str(Path(__file__).parent), *sys.argv[1:]])
