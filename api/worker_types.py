"""The types of workers that Prefect knows, each with the template that its work pools start from.

A base job template says how a worker's job is configured (`job_configuration`, with
`{{ variables }}` to fill in) and which variables there are, as a JSON schema. Names, types and
defaults are what unmodified workers understand; a worker that connects may send a newer template of
its own type.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

Schema = dict[str, Any]


class Template(Struct, frozen=True):
    """What a job of one type of worker is made from."""

    job_configuration: dict[str, Any]
    variables: dict[str, Any]


LOGO = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none'"
    " stroke='%236b7280' stroke-width='2'%3E%3Crect x='3' y='4' width='18' height='7' rx='2'/%3E"
    "%3Crect x='3' y='13' width='18' height='7' rx='2'/%3E%3C/svg%3E"
)
"""Two racks, for every type. Prefect's newer pages offer no type that has no picture, and nobody's
browser shall ask another site for one."""


class WorkerType(Struct, frozen=True, kw_only=True):
    """A type of worker as the API shows it."""

    type: str
    display_name: str
    description: str
    documentation_url: str
    install_command: str
    logo_url: str = LOGO
    is_beta: bool = False
    default_base_job_configuration: Template


# --- variables ------------------------------------------------------------------------------------


def _text(description: str, default: str | UnsetType = UNSET, **more: Any) -> Schema:
    return _variable("string", description, default, more)


def _whole(description: str, default: int | UnsetType = UNSET, **more: Any) -> Schema:
    return _variable("integer", description, default, more)


def _number(description: str, default: float) -> Schema:
    return _variable("number", description, default, {})


def _flag(description: str, default: bool | UnsetType = UNSET) -> Schema:
    return _variable("boolean", description, default, {})


def _object(description: str) -> Schema:
    return _variable("object", description, UNSET, {})


def _texts_by_name(description: str) -> Schema:
    return _variable("object", description, UNSET, {"additionalProperties": {"type": "string"}})


def _list(description: str, items: Schema | None = None, **more: Any) -> Schema:
    return _variable("array", description, UNSET, {"items": items or {"type": "string"}, **more})


def _secret(description: str) -> Schema:
    return _text(description, writeOnly=True, format="password")


def _one_of(description: str, choices: list[str], default: str | UnsetType = UNSET) -> Schema:
    return _text(description, default, enum=choices)


def _variable(type: str, description: str, default: Any, more: Schema) -> Schema:
    schema = {"type": type, "description": description, **more}
    return schema if default is UNSET else {**schema, "default": default}


def _like(name: str, description: str) -> Schema:
    """A variable that is an object described under `definitions`."""
    return {"description": description, "allOf": [_reference(name)]}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _schema(
    properties: dict[str, Schema],
    required: tuple[str, ...] = (),
    definitions: dict[str, Schema] | None = None,
    **more: Any,
) -> Schema:
    titled = {name: {"title": _title(name), **schema} for name, schema in properties.items()}
    schema: Schema = {"type": "object", "properties": titled}
    if required:
        schema["required"] = list(required)
    if definitions:
        # Prefect's server fails over one without a title.
        schema["definitions"] = {name: {"title": name, **one} for name, one in definitions.items()}
    return {**schema, **more}


def _title(name: str) -> str:
    return " ".join(word.upper() if word in _SHORT else word.title() for word in name.split("_"))


_SHORT = frozenset({"arn", "cpu", "dns", "gb", "gpu", "gcp", "id", "ids", "sku", "ttl", "vpc"})


def _block(slug: str, properties: dict[str, Schema], secret: list[str], *required: str) -> Schema:
    """The schema of a block that a variable may refer to."""
    return _schema(
        properties,
        required,
        block_type_slug=slug,
        secret_fields=secret,
        block_schema_references={},
    )


def _same(*names: str) -> dict[str, str]:
    """Fields of a job's configuration that are the variable of the same name."""
    return {name: f"{{{{ {name} }}}}" for name in names}


_EVERY_JOB = ("command", "env", "labels", "name")
_COMMON = {
    "name": _text("Name of the process, container or job that the worker creates."),
    "env": _texts_by_name("Environment variables of the flow run."),
    "labels": _texts_by_name("Labels put on whatever the worker creates."),
    "command": _text("Command that runs the flow. Left empty, the worker knows the right one."),
}
_IMAGE = _text(
    "Container image to run the flow in. Left empty: an image of the worker's Prefect version.",
    example="docker.io/prefecthq/prefect:3-latest",
)
_SERVICE_ACCOUNT = _text("Service account under which the job runs.")
_POLL = "Seconds between two looks at the job."


