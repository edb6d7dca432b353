"""Which loss for multi-label classification? `docs/results/which_loss_protocol.md` says how.

python -m examples.studies.which_loss --help
"""
