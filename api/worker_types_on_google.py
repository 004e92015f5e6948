"""The types of workers that run flows on Google Cloud."""

from api.job_template import (
    COMMON,
    EVERY_JOB,
    IMAGE,
    POLL_INTERVAL,
    SERVICE_ACCOUNT,
    Template,
    array,
    block,
    flag,
    free_object,
    like,
    number,
    one_of,
    same,
    schema,
    text,
    whole,
)
from api.worker_type import WorkerType

_GCP = block(
    "gcp-credentials",
    {
        "service_account_file": text("File with the key of a service account.", format="path"),
        "service_account_info": free_object("Content of such a file."),
        "project": text("Project to use."),
    },
    ["service_account_info.*"],
)
_GCP_CREDENTIALS = like("GcpCredentials", "Credentials for Google Cloud.")
_REGION = text("Region to run in.", "us-central1", example="us-central1")
_KEEP_JOB = flag("Keep the job after it has ended.", False)
_VPC_CONNECTOR = text("VPC connector of the job.")
_QUANTITY = r"^\d+(?:G|Gi|M|Mi)$"

CLOUD_RUN = WorkerType(
    type="cloud-run",
    display_name="Google Cloud Run",
    description="Runs each flow run as a Cloud Run job. Needs a Google Cloud account.",
    documentation_url="https://prefecthq.github.io/prefect-gcp/cloud_run_worker/",
    install_command="pip install prefect-gcp",
    default_base_job_configuration=Template(
        {
            **same(*EVERY_JOB, "region", "credentials"),
            "job_body": {
                "apiVersion": "run.googleapis.com/v1",
                "kind": "Job",
                "metadata": {
                    "name": "{{ name }}",
                    "annotations": {"run.googleapis.com/launch-stage": "BETA"},
                },
                "spec": {
                    "template": {
                        "spec": {
                            "template": {
                                "spec": {
                                    "containers": [
                                        {
                                            **same("image", "command"),
                                            "resources": {
                                                "limits": same("cpu", "memory"),
                                                "requests": same("cpu", "memory"),
                                            },
                                        }
                                    ],
                                    "timeoutSeconds": "{{ timeout }}",
                                    "serviceAccountName": "{{ service_account_name }}",
                                }
                            }
                        },
                        "metadata": {
                            "annotations": {
                                "run.googleapis.com/vpc-access-connector": (
                                    "{{ vpc_connector_name }}"
                                )
                            }
                        },
                    }
                },
            },
            **same("timeout", "keep_job"),
        },
        schema(
            {
                **COMMON,
                "region": _REGION,
                "credentials": _GCP_CREDENTIALS,
                "image": IMAGE,
                "cpu": text("CPU in thousandths.", pattern=r"^(\d*000)m$", example="1000m"),
                "memory": text("Memory with its unit.", pattern=_QUANTITY, example="512Mi"),
                "vpc_connector_name": _VPC_CONNECTOR,
                "service_account_name": SERVICE_ACCOUNT,
                "keep_job": _KEEP_JOB,
                "timeout": whole(
                    "Most seconds that a run may take.", 600, exclusiveMinimum=0, maximum=3600
                ),
            },
            definitions={"GcpCredentials": _GCP},
        ),
    ),
)