# --- blocks that templates refer to ---------------------------------------------------------------

_DOCKER_REGISTRY = _block(
    "docker-registry-credentials",
    {
        "username": _text("User name at the registry."),
        "password": _secret("Password at the registry."),
        "registry_url": _text("Address of the registry.", example="index.docker.io"),
        "reauth": _flag("Log in again even if there is a login already.", True),
    },
    ["password"],
    "username",
    "password",
    "registry_url",
)
_KUBERNETES_CLUSTER = _block(
    "kubernetes-cluster-config",
    {
        "config": _object("Content of a kubectl configuration file."),
        "context_name": _text("The context of that configuration to use."),
    },
    [],
    "config",
    "context_name",
)
_AWS_CLIENT = _schema(
    {
        "api_version": _text("Version of the AWS API."),
        "use_ssl": _flag("Talk to AWS over TLS.", True),
        "verify": {
            "description": "Check certificates; or the file of authorities to check them with.",
            "default": True,
            "anyOf": [{"type": "boolean"}, {"type": "string", "format": "file-path"}],
        },
        "verify_cert_path": _text("File of certificate authorities.", format="file-path"),
        "endpoint_url": _text("Address to use instead of the one of AWS."),
        "config": _object("Further options of the botocore client."),
    }
)
_AWS = _block(
    "aws-credentials",
    {
        "aws_access_key_id": _text("Access key."),
        "aws_secret_access_key": _secret("Secret that belongs to the access key."),
        "aws_session_token": _text("Session token, for temporary credentials."),
        "profile_name": _text("Profile of the AWS configuration to use."),
        "region_name": _text("Region in which clients are created."),
        "aws_client_parameters": _like("AwsClientParameters", "How clients talk to AWS."),
    },
    ["aws_secret_access_key"],
)
_AZURE = _block(
    "azure-container-instance-credentials",
    {
        "client_id": _text("Service principal; empty: the default credentials of the machine."),
        "tenant_id": _text("Tenant of the service principal."),
        "client_secret": _secret("Secret of the service principal."),
        "credential_kwargs": _object("Further arguments of the Azure credential."),
    },
    ["client_secret"],
)
_AZURE_REGISTRY_IDENTITY = _schema(
    {
        "registry_url": _text("Address of the registry.", example="example.azurecr.io"),
        "identity": _text("Managed identity that may pull from it."),
    },
    ("registry_url", "identity"),
)
_GCP = _block(
    "gcp-credentials",
    {
        "service_account_file": _text("File with the key of a service account.", format="path"),
        "service_account_info": _object("Content of such a file."),
        "project": _text("Project to use."),
    },
    ["service_account_info.*"],
)

# --- the types ------------------------------------------------------------------------------------

