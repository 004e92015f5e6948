"""Which tests run every day, and which go to which process when several run them at once."""

import re

from xdist.scheduler import LoadScopeScheduling

PROCESSES_PER_CORE = 2
"""Most tests wait for a server, a browser or a database about half of their time; with a third
process per core those that wait for timers were late more often, and the others no sooner done."""
PROCESS_MEMORY_BYTES = 1_500_000_000
"""That a process takes with its Postgres, its server, its browser and what it keeps in memory."""
PROCESSES_MAX = 10
"""So many have ports of their own (`serving.PORTS_PER_PROCESS`)."""


def processes(cores: int, free_bytes: int) -> int:
    """How many processes run tests on a machine, at least one."""
    room = free_bytes // PROCESS_MEMORY_BYTES
    return max(1, min(cores * PROCESSES_PER_CORE, room, PROCESSES_MAX))


SHARED = tuple(
    re.compile(pattern)
    for pattern in (
        r"tests/benchmarks/\w+",
        r"tests/browser/\w+",
        r"tests/contract/test_scenarios\.py::\w+\[(sqlite|postgres)-",
        r"(?P<module>tests/fuzz/\w+)\.py::\w+\[(?P<engine>sqlite|postgres)\b",
        r"(?P<folder>tests/e2e/)\w+\.py::\w+\[(?P<shape>\w+-\d+)",
        r"(?P<module>tests/e2e/test_other_clients)\.py::\w+\[(?P<client>[^-\]]+)",
        r"tests/e2e/test_transfer\.py",
    )
)
"""How the names of tests begin that share a server, a browser or what a client did."""


SELDOM = {
    "artifacts_pages": (
        "an_image_that_is",
        "a_table_is_sorted",
        "deleting_one",
        "the_first_visit",
        "what_is_not_there",
        "the_page_of_a_run_lists",
    ),
    "below_a_prefix": ("a_deployment_is_run",),
    "dashboard_page": (
        "the_bars_are_used",
        "a_range_is_brushed_with_a_finger",
        "a_state_of_a_bar",
        "on_a_large_screen",
    ),
    "deployment_run_form": (
        "a_run_is_asked_for_later",
        "a_form_is_filled_in_like",
        "parameters_are_not_checked",
        "job_variables",
    ),
    "deployments_page": (
        "the_first_visit",
        "a_deployment_without_all",
        "many_are_paused",
        "a_deployment_that_nobody_runs",
        "a_deployment_is_duplicated",
        "other_pages_lead",
        "a_deployment_that_does_not_exist",
    ),
    "event_feed": (
        "an_empty_feed",
        "names_that_are_there",
        "bars_are_brushed",
        "what_happens_to_a_tag",
        "held_still",
        "pages_lead",
        "an_event_that_left",
    ),
    "flow_run": (
        "a_run_that_is_late",
        "how_long_it_will_take",
        "a_subflow_leads",
        "a_state_is_set_by_hand",
        "a_run_that_is_deleted",
        "a_run_that_is_not_there",
    ),
    "flows_pages": (
        "the_first_visit",
        "a_flow_is_deleted",
        "a_flow_that_does_not_exist",
    ),
    "live": ("a_page_that_nobody_sees", "a_filter_that_no_server"),
    "log_page": (
        "on_a_narrow_screen",
        "an_empty_log",
        "what_a_request_brought",
        "more_than_is_sent",
        "the_tail_goes_on",
        "there_is_nothing_beyond",
        "every_entity",
        "what_was_deleted",
    ),
    "log_view": (
        "a_line_that_came_late",
        "what_was_missed",
        "lines_of_several_parts",
        "all_lines_can_be",
        "a_run_that_printed",
    ),
    "run_actions": (
        "a_run_without_a_deployment",
        "a_running_run_tells",
        "a_paused_run_is_cancelled",
        "an_input_is_given",
        "an_input_whose",
    ),
    "runs_of_tasks_and_scatter": (
        "task_runs_page",
        "the_scatter_shows",
        "where_there_are_no_runs",
        "a_click_on_a_dot",
    ),
    "runs_page": (
        "runs_are_filtered_by_their_work_pool",
        "a_stretch_of_time",
        "pages_neither_repeat",
        "what_the_rules_refuse",
        "a_long_name_that_is_read",
    ),
    "schedules_page": (
        "intervals_and_rules",
        "a_schedule_has_parameters",
        "a_schedule_that_does_not_exist",
    ),
    "settings_page": ("the_log_and_its_readers",),
    "shell": (
        "the_sidebar_folds",
        "pages_without_runs",
        "a_link_that_leads_nowhere",
        "an_address_that_asks_for_nonsense",
        "everything_works_below",
        "a_browser_signs_in",
    ),
    "task_run_page": (
        "what_surrounds_it",
        "deleting_names",
        "one_that_does_not_exist",
    ),
    "timeline": (
        "artifacts_and_emissions",
        "no_mark_stands",
        "a_fact_of_the_history",
        "lanes_hold",
    ),
    "work_pools_pages": (
        "the_first_visit",
        "a_limit_is_set",
        "a_job_template",
        "a_pool_is_deleted",
        "a_queue_shows",
        "upcoming_runs_and_pools",
        "pools_and_queues_are_found",
        "without_scripts",
    ),
}
"""What pages do seldom, or what is much like something else that is tried every day: how names of
tests begin, by the module in tests/browser. Each page keeps its main path and live news."""


HEAVY = tuple(
    re.compile(pattern)
    for pattern in (
        # Servers that are killed, replaced or crowded; the other two of these run in one process.
        r"tests/chaos/(?!test_faults|test_machine)",
        r"tests/services/test_services_process\.py",
        r"tests/projections/test_rebuild_of_a_long_log\.py",
        # The real client against a server of another shape than one finds after the installation.
        r"tests/e2e/\w+\.py::\w+\[(postgres|nginx|sqlite-[2-9])",
        # Neither a proxy nor commands, each of which is a new Python, depend much on the engine.
        r"tests/api/test_(behind_a_proxy|cli_database|cli_past)\.py::\w+\[.*postgres",
        # They fill databases to measure them.
        r"tests/benchmarks/",
        # Thousands of schedules, expanded by the real client as well.
        r"tests/e2e/test_schedule_expansion\.py",
        # The looks of pages, each of which is examined as a whole, in either theme.
        r"tests/browser/.*\[(.*-)?(375|1440)\]",
        *(rf"tests/browser/test_{file}\.py::test_({'|'.join(s)})" for file, s in SELDOM.items()),
    )
)
"""How the names of tests begin that are `heavy`: together they take longer than all others. One
that takes long by itself has the mark where it is defined."""


def is_heavy(test: str) -> bool:
    """Whether a test is left out of everyday's run by its name."""
    return any(heavy.match(test) for heavy in HEAVY)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist says nothing of its types.
    """Tests that share something slow to make run in one process, which so makes it once.

    They go first, the most numerous before others; each of the rest goes to whoever is free.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(test: str) -> str:
    """What all tests have in common that must run in the process of this one."""
    for shared in SHARED:
        if match := shared.match(test):
            return "".join(match.groupdict().values()) or match[0]
    return test
