"""The type of workers that run flows on Azure."""

from api.job_template import (
    COMMON,
    DOCKER_REGISTRY,
    EVERY_JOB,
    IMAGE,
    POLL_INTERVAL,
    Template,
    array,
    block,
    flag,
    free_object,
    like,
    number,
    reference,
    same,
    schema,
    secret,
    text,
    whole,
)
from api.worker_type import WorkerType

_AZURE = block(
    "azure-container-instance-credentials",
    {
        "client_id": text("Service principal; empty: the default credentials of the machine."),
        "tenant_id": text("Tenant of the service principal."),
        "client_secret": secret("Secret of the service principal."),
        "credential_kwargs": free_object("Further arguments of the Azure credential."),
    },
    ["client_secret"],
)
_AZURE_REGISTRY_IDENTITY = schema(
    {
        "registry_url": text("Address of the registry.", example="example.azurecr.io"),
        "identity": text("Managed identity that may pull from it."),
    },
    ("registry_url", "identity"),
)

AZURE_CONTAINER_INSTANCE = WorkerType(
    type="azure-container-instance",
    display_name="Azure Container Instances",
    description="Runs each flow run in an Azure container instance. Needs an Azure account.",
    documentation_url="https://prefecthq.github.io/prefect-azure/container_instance_worker/",
    install_command="pip install prefect-azure",
    default_base_job_configuration=Template(
        {
            **same(
                *EVERY_JOB,
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
                                        **same("image", "command"),
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
        schema(
            {
                **COMMON,
                "image": IMAGE,
                "resource_group_name": text("Resource group to create containers in."),
                "subscription_id": secret("Subscription to create containers under."),
                "identities": array("Managed identities of the container group."),
                "entrypoint": text(
                    "Program that the container starts with.", "/opt/prefect/entrypoint.sh"
                ),
                "image_registry": {
                    "description": "Login for the registry of a private image.",
                    "anyOf": [
                        reference("DockerRegistryCredentials"),
                        reference("ACRManagedIdentity"),
                    ],
                },
                "cpu": number("CPUs of the container.", 1.0),
                "gpu_count": whole("GPUs of the container."),
                "gpu_sku": text("Kind of GPU."),
                "memory": number("Memory of the container in GB.", 1.0),
                "subnet_ids": array("Subnets to put the container group into."),
                "dns_servers": array("DNS servers of the container group."),
                "aci_credentials": like(
                    "AzureContainerInstanceCredentials", "Credentials for Azure."
                ),
                "stream_output": flag("Show the container's output where the worker runs.", False),
                "task_start_timeout_seconds": whole(
                    "Seconds to wait for a container to start.", 240
                ),
                "task_watch_poll_interval": number(POLL_INTERVAL, 5.0),
            },
            ("resource_group_name", "subscription_id"),
            {
                "DockerRegistryCredentials": DOCKER_REGISTRY,
                "ACRManagedIdentity": _AZURE_REGISTRY_IDENTITY,
                "AzureContainerInstanceCredentials": _AZURE,
            },
        ),
    ),
)
