"""The types of workers that need nobody's cloud: processes, Docker, Kubernetes."""

from api.job_template import (
    COMMON,
    DOCKER_REGISTRY,
    EVERY_JOB,
    IMAGE,
    SERVICE_ACCOUNT,
    Template,
    array,
    block,
    flag,
    free_object,
    like,
    one_of,
    same,
    schema,
    text,
    whole,
)
from api.worker_type import WorkerType

_KUBERNETES_CLUSTER = block(
    "kubernetes-cluster-config",
    {
        "config": free_object("Content of a kubectl configuration file."),
        "context_name": text("The context of that configuration to use."),
    },
    [],
    "config",
    "context_name",
)

PROCESS = WorkerType(
    type="process",
    display_name="Process",
    description="Runs each flow run in a process of its own on the worker's machine.",
    documentation_url="https://docs.prefect.io/latest/api-ref/prefect/workers/process/",
    install_command="pip install prefect",
    default_base_job_configuration=Template(
        same(*EVERY_JOB, "stream_output", "working_dir"),
        schema(
            {
                **COMMON,
                "stream_output": flag("Show the flow run's output where the worker runs.", True),
                "working_dir": text(
                    "Directory to run the flow in. Left empty: a temporary one.", format="path"
                ),
            }
        ),
    ),
)

DOCKER = WorkerType(
    type="docker",
    display_name="Docker",
    description="Runs each flow run in a Docker container. Needs a Docker engine to talk to.",
    documentation_url="https://prefecthq.github.io/prefect-docker/worker/",
    install_command="pip install prefect-docker",
    default_base_job_configuration=Template(
        same(
            *EVERY_JOB,
            "image",
            "registry_credentials",
            "image_pull_policy",
            "networks",
            "network_mode",
            "auto_remove",
            "volumes",
            "stream_output",
            "mem_limit",
            "memswap_limit",
            "privileged",
        ),
        schema(
            {
                **COMMON,
                "image": IMAGE,
                "registry_credentials": like(
                    "DockerRegistryCredentials", "Login for the registry of a private image."
                ),
                "image_pull_policy": one_of(
                    "When to pull the image.", ["IfNotPresent", "Always", "IfPossible", "Never"]
                ),
                "networks": array("Networks to connect the container to."),
                "network_mode": text(
                    "Network mode of the container, for example host; not beside networks."
                ),
                "auto_remove": flag("Remove the container when it has ended.", False),
                "volumes": array(
                    "Volumes to mount.", example=["/my/local/path:/path/in/container"]
                ),
                "stream_output": flag("Show the container's output where the worker runs.", True),
                "mem_limit": text("Most memory of the container, as 100000b, 128m or 1g."),
                "memswap_limit": text(
                    "Most memory and swap together, -1 for no limit; only beside mem_limit."
                ),
                "privileged": flag("Give the container extended privileges.", False),
            },
            definitions={"DockerRegistryCredentials": DOCKER_REGISTRY},
        ),
    ),
)

KUBERNETES = WorkerType(
    type="kubernetes",
    display_name="Kubernetes",
    description="Runs each flow run as a job of a Kubernetes cluster.",
    documentation_url="https://prefecthq.github.io/prefect-kubernetes/worker/",
    install_command="pip install prefect-kubernetes",
    default_base_job_configuration=Template(
        {
            **same(*EVERY_JOB, "namespace"),
            "job_manifest": {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {
                    "labels": "{{ labels }}",
                    "namespace": "{{ namespace }}",
                    "generateName": "{{ name }}-",
                },
                "spec": {
                    "backoffLimit": 0,
                    "ttlSecondsAfterFinished": "{{ finished_job_ttl }}",
                    "template": {
                        "spec": {
                            "parallelism": 1,
                            "completions": 1,
                            "restartPolicy": "Never",
                            "serviceAccountName": "{{ service_account_name }}",
                            "containers": [
                                {
                                    "name": "prefect-job",
                                    "env": "{{ env }}",
                                    "image": "{{ image }}",
                                    "imagePullPolicy": "{{ image_pull_policy }}",
                                    "args": "{{ command }}",
                                    "resources": {
                                        "limits": {
                                            "cpu": "{{ cpu_limit }}",
                                            "memory": "{{ memory_limit }}",
                                        },
                                        "requests": {
                                            "cpu": "{{ cpu_request }}",
                                            "memory": "{{ memory_request }}",
                                        },
                                    },
                                }
                            ],
                        }
                    },
                },
            },
            **same(
                "cluster_config",
                "job_watch_timeout_seconds",
                "pod_watch_timeout_seconds",
                "stream_output",
            ),
        },
        schema(
            {
                **COMMON,
                "namespace": text("Namespace to create jobs in.", "default"),
                "image": IMAGE,
                "service_account_name": SERVICE_ACCOUNT,
                "image_pull_policy": one_of(
                    "When to pull the image.", ["IfNotPresent", "Always", "Never"], "IfNotPresent"
                ),
                "finished_job_ttl": whole(
                    "Seconds to keep a job that has ended. Left empty: for ever."
                ),
                "job_watch_timeout_seconds": whole(
                    "Seconds to wait for a job to end. Left empty: without limit."
                ),
                "pod_watch_timeout_seconds": whole("Seconds to wait for a pod to start.", 60),
                "stream_output": flag("Show the pod's output where the worker runs.", True),
                "cluster_config": like(
                    "KubernetesClusterConfig",
                    "The cluster to use. Left empty: the one that the worker runs in.",
                ),
                "cpu_request": text("CPU that a pod asks for, as 500m or 2."),
                "cpu_limit": text("Most CPU that a pod may use, as 500m or 2."),
                "memory_request": text("Memory that a pod asks for, as 512Mi or 2Gi."),
                "memory_limit": text("Most memory that a pod may use, as 512Mi or 2Gi."),
            },
            definitions={"KubernetesClusterConfig": _KUBERNETES_CLUSTER},
        ),
    ),
)
