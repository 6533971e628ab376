"""``python -m jaxridge`` is the command line."""

from jaxridge.cli import main

main()
