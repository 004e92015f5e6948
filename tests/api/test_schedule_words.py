"""Schedules in words: what can be said in a few is, the rest is shown as it is."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ui.schedule_words import cron, rule, span, words
from orchestration.schedules import Schedule, checked, occurrences

NOW = datetime(2026, 11, 26, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("* * * * *", "Every minute"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("0 * * * *", "Every hour"),
        ("15 */2 * * *", "Every 2 hours at :15"),
        ("0 9 * * *", "Every day at 09:00"),
        ("0 9 * * 1-5", "At 09:00 on weekdays"),
        ("30 8,17 * * mon,wed", "At 08:30 and 17:30 on Mon and Wed"),
        ("0 0 * * 0,6", "At 00:00 at weekends"),
        ("0 0 * * 7", "At 00:00 on Sun"),
        ("5 4 1,15 * *", "At 04:05 on day 1 and 15 of the month"),
        ("0 0 1 1,7 *", "At 00:00 on day 1 of Jan and Jul"),
        ("0 0 L * *", "At 00:00 on the last day of the month"),
        ("*/5 9-17 * * 1-5", "Every 5 minutes from 09:00 to 17:59 on weekdays"),
        ("0 9-17 * * *", "Every hour from 09:00 to 17:00"),
        ("@daily", "Every day at 00:00"),
    ],
)
def test_usual_crons_are_said_in_words(expression: str, said: str) -> None:
    assert cron(expression) == said


def test_both_ways_in_which_days_are_put_together_are_told_apart() -> None:
    assert cron("0 9 1 * 1", either=True) == "At 09:00 on day 1 of the month and on Mon"
    assert cron("0 9 1 * 1", either=False) == "At 09:00 on day 1 of the month if it is Mon"


@pytest.mark.parametrize(
    "expression",
    ["0 9 * * 2#1", "1-10 * * * *", "0 1,2,3,4,5 * * *", "0 9 * * 5-1", "* * * * * *", "", "0 9"],
)
def test_a_cron_that_takes_more_than_a_few_words_is_not_said(expression: str) -> None:
    assert cron(expression) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.5, "0.5 seconds"),
        (60, "minute"),
        (300, "5 minutes"),
        (5_400, "1 hour 30 minutes"),
        (86_400, "day"),
        (1_209_600, "2 weeks"),
    ],
)
def test_a_span_is_said_in_its_units(seconds: float, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9;BYMINUTE=30", "Every week on Mon and Wed at 09:30"),
        ("RRULE:FREQ=DAILY;UNTIL=20270101T000000", "Every day at 00:00 until 2027-01-01"),
        (
            "DTSTART:20200101T000000\nFREQ=MONTHLY;BYMONTHDAY=1;COUNT=5",
            "Every month on day 1 at 00:00, 5 times",
        ),
        ("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17", "Every month on the last Fri at 17:00"),
        (
            "FREQ=MONTHLY;BYDAY=2TU,+4TU",
            "Every month on the second Tue and the fourth Tue at 00:00",
        ),
        ("FREQ=MONTHLY;BYDAY=MO,TH", "Every month on every Mon and Thu at 00:00"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "Every month on day 13 if it is Fri at 00:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "Every month on the last day at 00:00"),
        ("FREQ=MONTHLY;BYDAY=-2FR", None),
        ("FREQ=DAILY;BYDAY=1MO", None),
        ("FREQ=YEARLY;BYDAY=MO", None),
        ("FREQ=YEARLY;BYMONTHDAY=1", None),
        ("FREQ=HOURLY;BYHOUR=9", None),
        ("FREQ=MINUTELY;INTERVAL=5", "Every 5 minutes"),
        ("FREQ=MINUTELY;BYSECOND=30", None),
        ("DTSTART:20200101T000000\nRRULE:FREQ=DAILY\nRDATE:20200102T000000", None),
        ("FREQ=YEARLY;BYSETPOS=1;BYMONTH=3", None),
    ],
)
def test_rules_are_said_in_words_if_few_are_enough(text: str, said: str | None) -> None:
    assert rule(text) == said


@pytest.mark.parametrize(
    ("begins", "text", "said"),
    [
        ("20240304T093000", "FREQ=DAILY", "Every day at 09:30"),
        ("20240304T093000", "FREQ=DAILY;BYHOUR=17", "Every day at 17:30"),
        ("20240304T093015", "FREQ=DAILY;BYMINUTE=0", "Every day at 09:00:15"),
        ("20240304T093000", "FREQ=HOURLY;INTERVAL=2", "Every 2 hours at :30"),
        ("20240304T093000", "FREQ=WEEKLY", "Every week on Mon at 09:30"),
        ("20240304T093000", "FREQ=MONTHLY", "Every month on day 4 at 09:30"),
        ("20240304T093000", "FREQ=YEARLY", "Every year on day 4 of Mar at 09:30"),
        ("20240304", "FREQ=WEEKLY;BYDAY=SU", "Every week on Sun at 00:00"),
        ("2024-03-04", "FREQ=DAILY", None),
        ("20241304", "FREQ=DAILY", None),
    ],
)
def test_what_a_rule_leaves_open_is_said_as_it_begins(
    begins: str, text: str, said: str | None
) -> None:
    assert rule(f"DTSTART:{begins}\n{text}") == said
    assert rule(f"DTSTART;TZID=Asia/Tokyo:{begins} RRULE:{text}") == said


@given(
    unit=st.sampled_from(("DAILY", "WEEKLY", "MONTHLY", "YEARLY")),
    begin=st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    hour=st.none() | st.integers(0, 23),
    minute=st.none() | st.integers(0, 59),
)
def test_the_time_that_is_said_is_the_time_of_the_runs(
    unit: str, begin: datetime, hour: int | None, minute: int | None
) -> None:
    named = (("FREQ", unit), ("BYHOUR", hour), ("BYMINUTE", minute))
    text = ";".join(f"{name}={value}" for name, value in named if value is not None)
    schedule = checked(Schedule(rrule=f"DTSTART:{begin:%Y%m%dT%H%M%S}\n{text}"), NOW)
    first = next(occurrences(schedule, NOW, NOW + timedelta(days=4_000)))
    assert words(schedule).text.endswith(f" at {first:%H:%M:%S}".removesuffix(":00"))


def test_a_schedule_is_said_with_the_zone_whose_clock_matters() -> None:
    daily = checked(
        Schedule(
            interval=86_400, anchor_date=datetime(2026, 1, 1, 8, tzinfo=UTC), timezone="Asia/Tokyo"
        ),
        NOW,
    )
    assert (words(daily).text, words(daily).zone) == ("Every day at 17:00", "Asia/Tokyo")
    often = checked(Schedule(interval=300, timezone="Asia/Tokyo"), NOW)
    assert (words(often).text, words(often).zone) == ("Every 5 minutes", "")
    odd = checked(Schedule(cron="0 9 * * 2#1", timezone="UTC"), NOW)
    assert words(odd).text == "Cron 0 9 * * 2#1"
    long = checked(Schedule(rrule="FREQ=DAILY;BYSETPOS=1;BYHOUR=1,2,3,4,5,6,7,8,9,10,11,12"), NOW)
    assert words(long).text.endswith("…")
    assert words(long).given == long.rrule
