"""One type of worker, as the API shows it."""

from msgspec import Struct

from api.job_template import Template

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
