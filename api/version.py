"""The version of this product."""

from importlib.metadata import PackageNotFoundError, version

NOT_INSTALLED = "0 (not installed)"


def product_version() -> str:
    """The version of the installed package."""
    try:
        return version("pluperfect")
    except PackageNotFoundError:
        return NOT_INSTALLED
