"""jaxridge: ridge regression in JAX for people who must choose lambda.

The names below are loaded when first used, so that importing the package, and asking
the command line for help, does not load JAX.
"""

import lazy_loader

from jaxridge.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
