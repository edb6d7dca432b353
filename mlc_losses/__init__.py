"""Losses for examples with several labels, and for models that may answer with several guesses.

The public names are listed in `__init__.pyi`, and nowhere else. Each is imported when it is first
asked for, so that `import mlc_losses` stays quick, however many losses there are.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
