"""The table of pages, in the order of the sidebar. A new page is a module and a line here."""

from api.ui import (
    artifacts,
    dashboard,
    deployment,
    deployment_edit,
    deployments,
    event,
    events,
    flow,
    flow_run,
    flows,
    log,
    log_entry,
    run_form,
    runs,
    schedule_form,
    search,
    settings,
    task_run,
    work_pool,
    work_pool_form,
    work_pools,
    work_queue,
    work_queue_form,
)
from api.ui.page import Page

PAGES: tuple[Page, ...] = (
    dashboard.page,
    runs.page,
    flow_run.page,
    task_run.page,
    flows.page,
    flow.page,
    deployments.page,
    deployment.page,
    deployment_edit.page,
    run_form.page,
    schedule_form.new_page,
    schedule_form.one_page,
    work_pools.page,
    work_pool_form.create_page,
    work_pool.page,
    work_pool_form.edit_page,
    work_queue_form.create_page,
    work_queue.page,
    work_queue_form.edit_page,
    artifacts.page,
    artifacts.key_page,
    artifacts.one_page,
    events.page,
    event.page,
    log.page,
    log_entry.page,
    settings.page,
    search.page,
)

FIRST = dashboard.page
"""What is shown at the root as well."""
AT_THE_ROOT = ("/",)
