"""`python -m lastkd`, and `accelerate launch -m lastkd` for its commands that train together."""

from lastkd.cli.app import main

main()