PROCESS = WorkerType(
    type="process",
    display_name="Process",
    description="Runs each flow run in a process of its own on the worker's machine.",
    documentation_url="https://docs.prefect.io/latest/api-ref/prefect/workers/process/",
    install_command="pip install prefect",
    default_base_job_configuration=Template(
        _same(*_EVERY_JOB, "stream_output", "working_dir"),
        _schema(
            {
                **_COMMON,
                "stream_output": _flag("Show the flow run's output where the worker runs.", True),
                "working_dir": _text(
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
        _same(
            *_EVERY_JOB,
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
        _schema(
            {
                **_COMMON,
                "image": _IMAGE,
                "registry_credentials": _like(
                    "DockerRegistryCredentials", "Login for the registry of a private image."
                ),
                "image_pull_policy": _one_of(
                    "When to pull the image.", ["IfNotPresent", "Always", "IfPossible", "Never"]
                ),
                "networks": _list("Networks to connect the container to."),
                "network_mode": _text(
                    "Network mode of the container, for example host; not beside networks."
                ),
                "auto_remove": _flag("Remove the container when it has ended.", False),
                "volumes": _list(
                    "Volumes to mount.", example=["/my/local/path:/path/in/container"]
                ),
                "stream_output": _flag("Show the container's output where the worker runs.", True),
                "mem_limit": _text("Most memory of the container, as 100000b, 128m or 1g."),
                "memswap_limit": _text(
                    "Most memory and swap together, -1 for no limit; only beside mem_limit."
                ),
                "privileged": _flag("Give the container extended privileges.", False),
            },
            definitions={"DockerRegistryCredentials": _DOCKER_REGISTRY},
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
            **_same(*_EVERY_JOB, "namespace"),
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
            **_same(
                "cluster_config",
                "job_watch_timeout_seconds",
                "pod_watch_timeout_seconds",
                "stream_output",
            ),
        },
        _schema(
            {
                **_COMMON,
                "namespace": _text("Namespace to create jobs in.", "default"),
                "image": _IMAGE,
                "service_account_name": _SERVICE_ACCOUNT,
                "image_pull_policy": _one_of(
                    "When to pull the image.", ["IfNotPresent", "Always", "Never"], "IfNotPresent"
                ),
                "finished_job_ttl": _whole(
                    "Seconds to keep a job that has ended. Left empty: for ever."
                ),
                "job_watch_timeout_seconds": _whole(
                    "Seconds to wait for a job to end. Left empty: without limit."
                ),
                "pod_watch_timeout_seconds": _whole("Seconds to wait for a pod to start.", 60),
                "stream_output": _flag("Show the pod's output where the worker runs.", True),
                "cluster_config": _like(
                    "KubernetesClusterConfig",
                    "The cluster to use. Left empty: the one that the worker runs in.",
                ),
                "cpu_request": _text("CPU that a pod asks for, as 500m or 2."),
                "cpu_limit": _text("Most CPU that a pod may use, as 500m or 2."),
                "memory_request": _text("Memory that a pod asks for, as 512Mi or 2Gi."),
                "memory_limit": _text("Most memory that a pod may use, as 512Mi or 2Gi."),
            },
            definitions={"KubernetesClusterConfig": _KUBERNETES_CLUSTER},
        ),
    ),
)

ECS = WorkerType(
    type="ecs",
    display_name="AWS Elastic Container Service",
    description="Runs each flow run as a task of AWS ECS, on Fargate or EC2. Needs an AWS account.",
    documentation_url="https://prefecthq.github.io/prefect-aws/ecs_worker/",
    install_command="pip install prefect-aws",
    default_base_job_configuration=Template(
        {
            **_same(*_EVERY_JOB, "aws_credentials"),
            "task_definition": {
                "containerDefinitions": [_same("image") | {"name": "{{ container_name }}"}],
                **_same("cpu", "family", "memory"),
                "executionRoleArn": "{{ execution_role_arn }}",
            },
            "task_run_request": {
                "launchType": "{{ launch_type }}",
                "cluster": "{{ cluster }}",
                "overrides": {
                    "containerOverrides": [
                        {
                            "name": "{{ container_name }}",
                            "command": "{{ command }}",
                            "environment": "{{ env }}",
                            **_same("cpu", "memory"),
                        }
                    ],
                    **_same("cpu", "memory"),
                    "taskRoleArn": "{{ task_role_arn }}",
                },
                "tags": "{{ labels }}",
                "taskDefinition": "{{ task_definition_arn }}",
                "capacityProviderStrategy": "{{ capacity_provider_strategy }}",
            },
            **_same(
                "configure_cloudwatch_logs",
                "cloudwatch_logs_options",
                "cloudwatch_logs_prefix",
                "network_configuration",
                "stream_output",
                "task_start_timeout_seconds",
                "task_watch_poll_interval",
                "auto_deregister_task_definition",
                "vpc_id",
                "container_name",
                "cluster",
                "match_latest_revision_in_family",
            ),
        },
        _schema(
            {
                **_COMMON,
                "task_definition_arn": _text("An existing task definition to use as it is."),
                "aws_credentials": _like("AwsCredentials", "Credentials for AWS."),
                "cluster": _text("Cluster to run in. Left empty: the account's default one."),
                "family": _text("Family of the task definition."),
                "launch_type": _one_of(
                    "What ECS runs the task on.",
                    ["FARGATE", "EC2", "EXTERNAL", "FARGATE_SPOT"],
                    "FARGATE",
                ),
                "capacity_provider_strategy": _list(
                    "Capacity providers to use; then the launch type has no say.",
                    _reference("CapacityProvider"),
                ),
                "image": _IMAGE,
                "cpu": _whole("CPU units of the task; 1024 are one CPU."),
                "memory": _whole("Memory of the task in MiB."),
                "container_name": _text("Name of the container that runs the flow."),
                "task_role_arn": _text("Role that the flow run acts in."),
                "execution_role_arn": _text("Role that ECS starts the task with."),
                "vpc_id": _text("VPC to run in. Left empty: the account's default one."),
                "configure_cloudwatch_logs": _flag("Send the container's output to CloudWatch."),
                "cloudwatch_logs_options": _texts_by_name("Options of the CloudWatch log driver."),
                "cloudwatch_logs_prefix": _text("Prefix of the CloudWatch log streams."),
                "network_configuration": _object("awsvpcConfiguration of the task."),
                "stream_output": _flag("Show the task's output where the worker runs."),
                "task_start_timeout_seconds": _whole("Seconds to wait for a task to start.", 300),
                "task_watch_poll_interval": _number(_POLL, 5.0),
                "auto_deregister_task_definition": _flag(
                    "Deregister the task definition after the run.", False
                ),
                "match_latest_revision_in_family": _flag(
                    "Use the family's newest task definition again if it is the same.", False
                ),
            },
            definitions={
                "AwsClientParameters": _AWS_CLIENT,
                "AwsCredentials": _AWS,
                "CapacityProvider": _schema(
                    {
                        "capacityProvider": _text("Name of the capacity provider."),
                        "weight": _whole("Its share of the tasks."),
                        "base": _whole("Tasks that it gets first."),
                    },
                    ("capacityProvider", "weight", "base"),
                ),
            },
        ),
    ),
)

AZURE_CONTAINER_INSTANCE = WorkerType(
    type="azure-container-instance",
    display_name="Azure Container Instances",
    description="Runs each flow run in an Azure container instance. Needs an Azure account.",
    documentation_url="https://prefecthq.github.io/prefect-azure/container_instance_worker/",
    install_command="pip install prefect-azure",
    default_base_job_configuration=Template(
        {
            **_same(
                *_EVERY_JOB,
                "image",
                "resource_group_name",
                "subscription_id",
                "identities",
                "entrypoint",
                "image_registry",
                "cpu",
                "gpu_count",
                "gpu_sku",
                "memory",
                "subnet_ids",
                "dns_servers",
                "stream_output",
                "aci_credentials",
                "task_start_timeout_seconds",
                "task_watch_poll_interval",
            ),
            "arm_template": {
                "$schema": "https://schema.management.azure.com/schemas/2019-08-01/"
                "deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "parameters": {
                    "location": {
                        "type": "string",
                        "defaultValue": "[resourceGroup().location]",
                        "metadata": {"description": "Where the container runs."},
                    },
                    "container_group_name": {
                        "type": "string",
                        "defaultValue": "[uniqueString(resourceGroup().id)]",
                        "metadata": {"description": "Name of the container group."},
                    },
                    "container_name": {
                        "type": "string",
                        "defaultValue": "[uniqueString(resourceGroup().id)]",
                        "metadata": {"description": "Name of the container."},
                    },
                },
                "resources": [
                    {
                        "type": "Microsoft.ContainerInstance/containerGroups",
                        "apiVersion": "2022-09-01",
                        "name": "[parameters('container_group_name')]",
                        "location": "[parameters('location')]",
                        "properties": {
                            "containers": [
                                {
                                    "name": "[parameters('container_name')]",
                                    "properties": {
                                        **_same("image", "command"),
                                        "resources": {
                                            "requests": {
                                                "cpu": "{{ cpu }}",
                                                "memoryInGB": "{{ memory }}",
                                            }
                                        },
                                        "environmentVariables": [],
                                    },
                                }
                            ],
                            "osType": "Linux",
                            "restartPolicy": "Never",
                        },
                    }
                ],
            },
        },
        _schema(
            {
                **_COMMON,
                "image": _IMAGE,
                "resource_group_name": _text("Resource group to create containers in."),
                "subscription_id": _secret("Subscription to create containers under."),
                "identities": _list("Managed identities of the container group."),
                "entrypoint": _text(
                    "Program that the container starts with.", "/opt/prefect/entrypoint.sh"
                ),
                "image_registry": {
                    "description": "Login for the registry of a private image.",
                    "anyOf": [
                        _reference("DockerRegistryCredentials"),
                        _reference("ACRManagedIdentity"),
                    ],
                },
                "cpu": _number("CPUs of the container.", 1.0),
                "gpu_count": _whole("GPUs of the container."),
                "gpu_sku": _text("Kind of GPU."),
                "memory": _number("Memory of the container in GB.", 1.0),
                "subnet_ids": _list("Subnets to put the container group into."),
                "dns_servers": _list("DNS servers of the container group."),
                "aci_credentials": _like(
                    "AzureContainerInstanceCredentials", "Credentials for Azure."
                ),
                "stream_output": _flag("Show the container's output where the worker runs.", False),
                "task_start_timeout_seconds": _whole(
                    "Seconds to wait for a container to start.", 240
                ),
                "task_watch_poll_interval": _number(_POLL, 5.0),
            },
            ("resource_group_name", "subscription_id"),
            {
                "DockerRegistryCredentials": _DOCKER_REGISTRY,
                "ACRManagedIdentity": _AZURE_REGISTRY_IDENTITY,
                "AzureContainerInstanceCredentials": _AZURE,
            },
        ),
    ),
)

_GCP_CREDENTIALS = _like("GcpCredentials", "Credentials for Google Cloud.")
_REGION = _text("Region to run in.", "us-central1", example="us-central1")
_KEEP_JOB = _flag("Keep the job after it has ended.", False)
_VPC_CONNECTOR = _text("VPC connector of the job.")
_QUANTITY = r"^\d+(?:G|Gi|M|Mi)$"

CLOUD_RUN = WorkerType(
    type="cloud-run",
    display_name="Google Cloud Run",
    description="Runs each flow run as a Cloud Run job. Needs a Google Cloud account.",
    documentation_url="https://prefecthq.github.io/prefect-gcp/cloud_run_worker/",
    install_command="pip install prefect-gcp",
    default_base_job_configuration=Template(
        {
            **_same(*_EVERY_JOB, "region", "credentials"),
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
                                            **_same("image", "command"),
                                            "resources": {
                                                "limits": _same("cpu", "memory"),
                                                "requests": _same("cpu", "memory"),
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
            **_same("timeout", "keep_job"),
        },
        _schema(
            {
                **_COMMON,
                "region": _REGION,
                "credentials": _GCP_CREDENTIALS,
                "image": _IMAGE,
                "cpu": _text("CPU in thousandths.", pattern=r"^(\d*000)m$", example="1000m"),
                "memory": _text("Memory with its unit.", pattern=_QUANTITY, example="512Mi"),
                "vpc_connector_name": _VPC_CONNECTOR,
                "service_account_name": _SERVICE_ACCOUNT,
                "keep_job": _KEEP_JOB,
                "timeout": _whole(
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
            **_same(*_EVERY_JOB, "credentials"),
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
                                **_same("image", "command", "args"),
                                "resources": {"limits": _same("cpu", "memory")},
                            }
                        ],
                    }
                },
            },
            **_same("keep_job", "region", "timeout"),
        },
        _schema(
            {
                **_COMMON,
                "credentials": _GCP_CREDENTIALS,
                "region": _REGION,
                "image": _text("Container image to run the flow in.", "prefecthq/prefect:3-latest"),
                "args": _list("Arguments of the command."),
                "keep_job": _KEEP_JOB,
                "launch_stage": _one_of(
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
                "max_retries": _whole("How often Cloud Run itself tries again.", 0),
                "cpu": _text("CPU in thousandths.", "1000m"),
                "memory": _text(
                    "Memory with its unit.", "512Mi", pattern=_QUANTITY, example="512Mi"
                ),
                "timeout": _whole(
                    "Most seconds that a run may take.", 600, exclusiveMinimum=0, maximum=604800
                ),
                "vpc_connector_name": _VPC_CONNECTOR,
                "service_account_name": _SERVICE_ACCOUNT,
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
            **_same(*_EVERY_JOB, "region", "credentials"),
            "job_spec": {
                **_same(
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
                        "machine_spec": _same(
                            "machine_type", "accelerator_type", "accelerator_count"
                        ),
                        "disk_spec": _same("boot_disk_type", "boot_disk_size_gb"),
                    }
                ],
            },
            **_same("job_watch_poll_interval"),
        },
        _schema(
            {
                **_COMMON,
                "region": _text("Region to run in.", example="us-central1"),
                "image": _text(
                    "Container image to run the flow in.",
                    example="gcr.io/your-project/your-repo:latest",
                ),
                "credentials": _GCP_CREDENTIALS,
                "machine_type": _text("Kind of machine.", "n1-standard-4"),
                "accelerator_type": _text("Kind of accelerator.", example="NVIDIA_TESLA_K80"),
                "accelerator_count": _whole("Accelerators of a machine.", example=1),
                "boot_disk_type": _text("Kind of boot disk.", "pd-ssd"),
                "boot_disk_size_gb": _whole("Size of the boot disk in GB.", 100),
                "maximum_run_time_hours": _whole("Most hours that a run may take.", 1),
                "network": _text("Network to connect the job to, by its full name."),
                "reserved_ip_ranges": _list("Names of reserved address ranges to use."),
                "service_account_name": _SERVICE_ACCOUNT,
                "job_watch_poll_interval": _number(_POLL, 5.0),
            },
            ("region", "image"),
            {"GcpCredentials": _GCP},
        ),
    ),
)

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
"""Types of workers by the Python package that has them."""
