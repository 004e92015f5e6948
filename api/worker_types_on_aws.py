"""The type of workers that run flows on AWS."""

from api.job_template import (
    COMMON,
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
    one_of,
    reference,
    same,
    schema,
    secret,
    text,
    texts_by_name,
    whole,
)
from api.worker_type import WorkerType

_AWS_CLIENT = schema(
    {
        "api_version": text("Version of the AWS API."),
        "use_ssl": flag("Talk to AWS over TLS.", True),
        "verify": {
            "description": "Check certificates; or the file of authorities to check them with.",
            "default": True,
            "anyOf": [{"type": "boolean"}, {"type": "string", "format": "file-path"}],
        },
        "verify_cert_path": text("File of certificate authorities.", format="file-path"),
        "endpoint_url": text("Address to use instead of the one of AWS."),
        "config": free_object("Further options of the botocore client."),
    }
)
_AWS = block(
    "aws-credentials",
    {
        "aws_access_key_id": text("Access key."),
        "aws_secret_access_key": secret("Secret that belongs to the access key."),
        "aws_session_token": text("Session token, for temporary credentials."),
        "profile_name": text("Profile of the AWS configuration to use."),
        "region_name": text("Region in which clients are created."),
        "aws_client_parameters": like("AwsClientParameters", "How clients talk to AWS."),
    },
    ["aws_secret_access_key"],
)

ECS = WorkerType(
    type="ecs",
    display_name="AWS Elastic Container Service",
    description="Runs each flow run as a task of AWS ECS, on Fargate or EC2. Needs an AWS account.",
    documentation_url="https://prefecthq.github.io/prefect-aws/ecs_worker/",
    install_command="pip install prefect-aws",
    default_base_job_configuration=Template(
        {
            **same(*EVERY_JOB, "aws_credentials"),
            "task_definition": {
                "containerDefinitions": [same("image") | {"name": "{{ container_name }}"}],
                **same("cpu", "family", "memory"),
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
                            **same("cpu", "memory"),
                        }
                    ],
                    **same("cpu", "memory"),
                    "taskRoleArn": "{{ task_role_arn }}",
                },
                "tags": "{{ labels }}",
                "taskDefinition": "{{ task_definition_arn }}",
                "capacityProviderStrategy": "{{ capacity_provider_strategy }}",
            },
            **same(
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
        schema(
            {
                **COMMON,
                "task_definition_arn": text("An existing task definition to use as it is."),
                "aws_credentials": like("AwsCredentials", "Credentials for AWS."),
                "cluster": text("Cluster to run in. Left empty: the account's default one."),
                "family": text("Family of the task definition."),
                "launch_type": one_of(
                    "What ECS runs the task on.",
                    ["FARGATE", "EC2", "EXTERNAL", "FARGATE_SPOT"],
                    "FARGATE",
                ),
                "capacity_provider_strategy": array(
                    "Capacity providers to use; then the launch type has no say.",
                    reference("CapacityProvider"),
                ),
                "image": IMAGE,
                "cpu": whole("CPU units of the task; 1024 are one CPU."),
                "memory": whole("Memory of the task in MiB."),
                "container_name": text("Name of the container that runs the flow."),
                "task_role_arn": text("Role that the flow run acts in."),
                "execution_role_arn": text("Role that ECS starts the task with."),
                "vpc_id": text("VPC to run in. Left empty: the account's default one."),
                "configure_cloudwatch_logs": flag("Send the container's output to CloudWatch."),
                "cloudwatch_logs_options": texts_by_name("Options of the CloudWatch log driver."),
                "cloudwatch_logs_prefix": text("Prefix of the CloudWatch log streams."),
                "network_configuration": free_object("awsvpcConfiguration of the task."),
                "stream_output": flag("Show the task's output where the worker runs."),
                "task_start_timeout_seconds": whole("Seconds to wait for a task to start.", 300),
                "task_watch_poll_interval": number(POLL_INTERVAL, 5.0),
                "auto_deregister_task_definition": flag(
                    "Deregister the task definition after the run.", False
                ),
                "match_latest_revision_in_family": flag(
                    "Use the family's newest task definition again if it is the same.", False
                ),
            },
            definitions={
                "AwsClientParameters": _AWS_CLIENT,
                "AwsCredentials": _AWS,
                "CapacityProvider": schema(
                    {
                        "capacityProvider": text("Name of the capacity provider."),
                        "weight": whole("Its share of the tasks."),
                        "base": whole("Tasks that it gets first."),
                    },
                    ("capacityProvider", "weight", "base"),
                ),
            },
        ),
    ),
)