CLOUD_RUN_V2 = WorkerType(
    type="cloud-run-v2",
    display_name="Google Cloud Run V2",
    description="Runs each flow run as a Cloud Run job, version 2 of the API. "
    "Needs a Google Cloud account.",
    documentation_url="https://prefecthq.github.io/prefect-gcp/worker_v2/",
    install_command="pip install prefect-gcp",
    default_base_job_configuration=Template(
        {
            **same(*EVERY_JOB, "credentials"),
            "job_body": {
                "client": "prefect",
                "launchStage": "{{ launch_stage }}",
                "template": {
                    "template": {
                        "serviceAccount": "{{ service_account_name }}",
                        "maxRetries": "{{ max_retries }}",
                        "timeout": "{{ timeout }}",
                        "vpcAccess": {"connector": "{{ vpc_connector_name }}"},
                        "containers": [
                            {
                                "env": [],
                                **same("image", "command", "args"),
                                "resources": {"limits": same("cpu", "memory")},
                            }
                        ],
                    }
                },
            },
            **same("keep_job", "region", "timeout"),
        },
        schema(
            {
                **COMMON,
                "credentials": _GCP_CREDENTIALS,
                "region": _REGION,
                "image": text("Container image to run the flow in.", "prefecthq/prefect:3-latest"),
                "args": array("Arguments of the command."),
                "keep_job": _KEEP_JOB,
                "launch_stage": one_of(
                    "Launch stage of the features in use.",
                    [
                        "ALPHA",
                        "BETA",
                        "GA",
                        "DEPRECATED",
                        "EARLY_ACCESS",
                        "PRELAUNCH",
                        "UNIMPLEMENTED",
                        "LAUNCH_TAG_UNSPECIFIED",
                    ],
                    "BETA",
                ),
                "max_retries": whole("How often Cloud Run itself tries again.", 0),
                "cpu": text("CPU in thousandths.", "1000m"),
                "memory": text(
                    "Memory with its unit.", "512Mi", pattern=_QUANTITY, example="512Mi"
                ),
                "timeout": whole(
                    "Most seconds that a run may take.", 600, exclusiveMinimum=0, maximum=604800
                ),
                "vpc_connector_name": _VPC_CONNECTOR,
                "service_account_name": SERVICE_ACCOUNT,
            },
            definitions={"GcpCredentials": _GCP},
        ),
    ),
)

VERTEX_AI = WorkerType(
    type="vertex-ai",
    display_name="Google Vertex AI",
    description="Runs each flow run as a Vertex AI custom job. Needs a Google Cloud account.",
    documentation_url="https://prefecthq.github.io/prefect-gcp/vertex_worker/",
    install_command="pip install prefect-gcp",
    default_base_job_configuration=Template(
        {
            **same(*EVERY_JOB, "region", "credentials"),
            "job_spec": {
                **same(
                    "service_account_name",
                    "network",
                    "reserved_ip_ranges",
                    "maximum_run_time_hours",
                ),
                "worker_pool_specs": [
                    {
                        "replica_count": 1,
                        "container_spec": {
                            "image_uri": "{{ image }}",
                            "command": "{{ command }}",
                            "args": [],
                        },
                        "machine_spec": same(
                            "machine_type", "accelerator_type", "accelerator_count"
                        ),
                        "disk_spec": same("boot_disk_type", "boot_disk_size_gb"),
                    }
                ],
            },
            **same("job_watch_poll_interval"),
        },
        schema(
            {
                **COMMON,
                "region": text("Region to run in.", example="us-central1"),
                "image": text(
                    "Container image to run the flow in.",
                    example="gcr.io/your-project/your-repo:latest",
                ),
                "credentials": _GCP_CREDENTIALS,
                "machine_type": text("Kind of machine.", "n1-standard-4"),
                "accelerator_type": text("Kind of accelerator.", example="NVIDIA_TESLA_K80"),
                "accelerator_count": whole("Accelerators of a machine.", example=1),
                "boot_disk_type": text("Kind of boot disk.", "pd-ssd"),
                "boot_disk_size_gb": whole("Size of the boot disk in GB.", 100),
                "maximum_run_time_hours": whole("Most hours that a run may take.", 1),
                "network": text("Network to connect the job to, by its full name."),
                "reserved_ip_ranges": array("Names of reserved address ranges to use."),
                "service_account_name": SERVICE_ACCOUNT,
                "job_watch_poll_interval": number(POLL_INTERVAL, 5.0),
            },
            ("region", "image"),
            {"GcpCredentials": _GCP},
        ),
    ),
)
