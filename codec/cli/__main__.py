"""`python -m codec.cli` is the `codec` command."""

from codec.cli.app import main

main()
