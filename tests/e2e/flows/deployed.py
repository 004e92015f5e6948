"""A flow that is deployed to the pool named on the command line."""

import sys
from pathlib import Path

from prefect import flow


@flow
def doubled(number: int = 1) -> int:
    """Its result is in nobody's way: it only has to end."""
    return 2 * number


if __name__ == "__main__":
    place = Path(__file__)
    from_here = doubled.from_source(source=str(place.parent), entrypoint=f"{place.name}:doubled")
    from_here.deploy(name="here", work_pool_name=sys.argv[1], build=False, push=False)
