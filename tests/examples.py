"""How many examples a property is tried with: some every day, all of them in CI.

The two are profiles of hypothesis, so `--hypothesis-profile=thorough` asks for all by hand.
"""

from hypothesis import settings

DAILY, THOROUGH = "daily", "thorough"
DAILY_SHARE = 10
"""Every day one of so many examples is tried."""
EXAMPLES_MIN = 15

settings.register_profile(THOROUGH, max_examples=100, deadline=None)
settings.register_profile(DAILY, max_examples=EXAMPLES_MIN, deadline=None)


def choose(heavy: bool) -> None:
    """Take the profile of a run: with the heavy tests every example is tried as well."""
    settings.load_profile(THOROUGH if heavy else DAILY)


def examples(number: int) -> int:
    """How many of a property's examples are tried in this run."""
    if settings.get_current_profile_name() == DAILY:
        return max(number // DAILY_SHARE, min(number, EXAMPLES_MIN))
    return number
