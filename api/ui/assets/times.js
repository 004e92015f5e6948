// Moments, durations and numbers as people write them; times go on while the page is open.
// The words are those of api/ui/shown.py.

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const TICK_MILLISECONDS = 1000;

/** How moments are written: as the viewer's language does, but in the digits, the calendar and the clock of
    axes, of logs and of what the server says. In others, 00:15 of a log is 12:15 AM or ٠٠:١٥ beside it. */
export function writer(options) {
  return new Intl.DateTimeFormat(undefined, { calendar: "gregory", numberingSystem: "latn", hourCycle: "h23", ...options });
}

const clock = writer({ hour: "2-digit", minute: "2-digit" });
const day = writer({ month: "short", day: "numeric" });
const year = writer({ year: "numeric", month: "short", day: "numeric" });
const TO_THE_SECOND = {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
  second: "2-digit", timeZoneName: "short",
};
const second = writer(TO_THE_SECOND);
const exact = writer({ ...TO_THE_SECOND, fractionalSecondDigits: 3 });

/** A number as the server writes it. */
export function grouped(n) { return n.toLocaleString("en").replaceAll(",", "\u2009"); }

export function duration(seconds) {
  seconds = Math.max(0, seconds);
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < MINUTE) return `${whole} s`;
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)} m ${two(whole % MINUTE)} s`;
  if (whole < DAY) return `${Math.floor(whole / HOUR)} h ${two(Math.floor((whole % HOUR) / MINUTE))} m`;
  return `${Math.floor(whole / DAY)} d ${Math.floor((whole % DAY) / HOUR)} h`;
}

export function relative(moment, now = Date.now()) {
  const seconds = (now - moment.getTime()) / 1000;
  const away = Math.abs(seconds);
  if (away > 6 * DAY) {
    const here = moment.getFullYear() === new Date(now).getFullYear();
    return here ? `${day.format(moment)}, ${clock.format(moment)}` : year.format(moment);
  }
  const amount =
    away < MINUTE ? `${Math.floor(away)} s`
    : away < HOUR ? `${Math.floor(away / MINUTE)} min`
    : away < DAY ? `${Math.floor(away / HOUR)} h`
    : `${Math.floor(away / DAY)} d`;
  if (away < 1) return "now";
  return seconds > 0 ? `${amount} ago` : `in ${amount}`;
}

/** Within a sentence: the time of day, with the day if that is another. */
export function when(moment, now = Date.now()) {
  const today = new Date(now), time = clock.format(moment);
  if (moment.toDateString() === today.toDateString()) return time;
  return `${(moment.getFullYear() === today.getFullYear() ? day : year).format(moment)}, ${time}`;
}

export function exactly(moment) {
  return (moment.getMilliseconds() ? exact : second).format(moment);
}

let onPaper = false; // Where "3 min ago" would be wrong by the time that somebody reads it.

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show every time and duration below `root` as it is now. */
export function tell(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    if (!element.title) element.title = `${exactly(moment)}\n${element.dateTime}`;
    const said = "exact" in element.dataset ? exactly(moment)
      : onPaper ? second.format(moment)
      : "when" in element.dataset ? when(moment, now)
      : relative(moment, now);
    say(element, said);
  }
  for (const element of root.querySelectorAll(".duration[data-since]")) {
    const stretch = (now - Date.parse(element.dataset.since)) / 1000;
    say(element, duration(Number(element.dataset.seconds) + Math.max(0, stretch)));
  }
}

function paper(is) { onPaper = is; tell(); }

tell();
addEventListener("beforeprint", () => paper(true));
addEventListener("afterprint", () => paper(false));
setInterval(() => { if (!document.hidden) tell(); }, TICK_MILLISECONDS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) tell(); });
