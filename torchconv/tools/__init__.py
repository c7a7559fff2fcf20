"""Command line tools of torchconv: ``python -m torchconv.tools --help``."""
