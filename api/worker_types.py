"""The types of workers that Prefect knows, by the Python package that has them."""

from api.worker_type import WorkerType
from api.worker_types_on_aws import ECS
from api.worker_types_on_azure import AZURE_CONTAINER_INSTANCE
from api.worker_types_on_google import CLOUD_RUN, CLOUD_RUN_V2, VERTEX_AI
from api.worker_types_on_premises import DOCKER, KUBERNETES, PROCESS

BY_PACKAGE: dict[str, dict[str, WorkerType]] = {
    package: {worker.type: worker for worker in workers}
    for package, workers in {
        "prefect": (PROCESS,),
        "prefect-aws": (ECS,),
        "prefect-azure": (AZURE_CONTAINER_INSTANCE,),
        "prefect-docker": (DOCKER,),
        "prefect-gcp": (CLOUD_RUN, CLOUD_RUN_V2, VERTEX_AI),
        "prefect-kubernetes": (KUBERNETES,),
    }.items()
}
"""Each with the template that work pools of its type start from."""
